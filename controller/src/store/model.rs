//! What the store keeps and what its operations answer, in words that no engine owns.
//!
//! A conflict is an answer here, not an error: the operation was done right, and what is stored
//! forbids it. An operation that ends in a conflict has written nothing.

mod claim;
mod host;
mod log;
mod member;
mod origin;
mod policy;
mod run;
mod token;

pub(crate) use self::claim::{Claim, ClaimOutcome};
pub(crate) use self::host::{Acknowledgement, HostState, HostWord};
pub(crate) use self::log::{
    Cursor, EventFilter, InvalidPort, LogRow, Page, Port, PortProtocol, Pushed,
};
pub(crate) use self::member::{BanOutcome, Member, NewMember};
pub(crate) use self::origin::{CONTROLLER, Origin};
pub(crate) use self::policy::{ApplyOutcome, Generation, NewPolicy};
pub(crate) use self::run::RunBegun;
pub(crate) use self::token::{
    EnrollConflict, EnrollOutcome, Invitation, Redemption, StoredToken, TokenState,
};
