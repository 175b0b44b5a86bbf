//! Packets that OpenPGP wraps: what a stranger can have decrypted, which stanza a signature opens, and
//! what is upheld of it. What decrypts stands outside of the gate; `proto/openpgp` and the suite try
//! the real one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gate::{
    CompileError, CompiledPolicy, Gate, Keyrings, MemoryReplayLog, Reason, Settings, SharedKeys,
};
use policy::{Denied, OpenPgpRule};
use spa::{Decrypt, Decrypted, NotDecrypted, Sealed, Signer};
use vectors::valid;
use zeroize::Zeroizing;

use crate::support::{ALICE, HOST, NOW_SECS, Scene, at, message, policy};

/// Who signs.
const SIGNER: &str = "0102030405060708090A0B0C0D0E0F1011121314";

/// Decrypts everything to one message, and counts how often it is asked.
struct Counting {
    recipient: [u8; 8],
    asked: Arc<AtomicUsize>,
    signer: Option<Signer>,
    plaintext: Option<String>,
}

fn signer() -> Signer {
    Signer {
        key: (1..=20).collect(),
        primary: (1..=20).collect(),
    }
}

impl Decrypt for Counting {
    fn has_key(&self, key_id: [u8; 8]) -> bool {
        key_id == self.recipient
    }

    fn micros(&self) -> u64 {
        3_000
    }

    fn signers(&self) -> Vec<Signer> {
        vec![signer()]
    }

    fn decrypt(&self, _: &[u8], _: u64) -> Result<Decrypted, NotDecrypted> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let plaintext = self.plaintext.clone().ok_or(NotDecrypted::Signer)?;
        Ok(Decrypted {
            plaintext: Zeroizing::new(plaintext.into_bytes()),
            signer: self.signer.clone(),
        })
    }
}

/// A keyring whose one key is that of the vectors' recipient.
struct Ring {
    asked: Arc<AtomicUsize>,
    signer: Option<Signer>,
    plaintext: Option<String>,
}

impl Keyrings for Ring {
    fn decryptor(&self, _: &[&OpenPgpRule]) -> Result<Arc<dyn Decrypt>, String> {
        Ok(Arc::new(Counting {
            recipient: recipient(),
            asked: Arc::clone(&self.asked),
            signer: self.signer.clone(),
            plaintext: self.plaintext.clone(),
        }))
    }
}

fn packet(name: &str) -> String {
    let vectors = valid();
    let vector = vectors.iter().find(|one| one.name == name).unwrap();
    vector.packet.clone()
}

fn recipient() -> [u8; 8] {
    let packet = packet("gpg_access");
    let sealed = Sealed::parse(packet.as_bytes()).unwrap();
    sealed.recipient(None).unwrap()
}

/// A gate, and how often its keyring is asked.
fn scene(
    access_conf: &str,
    signer: Option<Signer>,
    plaintext: Option<String>,
) -> (Scene, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let ring = Ring {
        asked: Arc::clone(&asked),
        signer,
        plaintext,
    };
    let now = at(NOW_SECS);
    let shared = SharedKeys::None;
    let compiled =
        CompiledPolicy::with_keyrings(&policy(access_conf), None, &ring, 7, shared, now).unwrap();
    let settings = Settings {
        duplicate_within: Duration::ZERO,
        ..Settings::default()
    };
    let scene = Scene {
        gate: Gate::new(settings, Arc::new(compiled)),
        replays: MemoryReplayLog::default(),
        now,
        source: ALICE.parse().unwrap(),
        destination: HOST.parse().unwrap(),
    };
    (scene, asked)
}

fn stanza(signer: &str, rest: &str) -> String {
    format!("SOURCE ANY\nGPG_ALLOW_NO_PW Y\nGPG_REMOTE_ID {signer}\n{rest}\n")
}

/// A packet of the right shape for a recipient, like no other: made of a real one.
fn junk(real: &str, number: u32) -> String {
    let mut text = real.to_owned().into_bytes();
    let digits = format!("{number:08}");
    let at = text.len() - 200;
    text[at..at + 8].copy_from_slice(digits.as_bytes());
    String::from_utf8(text).unwrap()
}

