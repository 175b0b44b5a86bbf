//! What the programs of a fleet say to each other, and its conversion to our own types.
//!
//! The contract is `proto/postern/v1/*.proto`; [`wire`] is generated from it by `make contract`, and
//! committed. Everything that both ends must compute alike (the text of a [`Token`], the name in a
//! certificate, the chain over [`Event`]s, the bytes that a renewal signs) lives here once, so that
//! the ends cannot disagree. This crate makes no connection and reads no clock.

#[cfg(feature = "audit")]
pub mod audit;
pub mod claims;
pub mod contract;
mod controllers;
pub mod event;
#[cfg(feature = "export")]
pub mod export;
pub mod heartbeat;
mod identity;
pub mod keep_alive;
#[cfg(feature = "packing")]
pub mod packing;
mod role;
mod token;

pub use contract::{
    AUTHORITY_UNKNOWN, CONTROLLER_TIME, Capability, Contract, DATABASE, DATABASE_AWAY,
    DATABASE_IN_DOUBT, MEMBERSHIP, MEMBERSHIP_ENDED,
};
pub use controllers::{CONTROLLERS_MAX, controllers_of, is_controller_address};
pub use event::{Event, EventKind, EventRecord, GrantId, Outcome, UserIdentity};
pub use identity::{
    InvalidMemberUri, SERVER_NAME, member_uri, parse_member_uri, renewal_message, rotation_message,
    trust_digest,
};
pub use role::{Role, UnknownRole};
pub use token::{InvalidToken, Token};

/// Generated messages of package `postern.v1`; with feature `rpc`, clients and servers too.
#[cfg_attr(
    feature = "rpc",
    expect(
        clippy::allow_attributes,
        unused_qualifications,
        reason = "generated code"
    )
)]
pub mod wire {
    include!("../generated/postern.v1.rs");
}

/// The serialized `FileDescriptorSet` of the contract, for reflection and for tests that must see
/// every RPC.
pub const DESCRIPTORS: &[u8] = include_bytes!("../generated/postern_descriptor.bin");

/// The SPA port when none is said, as in fwknop.
pub const DEFAULT_SPA_PORT: u16 = 62201;
