//! Envelopes: how a message is wrapped, and who unwraps it.
//!
//! | envelope | who opens it |
//! |---|---|
//! | [`rijndael`] | this crate, with a key; the default, and the only one on the way of most packets |
//! | [`openpgp`] | whoever implements [`Decrypt`]: a keyring, an agent and a disk are not pure |

pub(crate) mod openpgp;
pub(crate) mod rijndael;

use zeroize::Zeroizing;

use crate::error::NotDecrypted;
use crate::length::PREFIXED_LEN_MAX;
use crate::text;

/// How a packet's message is wrapped.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Envelope {
    /// AES-256 under a passphrase: fwknop's default.
    Rijndael,
    /// An OpenPGP message, as fwknop's `-g` sends it.
    OpenPgp,
}

/// Decrypts OpenPGP messages, with whatever keyring it has. The seam at which this crate stays pure:
/// [`Authentic::open_with`](crate::Authentic::open_with) is handed one.
///
/// What it is given is authentic if the stanza has an HMAC key, and a stranger's otherwise.
pub trait Decrypt: Send + Sync {
    /// Reports whether it has a key with this id. Cheap: what is for somebody else is refused by it.
    fn has_key(&self, key_id: [u8; 8]) -> bool;

    /// Returns how long it takes to decrypt a message, in microseconds, as far as the kind of its keys
    /// tells: what strangers can cause is bounded by it.
    fn micros(&self) -> u64;

    /// Returns everybody whose signature it takes.
    fn signers(&self) -> Vec<Signer>;

    /// Decrypts a binary message whose prefix was put back, and verifies its signature with the keys
    /// that are valid at `now_secs`, seconds since 1970. The plaintext is then read as strictly as any
    /// other.
    ///
    /// # Errors
    ///
    /// [`NotDecrypted`].
    fn decrypt(&self, message: &[u8], now_secs: u64) -> Result<Decrypted, NotDecrypted>;
}

/// What was in an OpenPGP message.
#[derive(Debug)]
pub struct Decrypted {
    /// The bytes that were encrypted.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// Who signed them; `None` where nobody had to.
    pub signer: Option<Signer>,
}

/// Whose signature of an OpenPGP message verified.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Signer {
    /// The fingerprint of the key that signed.
    pub key: Box<[u8]>,
    /// The fingerprint of the primary key to which that belongs; often the same.
    pub primary: Box<[u8]>,
}

/// A ciphertext with its prefix put back: what the HMAC covers, and what base64 decodes.
pub(crate) struct Prefixed {
    bytes: [u8; PREFIXED_LEN_MAX],
    len: usize,
}

// === impl Envelope ===

impl Envelope {
    /// Tells the envelopes of sealed packets apart, by their first characters: `None` is neither.
    ///
    /// No packet of GnuPG's is both: what would be the magic bytes of one is a length in the other that
    /// none of its keys gives.
    /// fwknop goes by the length of the text instead, and takes long commands for OpenPGP.
    #[must_use]
    pub fn of(text: &[u8]) -> Option<Self> {
        if rijndael::begins(text) {
            Some(Self::Rijndael)
        } else if openpgp::head(text).is_some() {
            Some(Self::OpenPgp)
        } else {
            None
        }
    }

    /// Reports whether `body`, a text without HMAC, can be a message of at least so many bytes.
    #[inline]
    pub(crate) fn fits(self, body: &[u8], plaintext_len_min: usize) -> bool {
        let len = self.prefix_len() + body.len();
        let shaped = match self {
            Self::Rijndael => {
                rijndael::begins(body) && rijndael::is_whole_blocks(len * 3 / 4, plaintext_len_min)
            }
            Self::OpenPgp => openpgp::head(body).is_some(),
        };
        shaped && text::is_canonical_end(len, body.last())
    }

    /// How many characters are cut off before sending.
    #[inline]
    pub(crate) fn prefix_len(self) -> usize {
        match self {
            Self::Rijndael => rijndael::PREFIX.len(),
            Self::OpenPgp => openpgp::PREFIX_LEN,
        }
    }
}

// === impl Prefixed ===

impl Prefixed {
    /// Puts the prefix before `body`, which is part of a sealed packet and so not too long.
    #[inline]
    pub(crate) fn new(envelope: Envelope, body: &[u8]) -> Self {
        match envelope {
            Envelope::Rijndael => Self::with(rijndael::PREFIX, body),
            // What has no head is no message, and is not decrypted with any prefix.
            Envelope::OpenPgp => {
                let head = openpgp::head(body);
                Self::with(&head.map_or(*b"hQ", |head| head.prefix), body)
            }
        }
    }

    #[inline]
    fn with(prefix: &[u8], body: &[u8]) -> Self {
        let mut bytes = [0; PREFIXED_LEN_MAX];
        bytes
            .iter_mut()
            .zip(prefix.iter().chain(body))
            .for_each(|(to, &from)| *to = from);
        Self {
            bytes,
            len: (prefix.len() + body.len()).min(PREFIXED_LEN_MAX),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// The length of a fingerprint of version 6, in bytes.
const V6_LEN: usize = 32;

// === impl Signer ===

impl Signer {
    /// Returns the 64-bit key id of the key that signed.
    #[must_use]
    pub fn key_id(&self) -> [u8; 8] {
        let id = if self.key.len() == V6_LEN {
            self.key.first_chunk()
        } else {
            self.key.last_chunk()
        };
        id.copied().unwrap_or_default()
    }

    /// Reports whether a fingerprint, or the end of one as key ids are, names this signer: the key
    /// itself or the primary key to which it belongs. Of keys of version 6 the id is the beginning.
    #[must_use]
    pub fn is_named(&self, id: &[u8]) -> bool {
        [&self.key, &self.primary].into_iter().any(|fingerprint| {
            if fingerprint.len() == V6_LEN {
                fingerprint.starts_with(id)
            } else {
                fingerprint.ends_with(id)
            }
        })
    }
}

impl std::fmt::Display for Signer {
    /// The fingerprint of the key that signed, as GnuPG writes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.key.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}
