//! How people name a key: by fingerprint, key id or user id.

use crate::certificate::Certificate;

/// A key as a configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// A fingerprint, or the end of one (the beginning, for keys of version 6).
    Bytes(Box<[u8]>),
    /// Part of a user id, without regard to case.
    UserId(String),
}

/// The lengths of short ids, key ids, and the fingerprints of versions 4 and 6, in bytes.
const LENGTHS: [usize; 4] = [4, 8, 20, 32];
/// Fingerprints of keys of version 6 have this length, in bytes; their key ids are the beginning.
const V6_LEN: usize = 32;

// === impl Name ===

impl Name {
    /// Reads a name; what is not hexadecimal of a known length is part of a user id.
    pub(crate) fn parse(text: &str) -> Self {
        let text = text.trim();
        match bytes_of(text) {
            Some(bytes) => Self::Bytes(bytes),
            None => Self::UserId(text.trim_matches(['<', '>', '=']).to_lowercase()),
        }
    }

    pub(crate) fn names(&self, certificate: &Certificate) -> bool {
        match self {
            Self::Bytes(bytes) => {
                is_end_of(bytes, certificate.fingerprint())
                    || certificate
                        .components()
                        .iter()
                        .any(|key| is_end_of(bytes, &key.fingerprint))
            }
            Self::UserId(part) => {
                let mut ids = certificate.user_ids().iter();
                !part.is_empty() && ids.any(|id| id.to_lowercase().contains(part))
            }
        }
    }
}

fn bytes_of(text: &str) -> Option<Box<[u8]>> {
    let digits: String = text.chars().filter(|char| !char.is_whitespace()).collect();
    let digits = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
        .unwrap_or(&digits)
        .trim_end_matches('!');
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) || !digits.len().is_multiple_of(2) {
        return None;
    }
    let bytes: Option<Box<[u8]>> = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok())
        .collect();
    bytes.filter(|bytes| LENGTHS.contains(&bytes.len()))
}

fn is_end_of(id: &[u8], fingerprint: &[u8]) -> bool {
    if fingerprint.len() == V6_LEN {
        fingerprint.starts_with(id)
    } else {
        fingerprint.ends_with(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_of_a_known_length_is_a_fingerprint_or_its_end_and_all_else_a_user_id() {
        for text in ["0xABCDEF12", "abcdef12", "ABCD EF12", "ABCDEF12!"] {
            let bytes = Box::new([0xab, 0xcd, 0xef, 0x12]);
            assert_eq!(Name::parse(text), Name::Bytes(bytes), "{text}");
        }
        for text in ["ABCDEF", "server@example", "Alice Example", "+bcdef12"] {
            let Name::UserId(id) = Name::parse(text) else {
                panic!("{text}")
            };
            assert_eq!(id, text.to_lowercase());
        }
        assert_eq!(
            Name::parse("<a@b.example>"),
            Name::UserId("a@b.example".into())
        );
    }
}
