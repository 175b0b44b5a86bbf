//! From plaintext to message, strictly: what a client would write differently is refused.

use std::str::FromStr;

use crate::error::Malformed;
use crate::message::{Decoded, Message};

/// Reads a whole plaintext.
pub(super) fn message(plain: &[u8]) -> Result<(Message, Decoded), Malformed> {
    let _ = plain;
    unimplemented!()
}

/// Reads a decimal number that is written as we would write it: digits, no leading zero.
pub(super) fn number<N: FromStr>(text: &str) -> Option<N> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if canonical && digits {
        text.parse().ok()
    } else {
        None
    }
}
