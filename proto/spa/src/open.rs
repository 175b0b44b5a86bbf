//! From an authentic packet to its message.

use std::fmt;

use crate::error::OpenError;
use crate::keys::OpeningKey;
use crate::message::{Decoded, Message};

/// A packet whose HMAC verified under a key, or that was tried with a key that has none.
///
/// Evidence: only [`Sealed::authenticate`](crate::Sealed::authenticate) makes it, and it holds the
/// key, so that it cannot be opened with another.
#[derive(Debug)]
pub struct Authentic<'a> {
    /// The ciphertext as it was sent: without prefix, without HMAC.
    pub(crate) body: &'a [u8],
    pub(crate) key: &'a OpeningKey,
}

/// An authentic message, decrypted and read.
///
/// Evidence: only [`Authentic::open`] makes it.
#[derive(Debug)]
pub struct Opened {
    message: Message,
    decoded: Decoded,
    replay_digest: ReplayDigest,
}

/// The name of one message: a hash of what was authenticated and decrypted, never of the text.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ReplayDigest(pub [u8; 32]);

// === impl Authentic ===

impl Authentic<'_> {
    /// Decrypts the packet, and reads its message.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; without an HMAC key, what a packet for another key ends with.
    pub fn open(self) -> Result<Opened, OpenError> {
        let _ = (self.body, self.key);
        unimplemented!()
    }
}

// === impl Opened ===

impl Opened {
    /// Returns the message.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Returns the message, for keeping.
    #[must_use]
    pub fn into_message(self) -> Message {
        self.message
    }

    /// Returns the digest inside the message, as text.
    #[must_use]
    pub fn digest_text(&self) -> &str {
        &self.decoded.digest
    }

    /// Returns the MESSAGE field as it was sent: address and ports, or address and command.
    #[must_use]
    pub fn message_text(&self) -> &str {
        &self.decoded.message_text
    }

    /// Returns the NAT field as it was sent.
    #[must_use]
    pub fn nat_text(&self) -> Option<&str> {
        self.decoded.nat_text.as_deref()
    }

    /// Returns the name of the message.
    #[must_use]
    pub fn replay_digest(&self) -> ReplayDigest {
        self.replay_digest
    }
}

// === impl ReplayDigest ===

impl fmt::Display for ReplayDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
