//! The other envelope: an OpenPGP message (RFC 9580), binary, as GnuPG writes it.
//!
//! fwknop cuts two characters off whatever GnuPG gave it: the first octet, and half of the next. Its
//! server puts `hQ` in their place, which is right for RSA keys. What they were is not lost: the first
//! packet of the message holds the session key for its recipient, and how long that is says what
//! stands in it. So the two characters are put back as they were, for every kind and size of key.
//! Nothing is decrypted here.

use crate::text;

/// Characters that are cut off.
pub(super) const PREFIX_LEN: usize = 2;
/// Characters of the text, with its prefix, that are looked at: up to the length of the second
/// number of a session key for an ElGamal key of 4096 bits.
const HEAD_LEN: usize = 720;
/// Characters that show whether it is worth looking at more.
const BEGINNING_LEN: usize = 20;

/// How GnuPG begins a message: the first octet, and how many octets of length follow it (RFC 9580,
/// section 4.2.2).
const FORMS: [Form; 2] = [
    Form {
        tag: 0x85,
        length_octets: 2,
    },
    Form {
        tag: 0x84,
        length_octets: 1,
    },
];

struct Form {
    tag: u8,
    length_octets: usize,
}

/// What the beginning of a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The two characters that were cut off.
    pub(crate) prefix: [u8; PREFIX_LEN],
    /// The key id of the recipient.
    pub(crate) recipient: [u8; 8],
}

/// Reads the beginning of a text without its prefix; `None` for what does not begin with a public-key
/// encrypted session key packet (RFC 9580, section 5.1) that is shorter than the text, or with one
/// that does not say for whom it is.
pub(crate) fn head(text: &[u8]) -> Option<Head> {
    let mut bytes = [0; HEAD_LEN / 4 * 3];
    let beginning = decoded(text, BEGINNING_LEN, &mut bytes)?;
    if !FORMS.iter().any(|form| form.has_version(beginning)) {
        return None;
    }
    let bytes = decoded(text, HEAD_LEN, &mut bytes)?;
    let text_len = text.len() / 4 * 3;
    FORMS
        .iter()
        .find_map(|form| form.read(bytes))
        .filter(|(_, body_len)| *body_len < text_len)
        .map(|(head, _)| head)
}

/// Decodes the beginning of a text with zeros for what was cut off.
fn decoded<'b>(text: &[u8], len: usize, bytes: &'b mut [u8]) -> Option<&'b [u8]> {
    let mut prefixed = [b'A'; HEAD_LEN];
    let len = len.min((text.len() + PREFIX_LEN) / 4 * 4);
    let prefixed = prefixed.get_mut(..len)?;
    let cut = prefixed.get_mut(PREFIX_LEN..)?;
    cut.iter_mut().zip(text).for_each(|(to, &from)| *to = from);
    text::decode_into(prefixed, bytes).map(|bytes| &*bytes)
}

// === impl Form ===

impl Form {
    fn body<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        bytes.get(1 + self.length_octets..)
    }

    fn has_version(&self, bytes: &[u8]) -> bool {
        let version = self.body(bytes).and_then(<[u8]>::first);
        matches!(version, Some(3 | 6))
    }

    /// Returns the head, and how long the packet's body is. What is left of its length must agree with
    /// what stands in it.
    fn read(&self, bytes: &[u8]) -> Option<(Head, usize)> {
        let (recipient, body_len) = session_key(self.body(bytes)?)?;
        let length = bytes.get(1..=self.length_octets)?;
        let seen = length
            .iter()
            .fold(0, |sum, &octet| sum << 8 | usize::from(octet));
        let known_bits = self.length_octets * 8 - 4;
        let cut = u8::try_from(body_len >> known_bits).ok()?;
        if cut > 0xf || seen != body_len & ((1 << known_bits) - 1) {
            return None;
        }
        let mut prefix = [0; 4];
        text::encode_start([self.tag, cut << 4, 0], &mut prefix);
        let [first, second, ..] = prefix;
        let prefix = [first, second];
        Some((Head { prefix, recipient }, body_len))
    }
}

/// Reads the body of a session key packet: whose it is, and how long it is.
fn session_key(body: &[u8]) -> Option<([u8; 8], usize)> {
    let (recipient, algorithm_at) = match *body.first()? {
        3 => (*body.get(1..)?.first_chunk()?, 9),
        6 => {
            let len = usize::from(*body.get(1)?);
            let (version, fingerprint) = body.get(2..2 + len)?.split_first()?;
            let id = match (version, fingerprint.len()) {
                (4, 20) => *fingerprint.last_chunk()?,
                (6, 32) => *fingerprint.first_chunk()?,
                _ => return None,
            };
            (id, 2 + len)
        }
        _ => return None,
    };
    if recipient == [0; 8] {
        return None;
    }
    let at = algorithm_at + 1;
    let octet = |at: usize| body.get(at).map(|&octet| 1 + usize::from(octet));
    // Section 9.1: RSA, ElGamal, ECDH, X25519, X448.
    let len = match *body.get(algorithm_at)? {
        1 | 2 => number_len(body, at)?,
        16 => {
            let first = number_len(body, at)?;
            first + number_len(body, at + first)?
        }
        18 => {
            let point = number_len(body, at)?;
            point + octet(at + point)?
        }
        25 => 32 + octet(at + 32)?,
        26 => 56 + octet(at + 56)?,
        _ => return None,
    };
    Some((recipient, at + len))
}

/// Returns how long a number is, with the two octets that say it.
fn number_len(body: &[u8], at: usize) -> Option<usize> {
    let bits = u16::from_be_bytes(*body.get(at..)?.first_chunk()?);
    Some(2 + usize::from(bits).div_ceil(8))
}
