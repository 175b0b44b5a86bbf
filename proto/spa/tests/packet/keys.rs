//! Which keys are taken, and what is shown of them.

use spa::{
    DigestType, EncryptionKey, EncryptionMode, HmacKey, InvalidKey, Keys, OpeningKey, Secret,
    UnknownName,
};

use crate::opening::keys;

#[test]
fn a_key_that_fwknop_refuses_is_refused() {
    let bytes = |len| Secret::from_passphrase(vec![b'k'; len]);
    let encryption = |len| EncryptionKey::new(bytes(len));
    let hmac = |len| HmacKey::new(bytes(len));
    let sha256 = |len| Some((hmac(len).unwrap(), DigestType::Sha256));
    let together = |mode, hmac| Keys::new(encryption(16).unwrap(), mode, hmac);

    assert_eq!(encryption(33), Err(InvalidKey::EncryptionKeyTooLong(33)));
    assert_eq!(hmac(0), Err(InvalidKey::HmacKeyLength(0)));
    assert_eq!(hmac(129), Err(InvalidKey::HmacKeyLength(129)));
    assert_eq!(
        together(EncryptionMode::Cbc, sha256(16)),
        Err(InvalidKey::HmacKeyEqualsEncryptionKey)
    );
    assert_eq!(
        together(EncryptionMode::Legacy, sha256(17)),
        Err(InvalidKey::LegacyWithHmac)
    );
    assert_eq!(Secret::from_base64("a key"), Err(InvalidKey::Base64));
    assert!(encryption(0).is_ok() && encryption(32).is_ok() && hmac(128).is_ok());
}

#[test]
fn a_base64_key_is_read_with_and_without_padding() {
    let padded = Secret::from_base64("pySYgMIjA8o/VxzWY3u30w==").unwrap();
    let unpadded = Secret::from_base64("pySYgMIjA8o/VxzWY3u30w").unwrap();

    assert_eq!(padded, unpadded);
    assert_eq!(*padded.to_base64(), "pySYgMIjA8o/VxzWY3u30w==");
}

#[test]
fn names_are_those_of_access_conf_in_any_case() {
    for digest in DigestType::ALL {
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(digest.to_string().to_uppercase().parse(), Ok(digest));
    }
    for mode in EncryptionMode::ALL {
        assert_eq!(mode.to_string().parse(), Ok(mode));
        assert_eq!(mode.to_string().to_lowercase().parse(), Ok(mode));
    }
    assert_eq!("sha224".parse::<DigestType>(), Err(UnknownName::DigestType));
    assert_eq!(
        "PCBC".parse::<EncryptionMode>(),
        Err(UnknownName::EncryptionMode)
    );
}

#[test]
fn nothing_secret_is_printed() {
    let keys = pair();

    let printed = format!("{keys:?} {:?} {:?}", OpeningKey::new(&keys), keys.tag_key());

    assert!(!printed.contains("vectorpass1") && !printed.contains("vector-hmac-key"));
    // Nor as a list of bytes: v, e, c.
    assert!(!printed.contains("118, 101, 99"));
}

/// Expected values made with Python's hashlib.
#[test]
fn names_of_keys_do_not_change_between_versions() {
    let keys = pair();

    assert_eq!(keys.fingerprint().to_string(), "3feda8aefc442487");
    assert_eq!(
        hex::encode(keys.domain()),
        "2a81127d62ec5a4169ce8d6ef4055a985ff09035f90c47b015f00d69da1de816"
    );
}

#[test]
fn keys_that_open_the_same_packet_share_a_replay_domain() {
    let domain = |passphrase: &str, mode, hmac: Option<&str>| {
        let hmac = hmac.map(|key| (Secret::from_passphrase(key), DigestType::Sha256));
        keys(Secret::from_passphrase(passphrase), mode, hmac).domain()
    };
    let cbc = |passphrase, hmac| domain(passphrase, EncryptionMode::Cbc, hmac);
    let legacy = |passphrase| domain(passphrase, EncryptionMode::Legacy, None);

    // The HMAC can be cut off by anybody.
    assert_eq!(cbc("one", Some("hmac")), cbc("one", None));
    assert_eq!(cbc("one0000000000000", None), legacy("one"));
    assert_eq!(
        legacy("0123456789abcdef and more"),
        legacy("0123456789abcdef")
    );
    assert_ne!(cbc("one", None), cbc("two", None));
    assert_ne!(cbc("one", None), legacy("one"));
}

#[test]
fn ten_thousand_keys_fit_in_two_megabytes() {
    assert!(size_of::<OpeningKey>() <= 200);
}

fn pair() -> Keys {
    keys(
        Secret::from_passphrase("vectorpass1"),
        EncryptionMode::Cbc,
        Some((
            Secret::from_passphrase("vector-hmac-key"),
            DigestType::Sha256,
        )),
    )
}
