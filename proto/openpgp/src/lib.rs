//! OpenPGP messages in SPA packets: a site's keys, what is trusted of them, opening and sealing.
//!
//! The packet crate knows nothing of it; what decrypts is handed to it as [`spa::Decrypt`].
//!
//! | what | is |
//! |---|---|
//! | [`Home`] | a GnuPG home, read once; the only thing here that touches a disk |
//! | [`Opener`] | unlocked private keys of a host and the public keys of those who may sign |
//! | [`Sealer`] | the public key of a host and perhaps the private key of a sender |
//!
//! # What is trusted
//!
//! The library underneath verifies, and has no opinion. Ours: a message is encrypted with a cipher of
//! 128-bit blocks and protected against change (RFC 9580, section 5.13; GnuPG's OCB as well); a
//! signature is made over SHA-2 or SHA-3, by a key that says it is for signing and is neither expired,
//! revoked nor from the future; a message is for a named recipient, and no longer than a packet can
//! ask for, compressed or not. GnuPG's own trust in keys is not asked: a configuration names signers.
//!
//! # Timing
//!
//! Private operations of RSA are those of the `rsa` crate, of which it is known that their time
//! depends on the key (RUSTSEC-2023-0071). Where a stanza has an HMAC key, nobody without it causes
//! one, and nobody is ever told why a packet was refused.

mod certificate;
mod error;
mod home;
mod key_file;
mod keybox;
mod name;
mod opener;
mod sealer;
mod sexp;

pub use crate::certificate::Certificate;
pub use crate::error::{KeyFault, KeyringError};
pub use crate::home::{Home, hex};
pub use crate::opener::Opener;
pub use crate::sealer::{CannotSeal, Sealer, with_two_length_octets};
