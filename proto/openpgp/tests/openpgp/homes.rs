//! GnuPG homes of every kind, read without gpg.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use openpgp::{Home, KeyFault, KeyringError, Opener};
use spa::Decrypt as _;

use crate::gnupg::{GnuPg, now_secs, read};

fn opened(gnupg: &GnuPg, passphrase: Option<&str>, message: &[u8]) -> Option<Vec<u8>> {
    let home = read(gnupg);
    let signers = vec![home.certificate("alice").unwrap().clone()];
    let passphrase = passphrase.map(str::as_bytes);
    let opener = Opener::new(&home, Some("server"), passphrase, signers, false).unwrap();
    let decrypted = opener.decrypt(message, now_secs()).ok()?;
    let signer = decrypted.signer.map(|signer| signer.to_string());
    assert_eq!(signer, Some(gnupg.fingerprint("alice")));
    Some(decrypted.plaintext.to_vec())
}

#[test]
fn keys_of_every_supported_kind_are_read_from_a_home_and_open_what_gnupg_seals() {
    for (signing, encrypting) in [
        ("rsa2048", "rsa2048"),
        ("rsa3072", "rsa4096"),
        ("ed25519", "cv25519"),
        ("nistp256", "nistp256"),
        ("nistp384", "nistp384"),
        ("nistp521", "nistp521"),
    ] {
        let gnupg = GnuPg::new();
        gnupg.key("alice", (signing, encrypting), "");
        gnupg.key("server", (signing, encrypting), "");

        for options in [&[][..], &["--compress-algo", "none"], &["-z", "9"]] {
            let message = gnupg.sealed("alice", "server", options);
            let plain = opened(&gnupg, None, &message);
            assert_eq!(plain.as_deref(), Some(&b"the message"[..]), "{encrypting}");
            // The two characters that fwknop cuts off are found again for every kind and size.
            if let Ok(text) = spa::seal_open_pgp(&message, None) {
                let sealed = spa::Sealed::parse(text.as_bytes()).unwrap();
                let key = spa::OpeningKey::open_pgp(None);
                assert!(sealed.authenticate(&key).is_ok(), "{encrypting}");
            } else {
                assert!(message.len() > 1_120, "{encrypting}: {}", message.len());
            }
        }
    }
}

#[test]
fn keys_under_a_passphrase_are_unlocked_with_it_and_with_no_other() {
    for (signing, encrypting) in [("rsa2048", "rsa2048"), ("ed25519", "cv25519")] {
        let gnupg = GnuPg::new();
        gnupg.key("alice", (signing, encrypting), "");
        gnupg.key("server", (signing, encrypting), "correct horse");
        let message = gnupg.sealed("alice", "server", &[]);

        assert!(opened(&gnupg, Some("correct horse"), &message).is_some());
        let home = read(&gnupg);
        let fault = |passphrase: Option<&[u8]>| {
            let refused = Opener::new(&home, Some("server"), passphrase, Vec::new(), true);
            let KeyringError::SecretKey { cause, .. } = refused.unwrap_err() else {
                panic!("another fault");
            };
            cause
        };
        assert_eq!(fault(None), KeyFault::PassphraseNeeded);
        assert_eq!(fault(Some(b"battery staple")), KeyFault::WrongPassphrase);
    }
}

#[test]
fn a_key_protected_as_gnupg_2_1_did_it_is_unlocked() {
    let gnupg = GnuPg::new();
    gnupg.key("alice", ("rsa2048", "rsa2048"), "");
    gnupg.key("server", ("rsa2048", "rsa2048"), "");
    let message = gnupg.sealed("alice", "server", &[]);
    let folder = gnupg.path().join("private-keys-v1.d");
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read(&path).unwrap();
        // The tool reads the older form of the file: the expression alone.
        let start = text.windows(5).position(|four| four == b"Key: ").unwrap();
        let plain = path.with_extension("plain");
        fs::write(&plain, &text[start + 5..]).unwrap();
        let output = Command::new("/usr/lib/gnupg/gpg-protect-tool")
            .args(["--protect", "--passphrase", "old"])
            .arg(&plain)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        fs::remove_file(plain).unwrap();
        fs::write(&path, &output.stdout).unwrap();
    }
    let kinds: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| {
            String::from_utf8_lossy(&fs::read(entry.unwrap().path()).unwrap()).into_owned()
        })
        .collect();
    assert!(
        kinds.iter().all(|text| text.contains("openpgp-s2k3-")),
        "{kinds:?}"
    );

    assert!(opened(&gnupg, Some("old"), &message).is_some());
}

#[test]
fn the_rings_of_gnupg_1_are_read_as_well() {
    let gnupg = GnuPg::new();
    gnupg.key("alice", ("rsa2048", "rsa2048"), "");
    gnupg.key("server", ("rsa2048", "rsa2048"), "pw");
    let message = gnupg.sealed("alice", "server", &[]);
    let secret = gnupg.output(
        &["--passphrase", "pw", "--export-secret-keys", "server"],
        b"",
    );
    let old = GnuPg::new();
    fs::write(old.path().join("secring.gpg"), &secret.stdout).unwrap();
    let public = gnupg.run(&["--export"], b"");
    fs::write(old.path().join("pubring.gpg"), public).unwrap();

    let home = Home::read(old.path()).unwrap();
    let signers = vec![home.certificate("alice@example").unwrap().clone()];
    let opener = Opener::new(&home, None, Some(b"pw"), signers, false).unwrap();
    assert!(opener.decrypt(&message, now_secs()).is_ok());
    let refused = Opener::new(&home, None, Some(b"no"), Vec::new(), true).unwrap_err();
    assert!(matches!(
        refused,
        KeyringError::SecretKey {
            cause: KeyFault::WrongPassphrase,
            ..
        }
    ));
}

#[test]
fn a_home_that_is_not_there_damaged_or_writable_by_everybody_is_refused_in_plain_words() {
    let gnupg = GnuPg::new();
    let fingerprint = gnupg.key("alice", ("ed25519", "cv25519"), "");
    let missing = Home::read(&gnupg.path().join("no")).unwrap_err();
    assert!(matches!(missing, KeyringError::Unreadable { .. }));

    let home = read(&gnupg);
    assert!(home.certificate(&fingerprint).is_ok());
    assert!(home.certificate(&fingerprint[32..]).is_ok());
    assert!(matches!(
        home.certificate("bob").unwrap_err(),
        KeyringError::NoKey { .. }
    ));
    gnupg.key("alice2", ("ed25519", "cv25519"), "");
    assert!(matches!(
        read(&gnupg).certificate("alice").unwrap_err(),
        KeyringError::Ambiguous { count: 2, .. }
    ));

    let ring = gnupg.path().join("pubring.kbx");
    fs::set_permissions(&ring, fs::Permissions::from_mode(0o646)).unwrap();
    let exposed = Home::read(gnupg.path()).unwrap_err();
    assert!(matches!(exposed, KeyringError::Exposed { .. }));
    fs::set_permissions(&ring, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&ring, b"no keybox").unwrap();
    let damaged = Home::read(gnupg.path()).unwrap_err();
    assert!(matches!(damaged, KeyringError::Damaged { .. }));
}
