//! Our packets, read by OpenSSL: ciphers, key derivation and HMACs are those of the world.

use std::io::Write as _;
use std::process::{Command, Stdio};

use spa::{DigestType, EncryptionMode, Secret, seal};

use crate::opening::keys;
use crate::properties::message;

const PREFIX: &str = "U2FsdGVkX1";
const PASSPHRASE: &str = "vectorpass1";
const HMAC_KEY: &str = "vector-hmac-key";

#[test]
fn openssl_decrypts_our_packets_in_every_mode() {
    let message = message();
    let plain = message.encode().unwrap().into_bytes();
    // OpenSSL takes the padding off in the block modes only.
    let padding = 16 - plain.len() % 16;
    let padded = [&plain[..], &vec![u8::try_from(padding).unwrap(); padding]].concat();

    for (mode, cipher, expected) in [
        (EncryptionMode::Cbc, "-aes-256-cbc", &plain),
        (EncryptionMode::Ecb, "-aes-256-ecb", &plain),
        (EncryptionMode::Ctr, "-aes-256-ctr", &padded),
        (EncryptionMode::Cfb, "-aes-256-cfb", &padded),
        (EncryptionMode::Ofb, "-aes-256-ofb", &padded),
    ] {
        let keys = keys(Secret::from_passphrase(PASSPHRASE), mode, None);
        let packet = seal(&message, &keys, *b"\x00salt\xff\x01\x02").unwrap();
        let mut text = format!("{PREFIX}{packet}");
        text.push_str(["", "", "==", "="][text.len() % 4]);

        let pass = format!("pass:{PASSPHRASE}");
        let args = [
            "enc", "-d", cipher, "-md", "md5", "-base64", "-A", "-pass", &pass,
        ];
        let decrypted = openssl(&args, text.as_bytes());

        assert_eq!(&decrypted, expected, "{mode}");
    }
}

#[test]
fn openssl_computes_our_hmacs_of_every_type() {
    for digest in DigestType::ALL {
        let hmac = Some((Secret::from_passphrase(HMAC_KEY), digest));
        let keys = keys(
            Secret::from_passphrase(PASSPHRASE),
            EncryptionMode::Cbc,
            hmac,
        );
        let packet = seal(&message(), &keys, [5; 8]).unwrap();
        let (body, mac) = packet.split_at(packet.len() - digest.text_len());

        let name = format!("-{}", digest.name().replace('_', "-"));
        let key = format!("key:{HMAC_KEY}");
        let args = ["dgst", &name, "-mac", "HMAC", "-macopt", &key, "-binary"];
        let expected = openssl(&args, format!("{PREFIX}{body}").as_bytes());

        let mac = Secret::from_base64(mac).unwrap();
        assert_eq!(mac.as_bytes(), expected, "{digest}");
    }
}

fn openssl(args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("these tests need the openssl program");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "openssl {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}
