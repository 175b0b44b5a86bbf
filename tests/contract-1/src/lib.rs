//! Version 1 of the contract, frozen: a copy of the crate `fleet` as the programs before capabilities
//! had it. Tests speak it to today's programs. Never changed; a version that is to be supported no
//! longer is deleted with its tests.
//!
//! What the programs of a fleet say to each other, and its conversion to our own types.
//!
//! The contract is `proto/postern/v1/*.proto`; [`wire`] is generated from it. Everything that both
//! ends must compute alike (the text of a [`Token`], the name in a certificate, the chain over
//! [`Event`]s, the bytes that a renewal signs) lives here once, so that the ends cannot disagree.
//! This crate makes no connection and reads no clock.

mod event;
mod identity;
mod role;
mod token;

pub use event::{Event, EventKind, InvalidEvent, UnknownEventKind};
pub use identity::{InvalidMemberUri, SERVER_NAME, member_uri, parse_member_uri, renewal_message};
pub use role::{Role, UnknownRole};
pub use token::{InvalidToken, Token};

/// Generated messages, clients and servers of package `postern.v1`.
#[expect(
    clippy::allow_attributes,
    unused_qualifications,
    reason = "generated code"
)]
pub mod wire {
    tonic::include_proto!("postern.v1");
}

/// The serialized `FileDescriptorSet` of the contract, for reflection and for tests that must see
/// every RPC.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/postern_descriptor.bin"));

/// The SPA port when none is said, as in fwknop.
pub const DEFAULT_SPA_PORT: u16 = 62201;
