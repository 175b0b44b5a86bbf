//! Our client, called as fwknop's own client was called when the golden vectors were made, asks for
//! the same.

use spa::{EncryptionMode, Secret};
use vectors::{Valid, valid};

use crate::sandbox::{Sandbox, finish, keys_of, open};

/// What the reference client sends and its own server refuses, or reads as something else: we do not
/// send it.
const REFUSED: [&str; 6] = [
    "edge_user_env_49",
    "edge_user_env_63",
    "edge_user_env_70",
    "edge_timeout_65537",
    "edge_timeout_131072",
    "edge_ip_leading_zero",
];

#[test]
fn every_call_of_the_golden_vectors_makes_the_same_message() {
    let mut tried = 0;
    for vector in valid() {
        let name = vector.name.as_str();
        // GPG is not in this version; the page needs a server (see `knocks`).
        let skipped = vector.encryption_type == "gpg" || name == "src_resolve_http";
        if !skipped {
            try_vector(name, &vector);
            tried += 1;
        }
    }
    assert!(tried > 100, "only {tried} vectors");
}

fn try_vector(name: &str, vector: &Valid) {
    let sandbox = Sandbox::new();
    if let Some(rc) = &vector.rc_file {
        let words = &vector.args;
        let at = words.iter().position(|word| word == "--rc-file").unwrap();
        sandbox.write(&words[at + 1], rc);
    }
    for (file, text) in &vector.files {
        sandbox.write(file, text);
    }
    let mut command = sandbox.command();
    command.arg("knock").args(words(vector));
    command.envs(&vector.env);

    let ran = finish(command, vector.stdin.as_deref().unwrap_or_default());

    if REFUSED.contains(&name) {
        assert_eq!(ran.code, 2, "{name}: {}", ran.stderr);
        return;
    }
    assert_eq!(ran.code, 0, "{name}: {}", ran.stderr);
    let opened = open(ran.stdout.trim(), &keys_in(vector));
    let expected = &vector.expected;
    let message = opened.message();
    assert_eq!(message.username, expected.username, "{name}");
    assert_eq!(message.version, expected.version, "{name}");
    assert_eq!(
        message.message_type.number(),
        expected.message_type,
        "{name}"
    );
    assert_eq!(
        message.client_timeout_secs, expected.client_timeout,
        "{name}"
    );
    assert_eq!(
        message.digest_type.to_string(),
        vector.digest_type,
        "{name}"
    );
    assert_eq!(opened.nat_text(), expected.nat_access.as_deref(), "{name}");
    if name.ends_with("_rand_port") {
        assert!(opened.message_text().starts_with("10.1.2.3,tcp/"), "{name}");
    } else {
        assert_eq!(opened.message_text(), expected.message, "{name}");
    }
    // Salt and randomness differ, lengths do not, except where a number has fewer digits.
    let packet_len = vector.packet.len();
    assert!(ran.stdout.trim().len().abs_diff(packet_len) <= 22, "{name}");
}

/// The words after `fwknop`, without the file that the packet went to.
fn words(vector: &Valid) -> Vec<String> {
    let mut words: Vec<String> = vector.args.iter().skip(1).cloned().collect();
    let at = words.iter().position(|word| word == "-B").unwrap();
    words.drain(at..at + 2);
    words
}

fn keys_in(vector: &Valid) -> spa::Keys {
    let secret = |plain: &Option<String>, base64: &Option<String>| match base64 {
        Some(text) => Some(Secret::from_base64(text).unwrap()),
        None => plain.as_deref().map(Secret::from_passphrase),
    };
    let mode: EncryptionMode = vector.encryption_mode.parse().unwrap();
    let hmac = vector.hmac_type.as_ref().map(|digest| {
        let secret = secret(&vector.hmac_key, &vector.hmac_key_base64).unwrap();
        (secret, digest.parse().unwrap())
    });
    keys_of(secret(&vector.key, &vector.key_base64).unwrap(), mode, hmac)
}
