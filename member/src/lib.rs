//! Being a member of a fleet: from a one-time token to keys, a certificate and a channel.
//!
//! Hosts, users, operators and auditors all become members in one way. [`join()`] makes the keys
//! here, proves the controller by the CA fingerprint in the token, redeems the token and writes the
//! membership to a directory. [`Membership::load`] reads it again, and [`Membership::channel`] gives
//! a gRPC channel in which both sides have proven who they are; certificates are short, and renew
//! themselves by the long-lived identity key.
//!
//! | module | takes → gives |
//! |---|---|
//! | `keys` | randomness → identity, exchange and TLS keys, certificate request |
//! | `tls` | token's fingerprint or CA → verified TLS connection; everything else refused |
//! | `join` | token → [`Membership`] on disk |
//! | `joining` | token → keys that are on disk before it is sent |
//! | `certificate` | DER → names and half life |
//! | `renew` | identity key → fresh certificate |
//! | `skew` | two clocks → how far they are apart, in words |
//! | `controllers` | what a controller says of where they all are → where to dial, in which order |
//! | `files` | membership ↔ directory, atomically |
//! | `former` | exchange keys of a host that others have followed: good for a while |
//! | `held` | file or keyring → the long-lived keys, when they are needed |
//! | `keyring` | what a keyring must be able to do, and why it may not |
//! | `rotation` | keys that work → others in their place, in steps that may be cut off |
//! | `trust` | what the controller says of its authorities → what is believed, on disk |
//! | `moving` | keys from the file into a keyring, and back |

mod certificate;
mod clock;
mod controllers;
mod error;
mod files;
mod former;
mod held;
mod join;
mod joining;
mod keyring;
mod keys;
mod membership;
mod moving;
mod renew;
mod rotation;
mod skew;
mod tls;
mod trust;

pub use error::{Cause, ConnectError, FilesError, JoinError};
pub use join::{JoinOptions, join};
pub use keyring::{Keyring, KeyringError};
pub use membership::Membership;
pub use rotation::{Rotated, Rotation, RotationStep};
pub use skew::Skew;
