//! What the store keeps and what its operations answer, in words that no engine owns.
//!
//! A conflict is an answer here, not an error: the operation was done right, and what is stored
//! forbids it. An operation that ends in a conflict has written nothing.

mod at_start;
mod authority_states;
mod change;
mod claim;
mod examined;
mod filter;
mod host;
mod host_edit;
mod lineage;
mod log;
mod member;
mod member_changes;
mod origin;
mod others;
mod policy;
mod proof;
mod recorded;
mod resealed;
mod run;
mod scope;
mod server_facts;
mod session;
mod shared_authority;
mod sink;
mod succession;
mod token;
mod uses;

pub(crate) use self::at_start::AtStart;
pub(crate) use self::authority_states::AuthorityStates;
pub(crate) use self::change::{Change, ChangeOutcome, Changed, Whom};
pub(crate) use self::claim::{Claim, ClaimOutcome};
pub(crate) use self::examined::{Examined, Whose};
pub(crate) use self::filter::{EventFilter, LogNames};
pub(crate) use self::host::{Acknowledged, Acknowledgement, HostSeen, HostState, HostWord};
pub(crate) use self::host_edit::{HostEdit, HostEdited};
pub(crate) use self::lineage::{Lineage, Pass, Presented};
pub(crate) use self::log::{
    Chosen, Cursor, Entry, Fork, InvalidPort, JournalEnd, LogRow, Onward, Page, Port, PortProtocol,
    Push, Pushed,
};
pub(crate) use self::member::{KEY_DEFAULT, KnownAuthorities, Lock, Member, MemberKey, NewMember};
pub(crate) use self::member_changes::{ChangedMembers, MemberChange, MembersMoved};
pub(crate) use self::origin::{CONTROLLER, Origin};
pub(crate) use self::others::{
    ControllerFacts, ControllerSaid, HostAt, HostPushed, HostSaid, Look, OfKind,
};
pub(crate) use self::policy::{AfterRestore, ApplyOutcome, Generation, NewPolicy};
pub use self::proof::KeyRotated;
pub(crate) use self::proof::{Conflict, Expired, LogEnd, LogKeys};
pub(crate) use self::recorded::{Recorded, TokenSaid};
pub use self::resealed::Resealed;
pub(crate) use self::run::RunBegun;
pub(crate) use self::scope::Scope;
pub(crate) use self::server_facts::ServerFacts;
pub(crate) use self::session::{
    Alarm, Begun, FleetState, Lease, Opening, PassWanted, Seen, SessionWanted,
};
pub(crate) use self::shared_authority::SharedAuthority;
pub(crate) use self::sink::SinkCursor;
pub(crate) use self::succession::{SuccessionOutcome, Successor};
pub(crate) use self::token::{
    EnrollConflict, EnrollOutcome, Enrolment, Invitation, Joining, NewToken, Redemption,
    RevokeOutcome, StoredToken, TokenFate, TokenState,
};
pub(crate) use self::uses::{Counted, LogHead, Use, UsedOn, UsesAsked, UsesCounted};
