//! Modes of the cipher.

use std::fmt;
use std::str::FromStr;

use crate::error::UnknownName;

/// How AES-256 is chained. Not signalled in the packet: both sides must agree.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum EncryptionMode {
    /// Cipher block chaining, the default.
    #[default]
    Cbc,
    /// Counter, big-endian over all sixteen bytes.
    Ctr,
    /// Cipher feedback of whole blocks.
    Cfb,
    /// Output feedback.
    Ofb,
    /// Electronic codebook.
    Ecb,
    /// CBC with a key cut or filled to sixteen bytes, for clients before 2.5.
    Legacy,
}

// === impl EncryptionMode ===

impl EncryptionMode {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Cbc,
        Self::Ctr,
        Self::Cfb,
        Self::Ofb,
        Self::Ecb,
        Self::Legacy,
    ];

    /// Returns the name, as access.conf writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cbc => "CBC",
            Self::Ctr => "CTR",
            Self::Cfb => "CFB",
            Self::Ofb => "OFB",
            Self::Ecb => "ECB",
            Self::Legacy => "legacy",
        }
    }
}

impl fmt::Display for EncryptionMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for EncryptionMode {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.name().eq_ignore_ascii_case(name))
            .ok_or(UnknownName::EncryptionMode)
    }
}
