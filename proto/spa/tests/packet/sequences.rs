//! Knock sequences: what a host reads of the ports that a client knocks at, and what it does not.
#![expect(clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use std::net::IpAddr;

use spa::{
    DigestType, EncryptionKey, EncryptionMode, HmacKey, Keys, SEQUENCE_PARTS, SEQUENCE_PORT_MIN,
    Secret, SequenceKey, SequenceMessage, bucket, sequence_part,
};

const NOW_SECS: u64 = 1_795_423_534;

fn keys(encryption: &str, hmac: &str) -> Keys {
    let encryption = EncryptionKey::new(Secret::from_passphrase(encryption)).unwrap();
    let hmac = HmacKey::new(Secret::from_passphrase(hmac)).unwrap();
    Keys::new(
        encryption,
        EncryptionMode::Cbc,
        Some((hmac, DigestType::Sha256)),
    )
    .unwrap()
}

fn key() -> SequenceKey {
    SequenceKey::derive(&keys("key", "hmac-key")).unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn message(port: Option<&str>, from: Option<&str>) -> SequenceMessage {
    SequenceMessage {
        timestamp_secs: NOW_SECS,
        port: port.map(|port| port.parse().unwrap()),
        address: from.map(address),
    }
}

/// The parts in their places, and where they began.
fn received(ports: &[u16]) -> ([u16; SEQUENCE_PARTS], u16) {
    let mut parts = [0; SEQUENCE_PARTS];
    for port in &ports[1..] {
        let (number, value) = sequence_part(*port).unwrap();
        parts[number] = value;
    }
    (parts, ports[0])
}

#[test]
fn every_message_comes_out_as_it_went_in() {
    for port in [None, Some("tcp/22"), Some("udp/53"), Some("tcp/65535")] {
        for from in [None, Some("192.0.2.7"), Some("2001:db8::7")] {
            for nonce in [0, 1, u32::MAX] {
                let sent = message(port, from);
                let (parts, begin) = received(&key().ports(&sent, nonce));
                let source = address(from.unwrap_or("198.51.100.1"));

                let opened = key().open(&parts, source, begin).unwrap();

                assert_eq!(*opened.message(), sent);
            }
        }
    }
}

#[test]
fn the_form_is_the_one_that_is_documented() {
    // Made with hmac and hashlib of Python, by the page alone.
    let expected = [
        52811, 34512, 36520, 37463, 39128, 42275, 44010, 45402, 48417, 50780, 52326, 55204, 56295,
        58872, 60997, 62434, 64791,
    ];
    let ports = key().ports(&message(Some("tcp/22"), Some("192.0.2.7")), 7);
    assert_eq!(ports, expected);
}

#[test]
fn a_sequence_bound_to_an_address_is_nothing_from_another_one() {
    let (parts, begin) = received(&key().ports(&message(None, Some("192.0.2.7")), 1));

    assert!(key().open(&parts, address("192.0.2.7"), begin).is_some());
    assert!(
        key()
            .open(&parts, address("::ffff:192.0.2.7"), begin)
            .is_some()
    );
    assert!(key().open(&parts, address("192.0.2.8"), begin).is_none());
    assert!(key().open(&parts, address("2001:db8::7"), begin).is_none());
}

#[test]
fn no_bit_of_a_sequence_may_be_another_one() {
    let from = address("192.0.2.7");
    let (parts, begin) = received(&key().ports(&message(Some("tcp/22"), Some("192.0.2.7")), 1));
    for number in 0..SEQUENCE_PARTS {
        for bit in 0..11 {
            let mut parts = parts;
            parts[number] ^= 1 << bit;
            assert!(key().open(&parts, from, begin).is_none(), "{number}, {bit}");
        }
    }
    // Nor may two be in each other's place, or the beginning that of another minute.
    let mut swapped = parts;
    swapped.swap(2, 3);
    assert!(key().open(&swapped, from, begin).is_none());
    let other = key().begin(bucket(NOW_SECS) + 1);
    assert!(key().open(&parts, from, other).is_none());
}

#[test]
fn keys_that_differ_in_anything_open_nothing_of_each_other() {
    let (parts, begin) = received(&key().ports(&message(None, None), 1));
    for (encryption, hmac) in [
        ("kez", "hmac-key"),
        ("key", "hmac-kez"),
        ("hmac-key", "key"),
    ] {
        let other = SequenceKey::derive(&keys(encryption, hmac)).unwrap();
        assert!(other.open(&parts, address("192.0.2.7"), begin).is_none());
        assert_ne!(other.begin(5), key().begin(5));
    }
    // Without an HMAC key there are none.
    let encryption = EncryptionKey::new(Secret::from_passphrase("key")).unwrap();
    let keys = Keys::new(encryption, EncryptionMode::Cbc, None).unwrap();
    assert!(SequenceKey::derive(&keys).is_none());
}

#[test]
fn two_sequences_for_the_same_have_nothing_in_common_but_their_beginning() {
    let sent = message(Some("tcp/22"), Some("192.0.2.7"));
    let (one, other) = (key().ports(&sent, 1), key().ports(&sent, 2));

    assert_eq!(one[0], other[0]);
    let same = one.iter().zip(&other).skip(1).filter(|(a, b)| a == b);
    assert!(same.count() <= 2);
}

#[test]
fn the_port_of_the_beginning_is_none_of_the_others() {
    // One in two thousand would have it; the nonce is changed then.
    let mut beginnings = 0;
    for nonce in 0..20_000 {
        let ports = key().ports(&message(None, None), nonce);
        assert!(ports.iter().all(|port| *port >= SEQUENCE_PORT_MIN));
        beginnings += ports.iter().filter(|port| **port == ports[0]).count();
    }
    assert_eq!(beginnings, 20_000);
}

#[test]
fn a_message_of_a_sequence_names_itself_and_its_digest_is_its_own() {
    let from = address("192.0.2.7");
    let open = |nonce| {
        let (parts, begin) = received(&key().ports(&message(None, Some("192.0.2.7")), nonce));
        let opened = key().open(&parts, from, begin).unwrap();
        opened.into_opened("alice", vec!["tcp/22".parse().unwrap()])
    };
    let (one, other) = (open(1), open(2));

    assert_eq!(one.message_text(), "192.0.2.7,tcp/22");
    assert_eq!(one.message().username, "alice");
    assert_eq!(one.message().timestamp_secs, NOW_SECS);
    assert_ne!(one.replay_digest(), other.replay_digest());
    assert_eq!(one.replay_digest(), open(1).replay_digest());
}
