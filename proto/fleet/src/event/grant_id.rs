//! The name of one grant.

use std::fmt;
use std::str::FromStr;

/// Names one grant among all of the fleet: opened, closed and revoked of it carry the same.
///
/// 16 bytes; as text, 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct GrantId(pub [u8; 16]);

/// A text that is no grant id.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is not 32 lower-case hexadecimal digits")]
pub struct InvalidGrantId(pub String);

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl FromStr for GrantId {
    type Err = InvalidGrantId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let invalid = || InvalidGrantId(text.to_owned());
        if text.len() != 32 || !text.bytes().all(is_digit) {
            return Err(invalid());
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| invalid())?;
        Ok(Self(number.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_id_reads_as_it_is_written_and_nothing_else_does() {
        let id = GrantId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(id.to_string(), "000102030405060708090a0b0c0d0eff");
        assert_eq!(id.to_string().parse(), Ok(id));

        for text in [
            "",
            "00",
            "000102030405060708090A0B0C0D0EFF",
            "+0102030405060708090a0b0c0d0effa",
        ] {
            assert!(text.parse::<GrantId>().is_err(), "{text}");
        }
    }
}
