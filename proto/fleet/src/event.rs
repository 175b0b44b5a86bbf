//! What happened on a host, as the journal, the wire and the fleet's log all know it.
//!
//! An [`Event`] is the message of the contract itself. It becomes bytes exactly once, in
//! [`EventRecord::chained`]: these bytes, the *body*, are what is chained, journalled, pushed and
//! stored. So whoever hands events on need not know every field or kind of them, and a newer agent's
//! events survive an older controller.
//!
//! | file | what |
//! |---|---|
//! | `kind` | kinds and outcomes, and their names |
//! | `body` | an event and its bytes |
//! | `chain` | how a record follows from the one before, in each version |
//! | `limits` | how long an event may be |
//! | `grant_id` | the name of one grant |

mod body;
mod chain;
mod grant_id;
mod kind;
mod limits;

pub use body::Unreadable;
pub use chain::{ChainVersion, Continuity};
pub use grant_id::{GrantId, InvalidGrantId};
pub use kind::UnknownEventKind;
pub use limits::BODY_BYTES_MAX;

pub use crate::wire::{Event, EventKind, EventRecord, Outcome, UserIdentity};
