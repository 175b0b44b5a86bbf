//! The other envelope: an OpenPGP message (RFC 9580), binary, as GnuPG writes it for a recipient with
//! an RSA or ElGamal key.
//!
//! fwknop cuts two characters off whatever GnuPG gave it, and its server puts `hQ` in their place.
//! That is right for messages that begin with a session key packet of two length octets below 4096,
//! and those are the ones that can be told. Nothing is decrypted here.

use crate::text;

/// The base64 of the packet's first octet and of four bits of its length; known, so never sent.
pub(super) const PREFIX: &[u8] = b"hQ";

/// Characters of the text, with its prefix, that are looked at.
const HEAD_LEN: usize = 20;

/// Reports whether a text without its prefix begins with a public-key encrypted session key packet of
/// version 3 (RFC 9580, sections 4.2.2 and 5.1.1) that is not longer than the text.
pub(super) fn begins(text: &[u8]) -> bool {
    let mut prefixed = [0; HEAD_LEN];
    prefixed
        .iter_mut()
        .zip(PREFIX.iter().chain(text))
        .for_each(|(to, &from)| *to = from);
    let mut head = [0; HEAD_LEN / 4 * 3];
    let Some(head) = text::decode_into(&prefixed, &mut head) else {
        return false;
    };
    let [
        tag,
        high,
        low,
        version,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        algorithm,
        ..,
    ] = *head
    else {
        return false;
    };
    let len = usize::from(u16::from_be_bytes([high, low]));
    let is_session_key = tag == 0x85 && version == 3;
    // 1 and 2 are RSA, 16 is ElGamal (section 9.1).
    is_session_key && matches!(algorithm, 1 | 2 | 16) && len < text.len() / 4 * 3
}
