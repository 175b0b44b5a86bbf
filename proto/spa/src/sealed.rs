//! A sealed packet as it came: its alphabet and length are right, and nothing else is known.

use crate::digest::DigestType;
use crate::envelope::{Envelope, Prefixed, openpgp};
use crate::error::{Malformed, NotAuthentic};
use crate::keys::OpeningKey;
use crate::length::{SEALED_LEN_MAX, SEALED_LEN_MIN};
use crate::message::PLAINTEXT_LEN_MIN;
use crate::open::Authentic;
use crate::tag::Tag;
use crate::text;

/// The longest HMAC in bytes, rounded up to what the base64 decoder asks for.
const MAC_LEN_MAX: usize = 66;

/// One HMAC type of each length.
const HMACS_BY_LENGTH: [DigestType; 5] = [
    DigestType::Sha256,
    DigestType::Md5,
    DigestType::Sha1,
    DigestType::Sha384,
    DigestType::Sha512,
];

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

    /// Returns how the message is wrapped, as far as the first characters tell.
    #[must_use]
    pub fn envelope(&self) -> Option<Envelope> {
        Envelope::of(self.text)
    }

    /// Reports whether a key of fwknop's own envelope with this HMAC type could have sealed the
    /// packet, by its shape alone: whole cipher blocks, the bits that belong to the magic bytes, spare
    /// bits zero.
    #[must_use]
    pub fn could_be(&self, hmac: Option<DigestType>) -> bool {
        self.fits(Envelope::Rijndael, hmac)
    }

    /// Returns the key id of the recipient, if the packet can be an OpenPGP message with this HMAC type
    /// by its shape alone: it begins with a session key for somebody.
    #[must_use]
    pub fn recipient(&self, hmac: Option<DigestType>) -> Option<[u8; 8]> {
        if !self.fits(Envelope::OpenPgp, hmac) {
            return None;
        }
        let (body, _) = self.split(hmac)?;
        openpgp::head(body).map(|head| head.recipient)
    }

    /// Reports whether a key of any kind could have sealed the packet, by its shape alone: in fwknop's form or in the tagged
    /// one, in whichever envelope and with whichever HMAC. Of random characters few have such a shape.
    #[must_use]
    pub fn could_be_any(&self) -> bool {
        let could_be = |sealed: &Self| {
            let mut types = [None].into_iter().chain(HMACS_BY_LENGTH.map(Some));
            types.any(|hmac| sealed.could_be(hmac) || sealed.fits(Envelope::OpenPgp, hmac))
        };
        could_be(self) || self.tag().is_some_and(|(_, rest)| could_be(&rest))
    }

    #[inline]
    fn fits(&self, envelope: Envelope, hmac: Option<DigestType>) -> bool {
        self.split(hmac).is_some_and(|(body, mac)| {
            envelope.fits(body, PLAINTEXT_LEN_MIN) && text::is_canonical_end(mac.len(), mac.last())
        })
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
        let (envelope, hmac_type) = (key.envelope(), key.hmac_type());
        if !self.fits(envelope, hmac_type) {
            return Err(NotAuthentic);
        }
        let (body, mac_text) = self.split(hmac_type).ok_or(NotAuthentic)?;
        let mut mac = [0; MAC_LEN_MAX];
        let mac = text::decode_into(mac_text, &mut mac).ok_or(NotAuthentic)?;
        if !key
            .hmac()
            .verifies(Prefixed::new(envelope, body).as_bytes(), mac)
        {
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
