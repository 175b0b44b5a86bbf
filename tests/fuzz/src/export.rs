//! A log in a file, as an outsider is given it: `postern audit verify FILE` ends with a verdict, and
//! what our key has not signed is never proven.

use std::cell::RefCell;
use std::fs;
use std::sync::LazyLock;

use fleet::audit::AuditSigner;
use postern::hostile::run;
use tempfile::TempDir;

use crate::scene::memory;

/// A key whose notes the corpus holds.
static KEY: LazyLock<String> =
    LazyLock::new(|| AuditSigner::new("acme", &[7; 32]).public().to_string());

thread_local! {
    static DIR: RefCell<TempDir> = RefCell::new(TempDir::new_in(memory()).expect("a folder"));
}

pub(crate) fn check(bytes: &[u8]) {
    DIR.with_borrow(|dir| {
        let file = dir.path().join("log.jsonl");
        fs::write(&file, bytes).expect("our folder");
        let file = file.display().to_string();
        let refused = run(&["audit", "verify", &file, "--key", &KEY], dir.path());
        let has_note = String::from_utf8_lossy(bytes).contains("{\"row\"");
        let names_key = String::from_utf8_lossy(bytes).contains("acme");
        // A record is proven by a note of a key only, and every note names its key.
        assert!(
            refused.is_some() || !has_note || names_key,
            "proven by nobody"
        );
    });
}
