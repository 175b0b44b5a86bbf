//! The rows of an exported log and the notes beside them: whoever hands over an export may have
//! written it himself. Verifying ends with a verdict, and what no key has signed is never proven.

use fleet::audit::{AuditKey, AuditSigner, Checkpoint, KeyChain, LogRow, Succession, Verifier};
use prost::Message as _;

/// A key whose notes the corpus holds.
fn signer() -> AuditSigner {
    AuditSigner::new("acme", &[7; 32])
}

pub(crate) fn check(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        note_or_key(text);
    }
    let mut verifier = Verifier::new(Some(signer().public()));
    let mut rest = bytes;
    let mut rows = 0;
    while let Ok(row) = LogRow::decode_length_delimited(&mut rest) {
        verifier.row(&row);
        rows += 1;
    }
    verifier.checkpoint("somebody keeps", &String::from_utf8_lossy(rest));
    let verdict = verifier.finish();
    assert!(verdict.records <= rows, "more records than rows");
}

fn note_or_key(text: &str) {
    let signer = signer();
    if let Ok(checkpoint) = Checkpoint::open(text, &signer.public()) {
        let again = Checkpoint::open(&checkpoint.sign(&signer), &signer.public());
        assert_eq!(
            again.as_ref(),
            Ok(&checkpoint),
            "what was signed is what was read"
        );
    }
    if let Ok(succession) = Succession::open(text) {
        let (from, to) = (succession.from, succession.to);
        let chain = KeyChain::of(to.clone(), [text]);
        if from != to {
            assert!(chain.expect("one link is a chain").has(&from));
        }
    }
    if let Ok(key) = text.parse::<AuditKey>() {
        let again = key
            .to_string()
            .parse::<AuditKey>()
            .expect("what we wrote can be read");
        assert_eq!(again.public_bytes(), key.public_bytes());
    }
}
