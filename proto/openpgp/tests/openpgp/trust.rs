//! Who is believed: not everything that GnuPG makes, and nothing that has ended.

use openpgp::{Opener, Sealer};
use spa::{Decrypt as _, NotDecrypted};

use crate::gnupg::{GnuPg, now_secs, read};

const HOUR_SECS: u64 = 3600;

/// Alice, Bob and a server in one home.
fn everybody() -> GnuPg {
    let gnupg = GnuPg::new();
    for name in ["alice", "bob", "server"] {
        gnupg.key(name, ("ed25519", "cv25519"), "");
    }
    gnupg
}

fn opener(gnupg: &GnuPg, signers: &[&str], takes_unsigned: bool) -> Opener {
    let home = read(gnupg);
    let signers = signers
        .iter()
        .map(|name| home.certificate(name).unwrap().clone())
        .collect();
    Opener::new(&home, Some("server"), None, signers, takes_unsigned).unwrap()
}

fn refused(opener: &Opener, message: &[u8]) -> NotDecrypted {
    opener.decrypt(message, now_secs()).unwrap_err()
}

#[test]
fn only_those_who_are_named_are_believed_and_unsigned_messages_only_where_nobody_need_sign() {
    let gnupg = everybody();
    let of_bob = gnupg.sealed("bob", "server", &[]);
    let unsigned = gnupg.run(&["--recipient", "server", "--encrypt"], b"the message");

    assert_eq!(
        refused(&opener(&gnupg, &["alice"], false), &of_bob),
        NotDecrypted::Signer
    );
    assert_eq!(
        refused(&opener(&gnupg, &["alice"], false), &unsigned),
        NotDecrypted::Signer
    );
    let for_anybody = opener(&gnupg, &["alice"], true);
    for message in [&of_bob, &unsigned] {
        let decrypted = for_anybody.decrypt(message, now_secs()).unwrap();
        assert_eq!(decrypted.signer, None);
    }
    assert!(
        opener(&gnupg, &["alice", "bob"], false)
            .decrypt(&of_bob, now_secs())
            .is_ok()
    );
}

#[test]
fn signatures_over_sha1_weak_ciphers_and_hidden_recipients_are_refused() {
    let gnupg = everybody();
    let opener = opener(&gnupg, &["alice"], false);
    for (options, expected) in [
        (
            &["--digest-algo", "SHA1", "--allow-weak-digest-algos"][..],
            NotDecrypted::Signer,
        ),
        (
            &["--digest-algo", "RIPEMD160", "--allow-weak-digest-algos"],
            NotDecrypted::Signer,
        ),
        (&["--cipher-algo", "3DES"], NotDecrypted::NoKey),
        (&["--cipher-algo", "CAST5"], NotDecrypted::NoKey),
        (
            &["--rfc2440", "--cipher-algo", "AES256", "--disable-mdc"],
            NotDecrypted::NoKey,
        ),
        (&["--throw-keyids"], NotDecrypted::NoKey),
    ] {
        let message = gnupg.sealed("alice", "server", options);
        // GnuPG 2.2 protects messages whatever it is told; what it did not protect is refused.
        if options.contains(&"--disable-mdc") && opener.decrypt(&message, now_secs()).is_ok() {
            continue;
        }
        assert_eq!(refused(&opener, &message), expected, "{options:?}");
    }
    for cipher in ["AES", "AES192", "AES256", "TWOFISH", "CAMELLIA256"] {
        let message = gnupg.sealed("alice", "server", &["--cipher-algo", cipher]);
        assert!(opener.decrypt(&message, now_secs()).is_ok(), "{cipher}");
    }
}

#[test]
fn a_key_that_is_expired_not_yet_made_or_revoked_signs_nothing() {
    let gnupg = everybody();
    let alice = gnupg.fingerprint("alice");
    let message = gnupg.sealed("alice", "server", &[]);
    assert!(
        opener(&gnupg, &["alice"], false)
            .decrypt(&message, now_secs())
            .is_ok()
    );

    // An agent that runs for long: the key ends under it.
    gnupg.run(&["--quick-set-expire", &alice, "1d"], b"");
    let aging = opener(&gnupg, &["alice"], false);
    assert!(aging.decrypt(&message, now_secs()).is_ok());
    let later = now_secs() + 25 * HOUR_SECS;
    assert_eq!(
        aging.decrypt(&message, later).unwrap_err(),
        NotDecrypted::Signer
    );
    let before = now_secs() - HOUR_SECS;
    assert_eq!(
        aging.decrypt(&message, before).unwrap_err(),
        NotDecrypted::Signer
    );

    let file = gnupg.path().join(format!("openpgp-revocs.d/{alice}.rev"));
    let certificate = std::fs::read_to_string(file)
        .unwrap()
        .replace(":-----", "-----");
    gnupg.run(&["--import"], certificate.as_bytes());
    let revoked = opener(&gnupg, &["alice"], false);
    assert_eq!(refused(&revoked, &message), NotDecrypted::Signer);
    let sealer = Sealer::new(
        &read(&gnupg),
        "server",
        Some((Some("alice"), None)),
        now_secs(),
    );
    let said = sealer.unwrap_err().to_string();
    assert!(said.contains("revoked"), "{said}");
}

#[test]
fn a_message_that_unpacks_to_more_than_a_packet_can_ask_for_is_refused() {
    let gnupg = everybody();
    let opener = opener(&gnupg, &["alice"], true);
    let args = [
        "-z",
        "9",
        "--local-user",
        "alice",
        "--recipient",
        "server",
        "--sign",
        "--encrypt",
    ];
    for (len, is_taken) in [(1_400, true), (1_501, false), (8 << 20, false)] {
        let message = gnupg.run(&args, &vec![b'0'; len]);
        assert_eq!(
            opener.decrypt(&message, now_secs()).is_ok(),
            is_taken,
            "{len}"
        );
    }
}

#[test]
fn a_message_that_was_tampered_with_or_cut_off_is_refused_and_nothing_panics() {
    let gnupg = everybody();
    let opener = opener(&gnupg, &["alice"], true);
    let message = gnupg.sealed("alice", "server", &[]);
    for at in 0..message.len() {
        let mut changed = message.clone();
        changed[at] ^= 0x10;
        // The sign in front of a point means nothing, and so changes nothing.
        if let Ok(decrypted) = opener.decrypt(&changed, now_secs()) {
            assert_eq!(at, 14);
            assert_eq!(&**decrypted.plaintext, b"the message");
        }
        assert!(opener.decrypt(&message[..at], now_secs()).is_err(), "{at}");
    }
}
