//! GnuPG's files and messages: a home whose rings somebody else has written, and what stands behind the
//! HMAC of a packet.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openpgp::{Home, Opener};
use spa::Decrypt as _;
use tempfile::TempDir;

use crate::scene::{NOW_SECS, memory};

/// Files of a home that bytes can be.
const FILES: [&str; 4] = [
    "pubring.kbx",
    "pubring.gpg",
    "secring.gpg",
    "private-keys-v1.d/0123456789ABCDEF0123456789ABCDEF01234567.key",
];

/// Keys of a host, and of somebody who signs.
static OPENER: LazyLock<Opener> = LazyLock::new(|| {
    let dir = folder();
    let secret = include_str!("../../vectors/gpg/secc.secret.asc");
    let public = include_str!("../../vectors/gpg/cecc.public.asc");
    fs::write(dir.path().join("secring.gpg"), dearmored(secret)).expect("our folder");
    fs::write(dir.path().join("pubring.gpg"), dearmored(public)).expect("our folder");
    let home = Home::read(dir.path()).expect("a home");
    let signer = home
        .certificate("client")
        .or_else(|_| home.certificate("c"));
    let signers = signer.into_iter().cloned().collect();
    Opener::new(&home, None, None, signers, true).expect("keys without a passphrase")
});

thread_local! {
    static HOME: RefCell<TempDir> = RefCell::new(folder());
}

fn folder() -> TempDir {
    let dir = TempDir::new_in(memory()).expect("a folder");
    let mode = fs::Permissions::from_mode(0o700);
    fs::set_permissions(dir.path(), mode).expect("our folder");
    fs::create_dir(dir.path().join("private-keys-v1.d")).expect("our folder");
    dir
}

/// The bytes of an armoured file, of which only the form is checked.
fn dearmored(text: &str) -> Vec<u8> {
    let (_, body) = text.split_once("\n\n").expect("headers end");
    let lines = body
        .lines()
        .take_while(|line| !line.starts_with(['=', '-']));
    STANDARD.decode(lines.collect::<String>()).expect("base64")
}

pub(crate) fn check(bytes: &[u8]) {
    let Some((&which, bytes)) = bytes.split_first() else {
        return;
    };
    match FILES.get(usize::from(which)) {
        None => message(bytes),
        Some(name) => HOME.with_borrow(|dir| home(dir.path(), name, bytes)),
    }
}

fn message(bytes: &[u8]) {
    if let Ok(opened) = OPENER.decrypt(bytes, NOW_SECS) {
        assert!(opened.plaintext.len() <= spa::SEALED_LEN_MAX, "too long");
    }
    let _ = openpgp::with_two_length_octets(bytes);
}

fn home(dir: &Path, name: &str, bytes: &[u8]) {
    let file = dir.join(name);
    fs::write(&file, bytes).expect("our folder");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("our file");
    if let Ok(home) = Home::read(dir) {
        for name in ["somebody", "0123456789ABCDEF", ""] {
            let _ = home.certificate(name);
        }
        let _ = Opener::new(&home, None, None, Vec::new(), true);
    }
    fs::remove_file(&file).expect("our file");
}
