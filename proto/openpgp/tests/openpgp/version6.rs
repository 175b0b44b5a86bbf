//! Keys of version 6 (RFC 9580), which no GnuPG makes or reads: from a home of rings of the older form,
//! written here by the library. Beside them keys of GnuPG, in every pairing.

use std::fs;

use openpgp::{Home, KeyFault, KeyringError, Opener, Sealer};
use pgp::composed::{KeyType, SecretKeyParamsBuilder, SignedSecretKey, SubkeyParamsBuilder};
use pgp::crypto::aead::AeadAlgorithm;
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails as _, KeyVersion, Password, S2kParams, StringToKey};
use rand_of_pgp::rngs::OsRng;
use spa::{Decrypt as _, NotDecrypted, OpenError, OpeningKey, Sealed};
use tempfile::TempDir;
use vectors::gnupg::CURVES;

use crate::gnupg::{GnuPg, now_secs, read};

/// A key that signs, and its subkey that decrypts.
fn key(name: &str, passphrase: &str) -> SignedSecretKey {
    let sub = SubkeyParamsBuilder::default()
        .version(KeyVersion::V6)
        .key_type(KeyType::X25519)
        .can_encrypt(pgp::composed::EncryptionCaps::All)
        .build()
        .unwrap();
    let primary = SecretKeyParamsBuilder::default()
        .version(KeyVersion::V6)
        .key_type(KeyType::Ed25519)
        .can_certify(true)
        .can_sign(true)
        .preferred_hash_algorithms(vec![HashAlgorithm::Sha256].into())
        .primary_user_id(format!("{name} <{name}@example>"))
        .subkey(sub)
        .build()
        .unwrap();
    let mut key = primary.generate(OsRng).unwrap();
    if !passphrase.is_empty() {
        let password = Password::from(passphrase);
        let protect = || S2kParams::Aead {
            sym_alg: SymmetricKeyAlgorithm::AES256,
            aead_mode: AeadAlgorithm::Ocb,
            // A megabyte; by default it is two thousand.
            s2k: StringToKey::new_argon2(OsRng, 1, 1, 10),
            nonce: vec![7; AeadAlgorithm::Ocb.nonce_size()].into(),
        };
        let primary = &mut key.primary_key;
        primary.set_password_with_s2k(&password, protect()).unwrap();
        for sub in &mut key.secret_subkeys {
            sub.key.set_password_with_s2k(&password, protect()).unwrap();
        }
    }
    key
}

/// A home with these private keys, and the public ones of others.
fn home(secrets: &[&SignedSecretKey], others: &[Vec<u8>]) -> TempDir {
    let dir = TempDir::new().unwrap();
    let ring: Vec<u8> = secrets
        .iter()
        .flat_map(|key| key.to_bytes().unwrap())
        .collect();
    fs::write(dir.path().join("secring.gpg"), ring).unwrap();
    fs::write(dir.path().join("pubring.gpg"), others.concat()).unwrap();
    dir
}

fn public(key: &SignedSecretKey) -> Vec<u8> {
    key.to_public_key().to_bytes().unwrap()
}

fn name_of(key: &SignedSecretKey) -> String {
    key.primary_key.fingerprint().to_string().to_uppercase()
}

/// What one home seals as a packet, and another opens: the fingerprint of who signed, or why not.
fn passes(
    (from, signer): (&Home, &str),
    (to, recipient): (&Home, &str),
    passphrase: Option<&[u8]>,
) -> String {
    let plaintext = b"1785484479104091:cm9vdA:1795422834:3.0.0:1:MC4wLjAuMCx0Y3AvMjI";
    let signs = Some((Some(signer), None));
    let sealer = Sealer::new(from, recipient, signs, now_secs()).unwrap();
    let packet = spa::seal_open_pgp(&sealer.seal(plaintext).unwrap(), None).unwrap();
    let signers = vec![to.certificate(signer).unwrap().clone()];
    let opener = Opener::new(to, Some(recipient), passphrase, signers, false).unwrap();
    let key = OpeningKey::open_pgp(None);
    let sealed = Sealed::parse(packet.as_bytes()).unwrap();
    let authentic = sealed.authenticate(&key).unwrap();
    match authentic.open_with(&opener, now_secs()) {
        // Its digest is missing: what it says does not matter here.
        Err(OpenError::Message(_)) | Ok(_) => {}
        Err(refused) => return format!("{refused:?}"),
    }
    let decrypted = opener.decrypt(&sealer.seal(plaintext).unwrap(), now_secs());
    let decrypted = decrypted.unwrap();
    assert_eq!(&*decrypted.plaintext, plaintext);
    decrypted.signer.unwrap().to_string()
}

#[test]
fn keys_of_version_6_seal_open_and_sign_among_each_other_and_with_keys_of_gnupg() {
    let (alice, server) = (key("alice", ""), key("server", "correct horse"));
    let (new_alice, new_server) = (name_of(&alice), name_of(&server));
    assert_eq!(new_alice.len(), 64);
    let gnupg = GnuPg::new();
    let old_alice = gnupg.key("alice", CURVES, "");
    let old_server = gnupg.key("server", CURVES, "");
    let exported = gnupg.run(&["--export"], b"");
    // Either home has the private keys of its kind, and the public ones of both.
    let dir = home(&[&alice, &server], &[exported]);
    let new = Home::read(dir.path()).unwrap();
    let publics = [public(&alice), public(&server)].concat();
    fs::write(gnupg.path().join("pubring.gpg"), publics).unwrap();
    let old = read(&gnupg);

    let horse: Option<&[u8]> = Some(b"correct horse");
    for (from, signer) in [(&new, &*new_alice), (&old, &*old_alice)] {
        for (to, recipient) in [(&new, &*new_server), (&old, &*old_server)] {
            let signed = passes((from, signer), (to, recipient), horse);
            assert_eq!(signed, signer, "{recipient}");
        }
    }
    // By the short names of its kind, too, and by its user.
    assert!(new.certificate(&new_alice[..16]).is_ok());
    let alone = home(&[&alice, &server], &[]);
    let alone = Home::read(alone.path()).unwrap();
    let signed = passes((&alone, "alice"), (&alone, "server@example"), horse);
    assert_eq!(signed, new_alice);
}

#[test]
fn of_version_6_a_wrong_passphrase_unlocks_nothing_and_a_strangers_signature_is_nobodys() {
    let (alice, server) = (key("alice", ""), key("server", "correct horse"));
    let dir = home(&[&alice, &server], &[]);
    let host = Home::read(dir.path()).unwrap();
    let opener = |passphrase: Option<&[u8]>| {
        let opener = Opener::new(&host, Some("server"), passphrase, Vec::new(), true);
        opener.map(drop)
    };

    assert!(opener(Some(b"correct horse")).is_ok());
    for (passphrase, expected) in [
        (Some(&b"horse"[..]), KeyFault::WrongPassphrase),
        (None, KeyFault::PassphraseNeeded),
    ] {
        let refused = opener(passphrase).unwrap_err();
        assert!(
            matches!(&refused, KeyringError::SecretKey { cause, .. } if *cause == expected),
            "{refused}"
        );
    }
    // She has the name, and not the key.
    let dir = home(&[&key("alice", "")], &[public(&server)]);
    let from = Home::read(dir.path()).unwrap();
    let refused = passes((&from, "alice"), (&host, "server"), Some(b"correct horse"));
    assert_eq!(
        refused,
        format!("{:?}", OpenError::OpenPgp(NotDecrypted::Signer))
    );
}
