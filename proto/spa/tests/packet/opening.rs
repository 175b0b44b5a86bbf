//! Opens packets with whole sets of keys, those of the golden vectors among them.

use spa::{
    DigestType, EncryptionKey, EncryptionMode, HmacKey, Keys, OpenError, Opened, OpeningKey,
    ReplayDigest, Sealed, Secret,
};
use vectors::{Invalid, Valid};

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

/// The keys of a packet, unless they are GPG's.
pub(crate) fn keys_of(vector: &Valid) -> Option<Keys> {
    let mode = match vector.encryption_type.as_str() {
        "rijndael" => vector.encryption_mode.parse().unwrap(),
        _ => return None,
    };
    let encryption = secret(vector.key.as_deref(), vector.key_base64.as_deref()).unwrap();
    let hmac = secret(
        vector.hmac_key.as_deref(),
        vector.hmac_key_base64.as_deref(),
    );
    let hmac_type = vector.hmac_type.as_ref().map(|name| name.parse().unwrap());
    Some(keys(encryption, mode, hmac.zip(hmac_type)))
}

/// Opens the packet of a vector with the first stanza that can, as a server would.
pub(crate) fn open_vector(vector: &Invalid) -> Result<Opened, Refused> {
    open_with_stanzas(vector, &vector.packet())
}

/// The name of the message that was sent before.
pub(crate) fn replay_digest_before(vector: &Invalid) -> ReplayDigest {
    let before = vector.sent_before.as_ref().unwrap();
    open_with_stanzas(vector, before.as_bytes())
        .unwrap()
        .replay_digest()
}

fn open_with_stanzas(vector: &Invalid, packet: &[u8]) -> Result<Opened, Refused> {
    let mut refused = Err(Refused::NotAuthentic);
    for stanza in vector.access_conf.split("SOURCE ").skip(1) {
        let opened = open(packet, &stanza_keys(stanza));
        if opened.is_ok() {
            return opened;
        }
        refused = opened;
    }
    refused
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
