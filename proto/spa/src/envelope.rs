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
pub trait Decrypt {
    /// Decrypts a binary message whose prefix was put back, and checks its signature if one is
    /// required. Gives the plaintext, which is then read as strictly as any other.
    ///
    /// # Errors
    ///
    /// [`NotDecrypted`].
    fn decrypt(&mut self, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotDecrypted>;
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
    /// No packet is both: what would be the magic bytes of one is a length over 3,840 in the other.
    /// fwknop goes by the length of the text instead, and takes long commands for OpenPGP.
    #[must_use]
    pub fn of(text: &[u8]) -> Option<Self> {
        if rijndael::begins(text) {
            Some(Self::Rijndael)
        } else if openpgp::begins(text) {
            Some(Self::OpenPgp)
        } else {
            None
        }
    }

    /// Reports whether `body`, a text without HMAC, can be a message of at least so many bytes.
    #[inline]
    pub(crate) fn fits(self, body: &[u8], plaintext_len_min: usize) -> bool {
        let len = self.prefix().len() + body.len();
        let shaped = match self {
            Self::Rijndael => {
                rijndael::begins(body) && rijndael::is_whole_blocks(len * 3 / 4, plaintext_len_min)
            }
            Self::OpenPgp => openpgp::begins(body),
        };
        shaped && text::is_canonical_end(len, body.last())
    }

    /// What is cut off before sending.
    #[inline]
    pub(crate) fn prefix(self) -> &'static [u8] {
        match self {
            Self::Rijndael => rijndael::PREFIX,
            Self::OpenPgp => openpgp::PREFIX,
        }
    }
}

// === impl Prefixed ===

impl Prefixed {
    /// Puts the prefix before `body`, which is part of a sealed packet and so not too long.
    #[inline]
    pub(crate) fn new(envelope: Envelope, body: &[u8]) -> Self {
        let prefix = envelope.prefix();
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
