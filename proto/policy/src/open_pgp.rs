//! GPG_*: packets that OpenPGP wraps, and who may sign them.

use std::fmt;

use sha2::{Digest as _, Sha256};
use spa::{DigestType, Fingerprint, HmacKey, Secret, Signer};

/// GPG_HOME_DIR where neither the stanza nor the host has one.
pub const GPG_HOME_DIR_DEFAULT: &str = "/root/.gnupg";

/// The lengths of what names a key: short id, key id, and the fingerprints of versions 4 and 6, in
/// bytes.
const ID_LENGTHS: [usize; 4] = [4, 8, 20, 32];
/// Shorter ones can be made to fit by whoever makes keys.
const FINGERPRINT_LEN_MIN: usize = 20;

/// How a stanza opens OpenPGP messages, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenPgpRule {
    /// GPG_HOME_DIR: the keyring, on the host itself.
    pub home: Box<str>,
    /// GPG_DECRYPT_ID: the host's own key; any that it has, if there is none.
    pub decrypt_id: Option<Box<str>>,
    /// GPG_DECRYPT_PW; `None` with GPG_ALLOW_NO_PW.
    pub passphrase: Option<Secret>,
    /// Who must have signed.
    pub signers: Signers,
    /// HMAC_KEY and HMAC_DIGEST_TYPE.
    pub hmac: Option<(HmacKey, DigestType)>,
}

/// GPG_REMOTE_ID, GPG_FINGERPRINT_ID and GPG_DISABLE_SIG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signers {
    /// Nobody need sign: whoever has the host's public key can make such a packet.
    Anybody,
    /// Who is in each of the two lists that is not empty. One of them is not.
    Named {
        /// GPG_REMOTE_ID.
        ids: Box<[KeyId]>,
        /// GPG_FINGERPRINT_ID.
        fingerprints: Box<[KeyId]>,
    },
}

/// A fingerprint, or the end of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyId(Box<[u8]>);

/// A text that names no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeyId {
    /// Not hexadecimal, or of no known length.
    #[error("`{0}` is no key id: 8, 16, 40 or 64 hexadecimal digits")]
    Format(String),
    /// A key id where a fingerprint belongs.
    #[error("`{0}` is no fingerprint: 40 or 64 hexadecimal digits")]
    NotWhole(String),
}

// === impl OpenPgpRule ===

