//! A sealed packet as it came: its alphabet and length are right, and nothing else is known.

use crate::digest::DigestType;
use crate::error::{Malformed, NotAuthentic};
use crate::keys::OpeningKey;
use crate::open::Authentic;
use crate::tag::Tag;
use crate::text;

/// The shortest packet a client can make, in characters.
pub const SEALED_LEN_MIN: usize = 140;
/// The longest packet that fwknop looks at, in characters.
pub const SEALED_LEN_MAX: usize = 1500;

/// The base64 of `Salted__` up to the character that carries salt too; known, so never sent.
pub(crate) const PREFIX: &[u8; 10] = b"U2FsdGVkX1";
/// The longest text with the prefix put back.
pub(crate) const PREFIXED_LEN_MAX: usize = PREFIX.len() + SEALED_LEN_MAX;

/// A packet in fwknop's wire form, not yet authentic.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sealed<'a> {
    text: &'a [u8],
}

// === impl Sealed ===

impl<'a> Sealed<'a> {
    /// Takes a payload. Only alphabet and length are looked at.
    ///
    /// # Errors
    ///
    /// [`Malformed::Length`] and [`Malformed::Alphabet`].
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        if !(SEALED_LEN_MIN..=SEALED_LEN_MAX).contains(&payload.len()) {
            return Err(Malformed::Length(payload.len()));
        }
        if !payload.iter().copied().all(text::is_character) {
            return Err(Malformed::Alphabet);
        }
        Ok(Self { text: payload })
    }

    /// Returns the text as received.
    #[must_use]
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// Reads the packet as one of the tagged form: the tag, and the packet behind it.
    ///
    /// Any packet that is long enough can be read so. Only a tag that is in the host's table says
    /// that it was meant so.
    #[must_use]
    pub fn tag(&self) -> Option<(Tag, Self)> {
        let (tag, rest) = self.text.split_first_chunk()?;
        (rest.len() >= SEALED_LEN_MIN).then_some((Tag(*tag), Self { text: rest }))
    }

    /// Reports whether a key with this HMAC type could have sealed the packet, by its shape alone:
    /// whole cipher blocks, the bits that belong to the magic bytes, spare bits zero.
    #[must_use]
    pub fn could_be(&self, hmac: Option<DigestType>) -> bool {
        let _ = hmac;
        unimplemented!()
    }

    /// Verifies the HMAC, in constant time, over the text as received with its prefix put back.
    ///
    /// Without an HMAC key there is nothing to verify, and only the shape is looked at: then it is
    /// the digest inside that decides, in [`Authentic::open`].
    ///
    /// # Errors
    ///
    /// [`NotAuthentic`].
    pub fn authenticate(&self, key: &'a OpeningKey) -> Result<Authentic<'a>, NotAuthentic> {
        let _ = key;
        unimplemented!()
    }
}
