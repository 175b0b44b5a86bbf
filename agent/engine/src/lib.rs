//! The engine of the agent, pure: what is recorded, opened, run and asked, without doing any of it.
//!
//! It performs no I/O, reads no clock, has no randomness and starts no thread. It is told what
//! arrives, what others say and what time it is; it answers with a [`Batch`] of records, each with
//! what it permits, and with [`Effect`]s, which are instructions to its caller. Every rule about
//! grants, claims, limits, revocation and recovery is therefore a rule about values.
//!
//! # A record and its effect
//!
//! What could not be recorded is not done, and what was not done is not recorded as done. So what
//! opens or runs something is inside the batch with its record, and comes out as an effect only
//! when the batch is committed; a batch that was not committed turns into refusals. The result of
//! every effect comes back, and is recorded in its turn: a hole that the firewall did not open is
//! recorded as closed when it is certain that it is, and a grant that could not be revoked is
//! recorded as open until it has ended. What opens nothing (asking, closing) waits for no disk.
//!
//! | module | what |
//! |---|---|
//! | [`engine`](Engine) | what it is told, and what it answers |
//! | `batch` | records with what they permit |
//! | `effect` | instructions to the caller |
//! | `record` | events, and what they change in the table of live grants |
//! | `grants` | what is open, until when, and by whose leave |
//! | `claims` | grants that wait for the controller's word |
//! | `commands` | commands that run and that wait |
//! | `cycles` | commands of the host's owner in place of the firewall |
//! | `names` | grants that wait for a host name to be looked up |
//! | `totals` | what repeats is counted |
//! | `counters` | what has happened so far, in numbers |
//! | `status` | what is in force |
//! | `connection`, `connections` | what begins through a hole, and whose it is |
//! | `rule`, `capabilities` | what a firewall is told, and what it can hold |
//! | `obstacles` | what of the host's own rules would still drop what a grant opens |
//! | `rule_index` | which grants hold a rule, or let a connection begin |

mod batch;
mod capabilities;
mod claims;
mod commands;
mod connection;
mod connections;
mod counters;
mod cycles;
mod effect;
mod end;
mod engine;
mod grants;
mod names;
mod obstacles;
mod record;
mod rule;
mod rule_index;
mod settings;
mod status;
mod totals;

pub use batch::{Batch, Committed, NotCommitted};
pub use capabilities::{Capabilities, Forwards, Unsupported};
pub use claims::{ClaimAnswer, ClaimAsk};
pub use commands::{Command, CommandEnd, CommandLine, Ended};
pub use connection::Connection;
pub use connections::ConnectionChange;
pub use counters::{Counters, EngineCounters};
pub use cycles::{CycleStage, SavedCycle};
pub use effect::{Closing, Effect, Opening};
pub use engine::{Adoption, Engine, Kernel, SavedGrant};
pub use names::NameAsk;
pub use obstacles::{Obstacle, Obstacles, Way};
pub use record::{COMMAND_STARTS, Change, Record};
pub use rule::{
    Destination, Forward, Hole, HoleTimeout, InvalidRule, InvalidTimeout, Rule, SeenSource,
};
pub use settings::{Limits, Settings};
pub use status::{HostStatus, Rejected, Status};
