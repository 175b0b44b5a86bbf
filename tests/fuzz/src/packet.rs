//! A sealed packet against keys that it is not for: nothing opens, nothing panics, and what is said
//! of its form is said twice alike.

use std::sync::LazyLock;

use spa::{DigestType, EncryptionKey, EncryptionMode, HmacKey, Keys, OpeningKey, Sealed, Secret};

/// Keys that no packet of a corpus was made with, in every mode, with an HMAC and without.
static KEYS: LazyLock<Vec<OpeningKey>> = LazyLock::new(|| {
    let hmacs = [
        None,
        Some(DigestType::Md5),
        Some(DigestType::Sha256),
        Some(DigestType::Sha512),
    ];
    EncryptionMode::ALL
        .into_iter()
        .flat_map(|mode| hmacs.map(|hmac| opening(mode, hmac)))
        .flatten()
        .collect()
});

/// `None` for a mode that goes without HMAC only.
fn opening(mode: EncryptionMode, hmac: Option<DigestType>) -> Option<OpeningKey> {
    let encryption = EncryptionKey::new(Secret::from_passphrase("of nobody"));
    let hmac = hmac.map(|digest| {
        let key = HmacKey::new(Secret::from_passphrase("nor this one"));
        (key.expect("a passphrase is a key"), digest)
    });
    let keys = Keys::new(encryption.expect("a passphrase is a key"), mode, hmac);
    keys.ok().map(|keys| OpeningKey::new(&keys))
}

pub(crate) fn check(bytes: &[u8]) {
    let Ok(sealed) = Sealed::parse(bytes) else {
        return;
    };
    assert_eq!(sealed.text(), bytes, "a packet is all of its payload");
    if let Some((_, behind)) = sealed.tag() {
        assert!(
            bytes.ends_with(behind.text()),
            "what stands behind a tag is the end"
        );
    }
    for key in KEYS.iter() {
        if let Ok(authentic) = sealed.authenticate(key) {
            assert!(
                key.hmac_type().is_none(),
                "authentic under an HMAC key of nobody"
            );
            assert!(authentic.open().is_err(), "opened with a key of nobody");
        }
    }
}
