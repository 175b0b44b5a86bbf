//! Reads the golden vectors, which Debian's fwknop 2.6.10 made (shared/vectors/README.md).

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use spa::{
    DigestType, EncryptionKey, EncryptionMode, HmacKey, Keys, OpenError, Opened, OpeningKey,
    ReplayDigest, Sealed, Secret,
};

/// A packet that the real client sent.
#[derive(Debug, Deserialize)]
pub(crate) struct Valid {
    pub(crate) name: String,
    pub(crate) key: Option<String>,
    pub(crate) key_base64: Option<String>,
    pub(crate) hmac_key: Option<String>,
    pub(crate) hmac_key_base64: Option<String>,
    pub(crate) hmac_type: Option<String>,
    pub(crate) encryption_mode: String,
    pub(crate) encryption_type: String,
    pub(crate) digest_type: String,
    pub(crate) packet: String,
    pub(crate) salt_hex: Option<String>,
    pub(crate) plaintext: Option<String>,
    pub(crate) expected: Expected,
    pub(crate) fwknopd_accepts: bool,
}

/// The fields of a packet as the real client printed them.
#[derive(Debug, Deserialize)]
pub(crate) struct Expected {
    pub(crate) random: String,
    pub(crate) username: String,
    pub(crate) timestamp: u64,
    pub(crate) version: String,
    pub(crate) message_type: u8,
    pub(crate) message: String,
    pub(crate) nat_access: Option<String>,
    pub(crate) client_timeout: u32,
    pub(crate) digest: String,
}

/// A packet that was changed, or a case of policy, with what the real server did.
#[derive(Debug, Deserialize)]
pub(crate) struct Invalid {
    pub(crate) name: String,
    pub(crate) category: String,
    pub(crate) access_conf: String,
    packet: Option<String>,
    packet_hex: Option<String>,
    sent_before: Option<String>,
}

pub(crate) fn valid() -> Vec<Valid> {
    load("valid.json")
}

pub(crate) fn invalid() -> Vec<Invalid> {
    load("invalid.json")
}

fn load<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/vectors")
        .join(name);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// Why a packet was not opened, at whichever step.
#[derive(Debug, PartialEq)]
pub(crate) enum Refused {
    Malformed,
    NotAuthentic,
    Open(OpenError),
}

/// Opens a packet with one set of keys, through every step; the trial must agree with the rest.
pub(crate) fn open(packet: &[u8], keys: &Keys) -> Result<Opened, Refused> {
    let key = OpeningKey::new(keys);
    let sealed = Sealed::parse(packet).map_err(|_| Refused::Malformed)?;
    let hint = spa::Trial::new(sealed).matches(&key);
    let authentic = sealed.authenticate(&key);
    if keys.hmac().is_some() {
        assert_eq!(hint, authentic.is_ok());
    }
    let opened = authentic
        .map_err(|_| Refused::NotAuthentic)?
        .open()
        .map_err(Refused::Open)?;
    assert!(hint);
    Ok(opened)
}

// === impl Valid ===

impl Valid {
    /// The keys, unless they are GPG's.
    pub(crate) fn keys(&self) -> Option<Keys> {
        let mode = match self.encryption_type.as_str() {
            "rijndael" => self.encryption_mode.parse().unwrap(),
            _ => return None,
        };
        let encryption = secret(self.key.as_deref(), self.key_base64.as_deref()).unwrap();
        let hmac = secret(self.hmac_key.as_deref(), self.hmac_key_base64.as_deref());
        let hmac_type = self.hmac_type.as_ref().map(|name| name.parse().unwrap());
        Some(keys(encryption, mode, hmac.zip(hmac_type)))
    }
}

// === impl Invalid ===

impl Invalid {
    pub(crate) fn packet(&self) -> Vec<u8> {
        match &self.packet_hex {
            Some(packet) => hex::decode(packet).unwrap(),
            None => self.packet.clone().unwrap().into_bytes(),
        }
    }

    /// Opens the packet with the first stanza that can, as a server would.
    pub(crate) fn open(&self) -> Result<Opened, Refused> {
        self.open_with_stanzas(&self.packet())
    }

    /// The name of the message that was sent before.
    pub(crate) fn replay_digest_before(&self) -> ReplayDigest {
        let before = self.sent_before.as_ref().unwrap();
        self.open_with_stanzas(before.as_bytes())
            .unwrap()
            .replay_digest()
    }

    fn open_with_stanzas(&self, packet: &[u8]) -> Result<Opened, Refused> {
        let mut refused = Err(Refused::NotAuthentic);
        for stanza in self.access_conf.split("SOURCE ").skip(1) {
            let opened = open(packet, &stanza_keys(stanza));
            if opened.is_ok() {
                return opened;
            }
            refused = opened;
        }
        refused
    }
}

fn stanza_keys(stanza: &str) -> Keys {
    let value = |name| {
        stanza
            .lines()
            .filter_map(|line| line.split_once(' '))
            .find_map(|(variable, value)| (variable == name).then_some(value))
    };
    let encryption = secret(value("KEY"), value("KEY_BASE64")).unwrap();
    let hmac_type = value("HMAC_DIGEST_TYPE").map(|name| name.parse().unwrap());
    let hmac = secret(value("HMAC_KEY"), value("HMAC_KEY_BASE64"))
        .map(|key| (key, hmac_type.unwrap_or_default()));
    let mode = value("ENCRYPTION_MODE").map(|name| name.parse().unwrap());
    keys(encryption, mode.unwrap_or_default(), hmac)
}

fn secret(passphrase: Option<&str>, base64: Option<&str>) -> Option<Secret> {
    match (passphrase, base64) {
        (Some(passphrase), _) => Some(Secret::from_passphrase(passphrase)),
        (None, Some(base64)) => Some(Secret::from_base64(base64).unwrap()),
        (None, None) => None,
    }
}

pub(crate) fn keys(
    encryption: Secret,
    mode: EncryptionMode,
    hmac: Option<(Secret, DigestType)>,
) -> Keys {
    Keys::new(
        EncryptionKey::new(encryption).unwrap(),
        mode,
        hmac.map(|(key, digest)| (HmacKey::new(key).unwrap(), digest)),
    )
    .unwrap()
}