#[test]
fn what_strangers_can_have_decrypted_is_bounded_and_what_is_for_others_is_not_decrypted_at_all() {
    let (mut scene, asked) = scene(&stanza(SIGNER, ""), None, None);
    // For somebody else's key: a look at its beginning.
    let (real, for_another) = (packet("gpg_access"), packet("gpg_ecc"));
    for _ in 0..1_000 {
        let refused = scene.refused(&for_another);
        assert_eq!(refused.reason, Reason::NoCandidate);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);

    // For ours, without an HMAC key, from sources that are forged anew for each: 10,000 in a second.
    for number in 0..10_000_u32 {
        let [.., high, low] = number.to_be_bytes();
        let source = format!("10.9.{high}.{low}");
        scene.send_from(&source, junk(&real, number));
        scene.now.steady += Duration::from_micros(100);
    }
    let decrypted = asked.load(Ordering::Relaxed);
    assert!((50..=200).contains(&decrypted), "{decrypted}");
    // From one source less.
    asked.store(0, Ordering::Relaxed);
    scene.later(10);
    for number in 0..10_000 {
        scene.send(junk(&real, 20_000 + number));
        scene.now.steady += Duration::from_micros(100);
    }
    let decrypted = asked.load(Ordering::Relaxed);
    assert!((1..=30).contains(&decrypted), "{decrypted}");
}

#[test]
fn with_an_hmac_key_nobody_without_it_has_anything_decrypted() {
    let (mut scene, asked) = scene(&stanza(SIGNER, "HMAC_KEY other"), None, None);

    for name in ["gpg_access", "gpg_access_hmac_sha256"] {
        let refused = scene.refused(packet(name));
        assert!(refused.authentic.is_none());
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);

    let (mut scene, asked) = self::scene(&stanza(SIGNER, "HMAC_KEY gpghmac"), None, None);
    let refused = scene.refused(packet("gpg_access_hmac_sha256"));
    assert!(matches!(refused.reason, Reason::NotOpened(_)));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[test]
fn a_signature_opens_the_stanzas_that_name_its_key_and_is_what_the_record_calls_the_key() {
    let plaintext = message(1, NOW_SECS).encode().unwrap();
    let others = format!(
        "{}{}",
        stanza("DEADBEEF", "OPEN_PORTS tcp/22"),
        stanza("11121314", "OPEN_PORTS tcp/22\nFW_ACCESS_TIMEOUT 7")
    );
    let (mut scene, asked) = scene(&others, Some(signer()), Some(plaintext));

    let grant = scene.granted(packet("gpg_access"));

    assert_eq!(grant.permit().timeout_secs(), 7);
    assert_eq!(grant.identity().key_words(), SIGNER.to_lowercase());
    assert_eq!(grant.identity().key().to_string(), "0d0e0f1011121314");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert!(scene.gate.upholds(&grant, scene.now));
    // The same message again is a replay, in whatever ciphertext.
    let again = scene.refused(junk(&packet("gpg_access"), 7));
    assert_eq!(again.reason, Reason::Replayed);

    // Without its stanza the grant falls, though the keyring has the key.
    let (other, _) = self::scene(&stanza("DEADBEEF", "OPEN_PORTS tcp/22"), None, None);
    scene.gate.replace(Arc::clone(other.gate.compiled()));
    assert!(!scene.gate.upholds(&grant, scene.now));
}

#[test]
fn a_signer_whom_no_stanza_names_is_told_so_and_opens_nothing() {
    let plaintext = message(1, NOW_SECS).encode().unwrap();
    let access = format!(
        "{}{}",
        stanza("DEADBEEF", "OPEN_PORTS tcp/22"),
        "SOURCE 192.0.2.1\nGPG_ALLOW_NO_PW Y\nGPG_DISABLE_SIG Y\n"
    );
    let (mut scene, _) = scene(&access, Some(signer()), Some(plaintext));

    let refused = scene.refused(packet("gpg_access"));

    let expected = Reason::Denied(Denied::Signer(SIGNER.to_owned()));
    assert_eq!(refused.reason, expected);
}

#[test]
fn a_stanza_with_a_key_as_well_takes_both_kinds_of_packet() {
    let plaintext = message(1, NOW_SECS).encode().unwrap();
    let access = stanza(SIGNER, "KEY alice-key\nHMAC_KEY gpghmac");
    let (mut scene, _) = scene(&access, Some(signer()), Some(plaintext));

    let grant = scene.granted(packet("gpg_access_hmac_sha256"));
    assert!(grant.identity().signer().is_some());
    let hmac = spa::HmacKey::new(spa::Secret::from_passphrase("gpghmac")).unwrap();
    let keys = spa::Keys::new(
        spa::EncryptionKey::new(spa::Secret::from_passphrase("alice-key")).unwrap(),
        spa::EncryptionMode::Cbc,
        Some((hmac, spa::DigestType::Sha256)),
    )
    .unwrap();
    let sealed = spa::seal(&message(2, NOW_SECS), &keys, [7; 8]).unwrap();
    let grant = scene.granted(sealed);
    assert!(grant.identity().signer().is_none());
}

#[test]
fn without_a_keyring_a_stanza_with_gpg_cannot_be_enforced() {
    let refused = CompiledPolicy::new(
        &policy(&stanza(SIGNER, "")),
        None,
        7,
        SharedKeys::None,
        at(NOW_SECS),
    );
    assert!(matches!(refused, Err(CompileError::Keyring { .. })));
}
