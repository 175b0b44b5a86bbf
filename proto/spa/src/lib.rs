//! The SPA packet: its fields, its keys, and how it is sealed and opened.
//!
//! Nothing here does I/O, reads a clock or draws randomness; all three are arguments. The wire format
//! is fwknop's (docs/wire-format.md), read strictly: there is one way to write each packet, and
//! whatever is written in another way is refused.
//!
//! # The life of a packet
//!
//! Each step consumes the evidence of the one before, and only this crate can make that evidence.
//!
//! | step | takes | leaves | refuses with |
//! |---|---|---|---|
//! | [`Sealed::parse`] | bytes | [`Sealed`] | [`Malformed`] |
//! | [`Trial::matching`] | [`Sealed`], some of many keys | a hint, no evidence | |
//! | [`Sealed::authenticate`] | [`Sealed`], [`OpeningKey`] | [`Authentic`] | [`NotAuthentic`] |
//! | [`Authentic::open`] | [`Authentic`] | [`Opened`] | [`OpenError`] |
//!
//! What a message is wrapped in is its [`Envelope`]. One that is not opened by a function of packet
//! and key alone is opened by whoever implements [`Decrypt`], in [`Authentic::open_with`].
//!
//! The way out is [`seal()`] and [`seal_tagged`]. Beside all of this stand knock sequences
//! ([`SequenceKey`]), which carry less and need no payload.

mod digest;
mod envelope;
mod error;
mod exchange;
mod hmac;
mod keys;
mod lanes;
mod length;
mod message;
mod mode;
mod open;
mod seal;
mod sealed;
mod secret;
mod sequence;
mod service;
mod tag;
mod text;
mod trial;

pub use crate::digest::DigestType;
pub use crate::envelope::{Decrypt, Decrypted, Envelope, Signer};
pub use crate::error::{
    InvalidKey, InvalidMessage, Malformed, NotAuthentic, NotDecrypted, OpenError, SealError,
    UnknownName,
};
pub use crate::exchange::{ExchangePublic, ExchangeSecret, pairwise};
pub use crate::keys::{EncryptionKey, Fingerprint, HmacKey, Keys, OpeningKey};
pub use crate::lanes::LANES;
pub use crate::length::{SEALED_LEN_MAX, SEALED_LEN_MIN};
pub use crate::message::{Allow, Decoded, Message, MessageType, NatAccess, Request};
pub use crate::mode::EncryptionMode;
pub use crate::open::{Authentic, Opened, ReplayDigest};
pub use crate::seal::{seal, seal_open_pgp, seal_tagged};
pub use crate::sealed::Sealed;
pub use crate::secret::Secret;
pub use crate::sequence::{
    OpenedSequence, SEQUENCE_PARTS, SEQUENCE_PORT_MIN, SequenceKey, SequenceMessage, sequence_part,
};
pub use crate::service::{PortRange, ProtoPort, Protocol, Service};
pub use crate::tag::{BUCKET_SECS, Tag, TagKey, bucket, tag};
pub use crate::trial::Trial;
