//! The key that signs checkpoints, and its public half as text: a verifier key as C2SP's signed
//! notes have it.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

/// Ed25519, in a key's id and text.
const ALGORITHM: u8 = 1;

/// Signs checkpoints of one log.
#[derive(Debug)]
pub struct AuditSigner {
    name: String,
    key: SigningKey,
}

/// Verifies checkpoints of one log. As text: `NAME+ID+KEY`, the id in hexadecimal and the key in
/// base64.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuditKey {
    name: String,
    key: VerifyingKey,
}

/// A text that is no verifier key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidAuditKey {
    /// Not three parts, or an unknown algorithm.
    #[error("it is not NAME+ID+KEY of an Ed25519 key")]
    Form,
    /// The id is that of another key.
    #[error("its id is not that of its key: a character was changed or lost")]
    Id,
}

// === impl AuditSigner ===

impl AuditSigner {
    /// The signer of the log of `fleet` with this secret.
    pub fn new(fleet: &str, seed: &[u8; 32]) -> Self {
        Self {
            name: origin(fleet),
            key: SigningKey::from_bytes(seed),
        }
    }

    /// What verifies what this signs.
    pub fn public(&self) -> AuditKey {
        AuditKey {
            name: self.name.clone(),
            key: self.key.verifying_key(),
        }
    }

    /// The name of the log, which stands in its checkpoints too.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn sign(&self, text: &[u8]) -> [u8; 64] {
        self.key.sign(text).to_bytes()
    }
}

// === impl AuditKey ===

impl AuditKey {
    /// The name of the log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it signs the log of this fleet, by its name.
    pub fn is_of(&self, fleet: &str) -> bool {
        self.name == origin(fleet)
    }

    /// The public key, as `openssl` and others take it.
    pub fn public_bytes(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// Its id, as it stands in its text: enough to tell the keys of one log apart.
    pub fn id_hex(&self) -> String {
        format!("{:08x}", u32::from_be_bytes(self.id()))
    }

    /// What stands before a signature of this key.
    pub(super) fn id(&self) -> [u8; 4] {
        let mut hash = Sha256::new();
        hash.update(&self.name);
        hash.update([b'\n', ALGORITHM]);
        hash.update(self.key.as_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let [first, second, third, fourth, ..] = digest;
        [first, second, third, fourth]
    }

    pub(super) fn verifies(&self, text: &[u8], signature: &[u8; 64]) -> bool {
        let signature = Signature::from_bytes(signature);
        self.key.verify_strict(text, &signature).is_ok()
    }
}

impl fmt::Display for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[ALGORITHM][..], self.key.as_bytes()].concat();
        let (name, id) = (&self.name, self.id_hex());
        write!(f, "{name}+{id}+{}", STANDARD.encode(key))
    }
}

impl FromStr for AuditKey {
    type Err = InvalidAuditKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = InvalidAuditKey::Form;
        let (name, rest) = text.trim().split_once('+').ok_or(InvalidAuditKey::Form)?;
        let (id, key) = rest.split_once('+').ok_or(InvalidAuditKey::Form)?;
        let key = STANDARD.decode(key).map_err(|_| invalid.clone())?;
        let Some((&ALGORITHM, key)) = key.split_first() else {
            return Err(invalid);
        };
        let key: [u8; 32] = key.try_into().map_err(|_| invalid.clone())?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| invalid.clone())?;
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(invalid);
        }
        let name = name.to_owned();
        let found = Self { name, key };
        let is_its_id = id == found.id_hex();
        is_its_id.then_some(found).ok_or(InvalidAuditKey::Id)
    }
}

/// The name of a fleet's log.
fn origin(fleet: &str) -> String {
    format!("{}/{fleet}", crate::SERVER_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_key_is_read_back_and_one_with_a_wrong_character_is_not() {
        let key = AuditSigner::new("prod", &[7; 32]).public();
        let text = key.to_string();

        assert_eq!(text.parse(), Ok(key));
        assert!(
            text.starts_with("controller.postern.internal/prod+"),
            "{text}"
        );
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'b' { b'c' } else { b'b' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(changed.parse::<AuditKey>().is_err(), "{changed}");
        }
        for text in ["", "prod", "prod+00000000", "a+b+c", "+00000000+AQ=="] {
            assert_eq!(
                text.parse::<AuditKey>(),
                Err(InvalidAuditKey::Form),
                "{text}"
            );
        }
    }
}