impl OpenPgpRule {
    /// Returns the short public name of what opens packets: the same for stanzas that open the same
    /// packets, whoever may sign them.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let [a, b, c, d, e, f, g, h, ..] = self.hash(b"postern openpgp fingerprint v1\0");
        Fingerprint([a, b, c, d, e, f, g, h])
    }

    /// Returns the name of the replay domain.
    #[must_use]
    pub fn domain(&self) -> [u8; 32] {
        self.hash(b"postern openpgp domain v1\0")
    }

    fn hash(&self, label: &[u8]) -> [u8; 32] {
        let decrypt_id = self.decrypt_id.as_deref().unwrap_or_default();
        let mut hash = Sha256::new().chain_update(label);
        let hmac = self.hmac.as_ref();
        let digest = hmac.map_or("", |(_, digest)| digest.name());
        let key = hmac.map_or(&[][..], |(key, _)| key.as_bytes());
        for part in [
            self.home.as_bytes(),
            decrypt_id.as_bytes(),
            digest.as_bytes(),
            key,
        ] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

// === impl Signers ===

impl Signers {
    /// Whether a message that this one signed, or nobody, is of somebody who may send it.
    #[must_use]
    pub fn accept(&self, signer: Option<&Signer>) -> bool {
        match self {
            Self::Anybody => true,
            Self::Named { ids, fingerprints } => signer.is_some_and(|signer| {
                let is_among = |names: &[KeyId]| {
                    names.is_empty() || names.iter().any(|name| signer.is_named(&name.0))
                };
                is_among(ids) && is_among(fingerprints)
            }),
        }
    }

    /// Returns every name, as a keyring is asked for it.
    pub fn names(&self) -> impl Iterator<Item = &KeyId> {
        let (ids, fingerprints): (&[KeyId], &[KeyId]) = match self {
            Self::Anybody => (&[], &[]),
            Self::Named { ids, fingerprints } => (ids, fingerprints),
        };
        ids.iter().chain(fingerprints)
    }
}

// === impl KeyId ===

impl KeyId {
    /// Reads a list of them.
    ///
    /// # Errors
    ///
    /// [`InvalidKeyId::Format`] for the first that is none.
    pub fn parse_list(text: &str) -> Result<Box<[Self]>, InvalidKeyId> {
        text.split(',').map(Self::parse).collect()
    }

    /// Reads a list of whole fingerprints.
    ///
    /// # Errors
    ///
    /// [`InvalidKeyId`] for the first that is none.
    pub fn parse_fingerprints(text: &str) -> Result<Box<[Self]>, InvalidKeyId> {
        let whole = |text: &str| {
            let id = Self::parse(text)?;
            if id.0.len() < FINGERPRINT_LEN_MIN {
                return Err(InvalidKeyId::NotWhole(text.trim().to_owned()));
            }
            Ok(id)
        };
        text.split(',').map(whole).collect()
    }

    /// Whether it is short enough that somebody else can make a key that has it.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.0.len() < FINGERPRINT_LEN_MIN
    }

    fn parse(text: &str) -> Result<Self, InvalidKeyId> {
        let wrong = || InvalidKeyId::Format(text.trim().chars().take(64).collect());
        let digits: Vec<char> = text.chars().filter(|char| !char.is_whitespace()).collect();
        let digits = match &*digits {
            ['0', 'x' | 'X', rest @ ..] => rest,
            all => all,
        };
        let (pairs, rest) = digits.as_chunks();
        let bytes: Option<Box<[u8]>> = pairs
            .iter()
            .map(|&[high, low]| {
                let value = high.to_digit(16)? << 4 | low.to_digit(16)?;
                u8::try_from(value).ok()
            })
            .collect();
        bytes
            .filter(|bytes| rest.is_empty() && ID_LENGTHS.contains(&bytes.len()))
            .map(Self)
            .ok_or_else(wrong)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> Signer {
        Signer {
            key: Box::new([0xab; 20]),
            primary: (1..=20).collect(),
        }
    }

    fn named(ids: &str, fingerprints: &str) -> Signers {
        let list = |text: &str, parse: fn(&str) -> Result<Box<[KeyId]>, InvalidKeyId>| {
            if text.is_empty() {
                Box::default()
            } else {
                parse(text).unwrap()
            }
        };
        Signers::Named {
            ids: list(ids, KeyId::parse_list),
            fingerprints: list(fingerprints, KeyId::parse_fingerprints),
        }
    }

    #[test]
    fn a_signer_must_be_in_each_list_that_there_is() {
        let whole = "AB".repeat(20);
        let other = "CD".repeat(20);
        for (ids, fingerprints, is_accepted) in [
            ("ABABABAB", "", true),
            ("0xabababababababab", "", true),
            ("11121314", "", true),
            ("DEADBEEF, ABABABAB", "", true),
            ("", &*whole, true),
            ("ABABABAB", &*whole, true),
            ("DEADBEEF", &*whole, false),
            ("ABABABAB", &*other, false),
            ("01020304", "", false),
        ] {
            let signers = named(ids, fingerprints);
            assert_eq!(
                signers.accept(Some(&signer())),
                is_accepted,
                "{ids}/{fingerprints}"
            );
            assert!(!signers.accept(None));
        }
        assert!(Signers::Anybody.accept(None));
    }

    #[test]
    fn what_is_no_key_id_is_refused_and_shown() {
        for text in [
            "",
            "ABC",
            "me@example",
            "ABABABABAB",
            "ABABABAB,,CDCDCDCD",
            "GGGGGGGG",
        ] {
            assert!(KeyId::parse_list(text).is_err(), "{text}");
        }
        let short = KeyId::parse_fingerprints("ABABABAB").unwrap_err();
        assert!(short.to_string().contains("ABABABAB"), "{short}");
        let spaced =
            KeyId::parse_fingerprints("31DE EA73 64BE DECE D273  B761 AAF8 B500 BA10 C0D4");
        assert_eq!(
            spaced.unwrap()[0].to_string(),
            "31DEEA7364BEDECED273B761AAF8B500BA10C0D4"
        );
    }
}
