//! Base64 and numbers, read strictly: one text for each value.
//!
//! fwknop's decoder ignores spare bits and stops at the first `=`, and with it a packet has many
//! texts (docs/compatibility.md, W1). Here the standard alphabet without padding and with zero
//! spare bits is the only form; keys from configuration files are read more kindly, since nobody
//! attacks through them.

use std::str::FromStr;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// For keys: padding optional, spare bits ignored.
const KEY: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Returns the text of `bytes` without padding.
pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD_NO_PAD.encode(bytes)
}

/// Returns the text of `bytes` with padding.
pub(crate) fn encode_padded(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Appends the text of `bytes`, without padding, to `text`.
pub(crate) fn encode_onto(bytes: &[u8], text: &mut String) {
    STANDARD_NO_PAD.encode_string(bytes, text);
}

/// Decodes unpadded text into `bytes` and returns the part that was filled.
pub(crate) fn decode_into<'b>(text: &[u8], bytes: &'b mut [u8]) -> Option<&'b mut [u8]> {
    let len = STANDARD_NO_PAD.decode_slice(text, bytes).ok()?;
    bytes.get_mut(..len)
}

/// Decodes unpadded text.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD_NO_PAD.decode(text).ok()
}

/// Decodes padded text.
pub(crate) fn decode_padded(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Decodes the text of a key.
pub(crate) fn decode_key(text: &str) -> Option<Vec<u8>> {
    KEY.decode(text).ok()
}

/// Reports whether `byte` is one of the 64 characters.
pub(crate) const fn is_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/'
}

/// Reports whether `text` is of these 64 characters only.
///
/// Looks at all of it, because nearly all junk passes: without a way out early the compiler compares
/// many characters at once, and a packet takes 20 ns instead of 400.
pub(crate) fn is_all_characters(text: &[u8]) -> bool {
    text.iter()
        .fold(true, |all, &byte| all & is_character(byte))
}

/// Returns the six bits of a character.
pub(crate) const fn value_of(character: u8) -> Option<u8> {
    match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// Reports whether a text of this length can exist, and its last character leaves the spare bits
/// zero.
pub(crate) fn is_canonical_end(len: usize, last: Option<&u8>) -> bool {
    let spare_bits = match len % 4 {
        0 => return true,
        2 => 0b1111,
        3 => 0b11,
        _ => return false,
    };
    last.and_then(|&last| value_of(last))
        .is_some_and(|bits| bits & spare_bits == 0)
}

/// Writes the text of the first six bytes of `bytes`, which is eight characters.
pub(crate) fn encode_head(bytes: &[u8; 32], text: &mut [u8; 8]) {
    let [a, b, c, d, e, f, ..] = *bytes;
    // Six bytes are exactly eight characters.
    let _ = STANDARD_NO_PAD.encode_slice([a, b, c, d, e, f], text);
}

/// Writes the text of three bytes, which is four characters.
pub(crate) fn encode_start(bytes: [u8; 3], text: &mut [u8; 4]) {
    let _ = STANDARD_NO_PAD.encode_slice(bytes, text);
}

/// Reads a decimal number that is written as we would write it: digits, no leading zero.
pub(crate) fn number<N: FromStr>(text: &str) -> Option<N> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if canonical && digits {
        text.parse().ok()
    } else {
        None
    }
}
