//! From an authentic packet to its message.

use std::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::envelope::{Decrypt, Decrypted, Prefixed, Signer};
use crate::error::OpenError;
use crate::keys::OpeningKey;
use crate::length::PREFIXED_LEN_MAX;
use crate::message::{Decoded, Message, Request};
use crate::text;

/// The longest ciphertext with its header, rounded up to what the base64 decoder asks for.
const RAW_LEN_MAX: usize = PREFIXED_LEN_MAX.div_ceil(4) * 3;

/// A packet whose HMAC verified under a key, or that was tried with a key that has none.
///
/// Evidence: only [`Sealed::authenticate`](crate::Sealed::authenticate) makes it, and it holds the
/// key, so that it cannot be opened with another.
#[derive(Debug)]
pub struct Authentic<'a> {
    /// The ciphertext as it was sent: without prefix, without HMAC.
    body: &'a [u8],
    key: &'a OpeningKey,
}

/// An authentic message, decrypted and read.
///
/// Evidence: only [`Authentic::open`] and [`Authentic::open_with`] make it, and
/// [`OpenedSequence::into_opened`](crate::OpenedSequence::into_opened) of what came another way.
#[derive(Debug)]
pub struct Opened {
    message: Message,
    decoded: Decoded,
    replay_digest: ReplayDigest,
    signer: Option<Signer>,
}

/// The name of one message: a hash of what was authenticated and decrypted, never of the text.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ReplayDigest(pub [u8; 32]);

// === impl Authentic ===

impl<'a> Authentic<'a> {
    /// Asserts that the HMAC verified. To be called where it did, and nowhere else.
    pub(crate) fn assertion(body: &'a [u8], key: &'a OpeningKey) -> Self {
        Self { body, key }
    }

    /// Decrypts the packet, and reads its message.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; without an HMAC key, what a packet for another key ends with.
    /// [`OpenError::NoDecryptor`] for an OpenPGP message.
    pub fn open(self) -> Result<Opened, OpenError> {
        let key = self.key.rijndael().ok_or(OpenError::NoDecryptor)?;
        let mut raw = Zeroizing::new([0; RAW_LEN_MAX]);
        Opened::read(key.open(self.raw(&mut raw)?)?)
    }

    /// Decrypts the packet, if it is an OpenPGP message with the help of `decryptor` and with what is
    /// valid at `now_secs`, and reads its message.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn open_with(self, decryptor: &dyn Decrypt, now_secs: u64) -> Result<Opened, OpenError> {
        if self.key.rijndael().is_some() {
            return self.open();
        }
        let mut raw = Zeroizing::new([0; RAW_LEN_MAX]);
        let Decrypted { plaintext, signer } = decryptor.decrypt(self.raw(&mut raw)?, now_secs)?;
        Ok(Opened {
            signer,
            ..Opened::read(&plaintext)?
        })
    }

    /// Decodes the text.
    fn raw<'r>(&self, raw: &'r mut [u8; RAW_LEN_MAX]) -> Result<&'r mut [u8], OpenError> {
        let prefixed = Prefixed::new(self.key.envelope(), self.body);
        text::decode_into(prefixed.as_bytes(), raw).ok_or(OpenError::Ciphertext)
    }
}

// === impl Opened ===

impl Opened {
    /// Reads a plaintext. To be called with what was decrypted from an authentic packet, and with
    /// nothing else.
    fn read(plain: &[u8]) -> Result<Self, OpenError> {
        let (message, decoded) = Message::decode(plain)?;
        let covered = plain.get(..decoded.covered_len).unwrap_or(plain);
        Ok(Self {
            replay_digest: ReplayDigest::of(covered),
            message,
            decoded,
            signer: None,
        })
    }

    /// Takes the message of a sequence. To be called where its MAC verified, and nowhere else.
    pub(crate) fn of_sequence(message: Message, token: &[u8]) -> Self {
        let hash = Sha256::new()
            .chain_update(b"postern knock sequence digest v1\0")
            .chain_update(token);
        let message_text = match &message.request {
            Request::Access { allow, ports } => {
                let ports = ports.iter().map(|port| format!(",{port}"));
                format!("{allow}{}", ports.collect::<String>())
            }
            Request::Close { allow, .. } | Request::Command { allow, .. } => allow.to_string(),
        };
        Self {
            message,
            decoded: Decoded {
                digest: text::encode(token),
                message_text,
                nat_text: None,
                covered_len: 0,
            },
            replay_digest: ReplayDigest(hash.finalize().into()),
            signer: None,
        }
    }

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

    /// Returns whose signature verified; only of an OpenPGP message, where one is required.
    #[must_use]
    pub fn signer(&self) -> Option<&Signer> {
        self.signer.as_ref()
    }

    /// Returns the name of the message.
    #[must_use]
    pub fn replay_digest(&self) -> ReplayDigest {
        self.replay_digest
    }
}

// === impl ReplayDigest ===

impl ReplayDigest {
    /// Names a message by its plaintext without the digest, which says nothing that the rest does
    /// not.
    fn of(covered: &[u8]) -> Self {
        let hash = Sha256::new()
            .chain_update(b"postern replay digest v1\0")
            .chain_update(covered);
        Self(hash.finalize().into())
    }
}

impl fmt::Display for ReplayDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
