//! The seven digests of the format, by name and by the length of their text.

use std::fmt;
use std::str::FromStr;

use md5::{Digest as _, Md5};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use sha3::{Sha3_256, Sha3_512};

use crate::error::UnknownName;
use crate::text;

/// A digest of the message, or the hash inside its HMAC. SHA3 is that of FIPS 202.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum DigestType {
    /// MD5, 22 characters.
    Md5,
    /// SHA-1, 27 characters.
    Sha1,
    /// SHA-256, 43 characters; the default of both roles.
    #[default]
    Sha256,
    /// SHA-384, 64 characters.
    Sha384,
    /// SHA-512, 86 characters.
    Sha512,
    /// SHA3-256, 43 characters.
    Sha3_256,
    /// SHA3-512, 86 characters.
    Sha3_512,
}

// === impl DigestType ===

impl DigestType {
    /// All of them, in the order of fwknop's codes.
    pub const ALL: [Self; 7] = [
        Self::Md5,
        Self::Sha1,
        Self::Sha256,
        Self::Sha384,
        Self::Sha512,
        Self::Sha3_256,
        Self::Sha3_512,
    ];

    /// Returns the length of the digest in bytes.
    #[must_use]
    pub const fn len_bytes(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 | Self::Sha3_256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 | Self::Sha3_512 => 64,
        }
    }

    /// Returns the length of the digest as base64 without padding.
    #[must_use]
    pub const fn text_len(self) -> usize {
        (self.len_bytes() * 4).div_ceil(3)
    }

    /// Returns the name, as access.conf and .fwknoprc write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
            Self::Sha3_256 => "sha3_256",
            Self::Sha3_512 => "sha3_512",
        }
    }

    /// Returns the digest of `bytes` as base64 without padding.
    pub(crate) fn text_of(self, bytes: &[u8]) -> String {
        match self {
            Self::Md5 => text::encode(&Md5::digest(bytes)),
            Self::Sha1 => text::encode(&Sha1::digest(bytes)),
            Self::Sha256 => text::encode(&Sha256::digest(bytes)),
            Self::Sha384 => text::encode(&Sha384::digest(bytes)),
            Self::Sha512 => text::encode(&Sha512::digest(bytes)),
            Self::Sha3_256 => text::encode(&Sha3_256::digest(bytes)),
            Self::Sha3_512 => text::encode(&Sha3_512::digest(bytes)),
        }
    }
}

impl fmt::Display for DigestType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DigestType {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL
            .into_iter()
            .find(|digest| digest.name().eq_ignore_ascii_case(name))
            .ok_or(UnknownName::DigestType)
    }
}
