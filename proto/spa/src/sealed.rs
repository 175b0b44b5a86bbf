//! A sealed packet as it came: its alphabet and length are right, and nothing else is known.

use crate::cipher::{BLOCK_LEN, SALT_HEADER_LEN};
use crate::digest::DigestType;
use crate::error::{Malformed, NotAuthentic};
use crate::keys::OpeningKey;
use crate::message::PLAINTEXT_LEN_MIN;
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

/// The four bits of the last magic byte that the first character sent carries.
const MAGIC_REST: u8 = 0b1111;
/// The longest HMAC in bytes, rounded up to what the base64 decoder asks for.
const MAC_LEN_MAX: usize = 66;

/// A packet in fwknop's wire form, not yet authentic.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sealed<'a> {
    text: &'a [u8],
}

/// A ciphertext with its prefix put back: what the HMAC covers, and what base64 decodes.
pub(crate) struct Prefixed {
    bytes: [u8; PREFIXED_LEN_MAX],
    len: usize,
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
        if !text::is_all_characters(payload) {
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
        let Some((body, mac)) = self.split(hmac) else {
            return false;
        };
        let magic = body
            .first()
            .and_then(|&first| text::value_of(first))
            .is_some_and(|bits| bits >> 2 == MAGIC_REST);
        let len = PREFIX.len() + body.len();
        magic
            && is_whole_blocks(len * 3 / 4)
            && text::is_canonical_end(len, body.last())
            && text::is_canonical_end(mac.len(), mac.last())
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
        let hmac_type = key.hmac_type();
        if !self.could_be(hmac_type) {
            return Err(NotAuthentic);
        }
        let (body, mac_text) = self.split(hmac_type).ok_or(NotAuthentic)?;
        let mut mac = [0; MAC_LEN_MAX];
        let mac = text::decode_into(mac_text, &mut mac).ok_or(NotAuthentic)?;
        if !key.hmac().verifies(Prefixed::new(body).as_bytes(), mac) {
            return Err(NotAuthentic);
        }
        Ok(Authentic::assertion(body, key))
    }

    /// Cuts the text into ciphertext and HMAC.
    pub(crate) fn split(&self, hmac: Option<DigestType>) -> Option<(&'a [u8], &'a [u8])> {
        let mac_len = hmac.map_or(0, DigestType::text_len);
        self.text
            .split_at_checked(self.text.len().checked_sub(mac_len)?)
    }
}

// === impl Prefixed ===

impl Prefixed {
    /// Puts the prefix before `body`, which is part of a sealed packet and so not too long.
    pub(crate) fn new(body: &[u8]) -> Self {
        let mut bytes = [0; PREFIXED_LEN_MAX];
        bytes
            .iter_mut()
            .zip(PREFIX.iter().chain(body))
            .for_each(|(to, &from)| *to = from);
        Self {
            bytes,
            len: (PREFIX.len() + body.len()).min(PREFIXED_LEN_MAX),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Reports whether so many bytes are a salt header and as many blocks as a message can have.
fn is_whole_blocks(len_bytes: usize) -> bool {
    len_bytes.is_multiple_of(BLOCK_LEN)
        && len_bytes >= SALT_HEADER_LEN + PLAINTEXT_LEN_MIN.next_multiple_of(BLOCK_LEN)
}
