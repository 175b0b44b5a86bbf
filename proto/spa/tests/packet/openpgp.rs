//! Packets whose message is wrapped by OpenPGP: told apart, authenticated, and opened by GnuPG itself,
//! handed in from outside.

use std::sync::atomic::{AtomicUsize, Ordering};

use spa::{
    Decrypt, Decrypted, DigestType, Envelope, HmacKey, NotAuthentic, NotDecrypted, OpenError,
    OpeningKey, SEALED_LEN_MAX, Sealed, Secret, Signer,
};
use vectors::gnupg::GnuPg;
use vectors::{Valid, of_gnupg, valid};
use zeroize::Zeroizing;

/// The server's key pair of most vectors, without a passphrase.
const SECRET_KEY: &str = include_str!("../../../../tests/vectors/gpg/s2048.secret.asc");

/// GnuPG with the server's key, and how often it was asked.
struct Ring {
    gnupg: GnuPg,
    asked: AtomicUsize,
}

// === impl Ring ===

impl Ring {
    fn with_the_servers_key() -> Self {
        let gnupg = GnuPg::new();
        gnupg.run(&["--import"], SECRET_KEY.as_bytes());
        Self {
            gnupg,
            asked: AtomicUsize::new(0),
        }
    }
}

impl Decrypt for Ring {
    fn has_key(&self, _: [u8; 8]) -> bool {
        true
    }

    fn micros(&self) -> u64 {
        3_000
    }

    fn signers(&self) -> Vec<Signer> {
        Vec::new()
    }

    fn decrypt(&self, message: &[u8], _: u64) -> Result<Decrypted, NotDecrypted> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        // The signer's public key is not in the ring, of which gpg complains: a plaintext is all that
        // is asked for.
        let output = self.gnupg.output(&["--decrypt"], message);
        if output.stdout.is_empty() {
            return Err(NotDecrypted::NoKey);
        }
        Ok(Decrypted {
            plaintext: Zeroizing::new(output.stdout),
            signer: None,
        })
    }
}

fn key_of(vector: &Valid) -> OpeningKey {
    let hmac = vector.hmac_key.as_ref().map(|key| {
        let key = HmacKey::new(Secret::from_passphrase(key)).unwrap();
        let digest: DigestType = vector.hmac_type.as_ref().unwrap().parse().unwrap();
        (key, digest)
    });
    OpeningKey::open_pgp(hmac.as_ref().map(|(key, digest)| (key, *digest)))
}

#[test]
fn the_envelopes_of_real_packets_are_told_apart_by_their_first_characters() {
    for vector in valid() {
        let expected = match vector.encryption_type.as_str() {
            "gpg" => Some(Envelope::OpenPgp),
            _ => Some(Envelope::Rijndael),
        };
        let Ok(sealed) = Sealed::parse(vector.packet.as_bytes()) else {
            panic!("{}", vector.name);
        };
        assert_eq!(sealed.envelope(), expected, "{}", vector.name);
    }
}

#[test]
fn no_text_of_junk_is_both_and_nearly_none_is_openpgp() {
    // Every beginning of three characters, with the rest of a real packet behind it.
    let rest = &of_gnupg()[0].packet[3..];
    let alphabet: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').collect();
    let mut open_pgp = 0;
    for a in &alphabet {
        for b in &alphabet {
            for c in &alphabet {
                let text = format!("{a}{b}{c}{rest}");
                match Envelope::of(text.as_bytes()) {
                    Some(Envelope::Rijndael) => assert!("89".contains(*a), "{text}"),
                    Some(Envelope::OpenPgp) => open_pgp += 1,
                    None => {}
                }
            }
        }
    }
    // The version octet lies in the third character's last bits and the fourth.
    assert!((1..10_000).contains(&open_pgp), "{open_pgp}");
    assert_eq!(Envelope::of(b""), None);
    assert_eq!(Envelope::of(&[b'A'; SEALED_LEN_MAX]), None);
}

