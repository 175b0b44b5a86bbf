//! Our client, called as fwknop's own client was called when the golden vectors were made, asks for
//! the same.

use std::fs;
use std::path::Path;

use serde_json::Value;
use spa::{EncryptionMode, Secret};

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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors/valid.json");
    let text = fs::read_to_string(path).unwrap();
    let vectors: Value = serde_json::from_str(&text).unwrap();
    let vectors = vectors
        .as_array()
        .or_else(|| vectors["vectors"].as_array())
        .unwrap();
    let mut tried = 0;
    for vector in vectors {
        let name = vector["name"].as_str().unwrap();
        // GPG is not in this version; --fd neither; the page needs a server (see `knocks`).
        let skipped =
            vector["encryption_type"] == "gpg" || matches!(name, "key_fd0" | "src_resolve_http");
        if !skipped {
            try_vector(name, vector);
            tried += 1;
        }
    }
    assert!(tried > 100, "only {tried} vectors");
}

fn try_vector(name: &str, vector: &Value) {
    let sandbox = Sandbox::new();
    if let Some(rc) = vector["rc_file"].as_str() {
        let words = vector["args"].as_array().unwrap();
        let at = words.iter().position(|word| word == "--rc-file").unwrap();
        sandbox.write(words[at + 1].as_str().unwrap(), rc);
    }
    if let Some(files) = vector["files"].as_object() {
        for (file, text) in files {
            sandbox.write(file, text.as_str().unwrap());
        }
    }
    let mut command = sandbox.command();
    command.arg("knock").args(words(vector));
    if let Some(env) = vector["env"].as_object() {
        for (variable, value) in env {
            command.env(variable, value.as_str().unwrap());
        }
    }

    let ran = finish(command, vector["stdin"].as_str().unwrap_or_default());

    if REFUSED.contains(&name) {
        assert_eq!(ran.code, 2, "{name}: {}", ran.stderr);
        return;
    }
    assert_eq!(ran.code, 0, "{name}: {}", ran.stderr);
    let opened = open(ran.stdout.trim(), &keys_in(vector));
    let expected = &vector["expected"];
    let message = opened.message();
    assert_eq!(message.username, expected["username"], "{name}");
    assert_eq!(message.version, expected["version"], "{name}");
    assert_eq!(
        message.message_type.number(),
        expected["message_type"],
        "{name}"
    );
    assert_eq!(
        message.client_timeout_secs, expected["client_timeout"],
        "{name}"
    );
    assert_eq!(
        message.digest_type.to_string(),
        vector["digest_type"],
        "{name}"
    );
    assert_eq!(opened.nat_text(), expected["nat_access"].as_str(), "{name}");
    if name.ends_with("_rand_port") {
        assert!(opened.message_text().starts_with("10.1.2.3,tcp/"), "{name}");
    } else {
        assert_eq!(opened.message_text(), expected["message"], "{name}");
    }
    // Salt and randomness differ, lengths do not, except where a number has fewer digits.
    let packet_len = vector["packet"].as_str().unwrap().len();
    assert!(ran.stdout.trim().len().abs_diff(packet_len) <= 22, "{name}");
}

/// The words after `fwknop`, without the file that the packet went to.
fn words(vector: &Value) -> Vec<String> {
    let mut words: Vec<String> = vector["args"]
        .as_array()
        .unwrap()
        .iter()
        .skip(1)
        .map(|word| word.as_str().unwrap().to_owned())
        .collect();
    let at = words.iter().position(|word| word == "-B").unwrap();
    words.drain(at..at + 2);
    words
}

fn keys_in(vector: &Value) -> spa::Keys {
    let secret = |plain: &str, base64: &str| match vector[base64].as_str() {
        Some(text) => Some(Secret::from_base64(text).unwrap()),
        None => vector[plain].as_str().map(Secret::from_passphrase),
    };
    let mode: EncryptionMode = vector["encryption_mode"].as_str().unwrap().parse().unwrap();
    let hmac = vector["hmac_type"].as_str().map(|digest| {
        let secret = secret("hmac_key", "hmac_key_base64").unwrap();
        (secret, digest.parse().unwrap())
    });
    keys_of(secret("key", "key_base64").unwrap(), mode, hmac)
}