#[test]
fn what_gnupg_decrypts_is_opened_with_the_fields_that_the_client_printed() {
    let gnupg = Ring::with_the_servers_key();
    let mut opened_count = 0;

    for vector in of_gnupg() {
        if !vector.access_conf.contains("GPG_HOME_DIR gpg/s2048") {
            continue;
        }
        let key = key_of(&vector);
        let sealed = Sealed::parse(vector.packet.as_bytes()).unwrap();
        assert!(spa::Trial::new(sealed).matches(&key), "{}", vector.name);

        let opened = sealed
            .authenticate(&key)
            .unwrap()
            .open_with(&gnupg, 0)
            .unwrap_or_else(|refused| panic!("{}: {refused}", vector.name));

        let expected = &vector.expected;
        assert_eq!(opened.message().username, expected.username);
        assert_eq!(opened.message_text(), expected.message);
        assert_eq!(opened.nat_text(), expected.nat_access.as_deref());
        assert_eq!(opened.digest_text(), expected.digest);
        opened_count += 1;
    }

    assert!(opened_count >= 8, "{opened_count}");
    assert_eq!(gnupg.asked.load(Ordering::Relaxed), opened_count);
}

#[test]
fn a_message_for_another_key_is_not_decrypted_and_one_without_a_decryptor_not_opened() {
    let gnupg = Ring::with_the_servers_key();
    let vectors = of_gnupg();
    let for_another = vectors
        .iter()
        .find(|vector| vector.access_conf.contains("GPG_HOME_DIR gpg/spw"))
        .unwrap();
    let key = key_of(for_another);
    let sealed = Sealed::parse(for_another.packet.as_bytes()).unwrap();

    let alone = sealed.authenticate(&key).unwrap().open();
    let asked = sealed.authenticate(&key).unwrap().open_with(&gnupg, 0);

    assert_eq!(alone.unwrap_err(), OpenError::NoDecryptor);
    assert_eq!(asked.unwrap_err(), OpenError::OpenPgp(NotDecrypted::NoKey));
}

#[test]
fn a_changed_packet_never_reaches_the_keyring() {
    let vectors = of_gnupg();
    let vector = vectors.iter().find(|v| v.hmac_key.is_some()).unwrap();
    let key = key_of(vector);

    for at in [0, 100, vector.packet.len() - 1] {
        let mut packet = vector.packet.clone().into_bytes();
        packet[at] = if packet[at] == b'A' { b'B' } else { b'A' };
        let sealed = Sealed::parse(&packet).unwrap();
        assert!(!spa::Trial::new(sealed).matches(&key));
        assert_eq!(sealed.authenticate(&key).unwrap_err(), NotAuthentic);
    }
}

#[test]
fn a_packet_of_fwknops_own_envelope_is_opened_without_asking_anybody() {
    struct Nobody;
    impl Decrypt for Nobody {
        fn has_key(&self, _: [u8; 8]) -> bool {
            panic!("nobody is to be asked");
        }

        fn micros(&self) -> u64 {
            3_000
        }

        fn signers(&self) -> Vec<Signer> {
            Vec::new()
        }

        fn decrypt(&self, _: &[u8], _: u64) -> Result<Decrypted, NotDecrypted> {
            panic!("nobody is to be asked");
        }
    }
    let vector = valid()
        .into_iter()
        .find(|vector| vector.encryption_type == "rijndael")
        .unwrap();
    let key = OpeningKey::new(&crate::opening::keys_of(&vector).unwrap());
    let sealed = Sealed::parse(vector.packet.as_bytes()).unwrap();

    let opened = sealed.authenticate(&key).unwrap().open_with(&Nobody, 0);

    assert_eq!(opened.unwrap().digest_text(), vector.expected.digest);
    // And neither kind of key takes the other kind of packet.
    let open_pgp = OpeningKey::open_pgp(None);
    assert_eq!(sealed.authenticate(&open_pgp).unwrap_err(), NotAuthentic);
}
