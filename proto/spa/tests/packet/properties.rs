//! What must hold for every message, every key and every sequence of bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use aes::Aes256;
use aes::cipher::{BlockModeEncrypt as _, KeyIvInit as _, block_padding::Pkcs7};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::{Digest as _, Md5};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use sha2::Sha256;
use spa::{
    Allow, DigestType, EncryptionMode, Keys, Malformed, Message, MessageType, NatAccess, OpenError,
    PortRange, ProtoPort, Protocol, Request, SealError, Sealed, Secret, Service, seal, seal_tagged,
};

use crate::opening::{Refused, keys, open};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

proptest! {
    #[test]
    fn what_was_sealed_is_opened(message in messages(), keys in any_keys(), salt: [u8; 8]) {
        let packet = seal(&message, &keys, salt).unwrap();

        prop_assert_eq!(open_fields(&packet, &keys), Some(message));
    }

    #[test]
    fn what_was_sealed_could_be_a_packet_by_its_shape(
        message in messages(),
        keys in any_keys(),
        salt: [u8; 8],
    ) {
        let packet = seal(&message, &keys, salt).unwrap();
        let tagged = seal_tagged(&message, &keys, salt);

        for packet in [Some(packet), tagged.ok()].into_iter().flatten() {
            prop_assert!(Sealed::parse(packet.as_bytes()).unwrap().could_be_any());
        }
    }

    #[test]
    fn a_changed_character_is_refused(
        message in messages(),
        keys in any_keys(),
        salt: [u8; 8],
        at: prop::sample::Index,
        other in select(&ALPHABET[..]),
    ) {
        let mut packet = seal(&message, &keys, salt).unwrap().into_bytes();
        let at = at.index(packet.len());
        prop_assume!(packet[at] != other);

        packet[at] = other;

        prop_assert!(open(&packet, &keys).is_err());
    }

    #[test]
    fn a_shortened_or_lengthened_packet_is_refused(
        message in messages(),
        keys in any_keys(),
        cut in 1..200_usize,
        more in "[A-Za-z0-9+/]{1,99}",
    ) {
        let packet = seal(&message, &keys, [0; 8]).unwrap();
        let shorter = &packet[..packet.len().saturating_sub(cut)];

        let longer = packet.clone() + &more;

        prop_assert!(open(shorter.as_bytes(), &keys).is_err());
        prop_assert!(open(longer.as_bytes(), &keys).is_err());
    }

    #[test]
    fn another_key_opens_nothing(message in messages(), keys in any_keys(), other in any_keys()) {
        // Legacy and CBC are the same for some keys; the domain says so.
        prop_assume!(keys.domain() != other.domain());

        let packet = seal(&message, &keys, [0; 8]).unwrap();

        prop_assert_eq!(open_fields(&packet, &other), None);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..1600), keys in any_keys()) {
        prop_assert!(open(&bytes, &keys).is_err());
        let _ = Message::decode(&bytes);
    }

    #[test]
    fn arbitrary_characters_do_no_harm(text in "[8-9+/][A-Za-z0-9+/]{139,1500}", keys in any_keys()) {
        prop_assert!(open(text.as_bytes(), &keys).is_err());
        if let Some((_, rest)) = Sealed::parse(text.as_bytes()).ok().and_then(|all| all.tag()) {
            prop_assert!(open(rest.text(), &keys).is_err());
        }
    }

    #[test]
    fn an_arbitrary_plaintext_under_the_right_key_does_no_harm(plain in vec(any::<u8>(), 0..1010)) {
        prop_assert!(open_forged(&plain).is_err());
    }

    /// Who has the keys can still write nonsense. What is taken has one meaning: written again and
    /// read again it is the same.
    #[test]
    fn what_is_taken_from_a_client_of_unknown_hand_means_one_thing(
        message in messages(),
        at: prop::sample::Index,
        odd in odd_fields(),
        more in prop::option::weighted(0.1, odd_fields()),
    ) {
        let plain = message.encode().unwrap();
        let (covered, _) = plain.rsplit_once(':').unwrap();
        let mut fields: Vec<_> = covered.split(':').map(str::to_owned).collect();
        let at = at.index(fields.len());
        fields[at] = odd;
        fields.extend(more);
        let covered = fields.join(":");
        let digest = STANDARD_NO_PAD.encode(Sha256::digest(&covered));

        let opened = open_forged(format!("{covered}:{digest}").as_bytes());

        match opened {
            Ok(message) if message.client_timeout_secs == 0
                && message.message_type.has_timeout() => {}
            Ok(message) => {
                let again = message.encode().unwrap();
                let (read, _) = Message::decode(again.as_bytes()).unwrap();
                prop_assert_eq!(read, message);
            }
            Err(refused) => prop_assert!(refused != Refused::NotAuthentic),
        }
    }
}

#[test]
fn few_random_texts_of_a_packets_length_could_be_one() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut character = || {
        // Xorshift (Marsaglia, 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ALPHABET[usize::try_from(state >> 58).unwrap()]
    };
    let could_be = (0..5_000).filter(|_| {
        let text: Vec<u8> = (0..204).map(|_| character()).collect();
        Sealed::parse(&text).unwrap().could_be_any()
    });

    let count = could_be.count();

    assert!((1..500).contains(&count), "{count}");
}

#[test]
fn a_packet_that_no_server_would_look_at_is_not_sealed() {
    let short = Message {
        username: "a".to_owned(),
        message_type: MessageType::Command,
        request: Request::Command {
            allow: Allow::Source,
            command: "w".to_owned(),
        },
        digest_type: DigestType::Md5,
        ..message()
    };
    let keys = keys(Secret::from_passphrase("one"), EncryptionMode::Cbc, None);

    let sealed = seal(&short, &keys, [0; 8]);

    assert_eq!(sealed, Err(SealError::Length(118)));
}

#[test]
fn the_forger_of_these_tests_makes_packets_that_are_opened() {
    let message = message();

    let opened = open_forged(message.encode().unwrap().as_bytes());

    assert_eq!(opened, Ok(message));
}

#[test]
fn a_plaintext_that_is_not_printable_is_refused() {
    let opened = open_forged(&[b'1' | 0x80; 80]);

    assert_eq!(
        opened,
        Err(Refused::Open(OpenError::Message(Malformed::NotPrintable)))
    );
}

#[test]
fn every_port_of_the_text_form_is_read_strictly() {
    for right in ["tcp/1", "udp/65535", "tcp/22"] {
        assert_eq!(right.parse::<ProtoPort>().unwrap().to_string(), right);
    }
    for wrong in [
        "tcp/0",
        "tcp/022",
        "tcp/65536",
        "tcp/+1",
        "tcp/",
        "tcp",
        "TCP/22",
        "icmp/8",
        "tcp/22 ",
        " tcp/22",
        "tcp/22-23",
        "/22",
        "",
    ] {
        assert!(wrong.parse::<ProtoPort>().is_err(), "{wrong}");
    }
}

/// A message as every test can use it.
pub(crate) fn message() -> Message {
    Message {
        random: *b"1234567890123456",
        username: "root".to_owned(),
        timestamp_secs: 1_795_422_834,
        version: Message::VERSION.to_owned(),
        message_type: MessageType::Access,
        request: Request::Access {
            allow: Allow::Source,
            ports: vec!["tcp/22".parse().unwrap()],
        },
        nat_access: None,
        client_timeout_secs: 0,
        digest_type: DigestType::Sha256,
    }
}

pub(crate) fn open_fields(packet: &str, keys: &Keys) -> Option<Message> {
    open(packet.as_bytes(), keys)
        .ok()
        .map(spa::Opened::into_message)
}

/// Seals any plaintext with our own two hands and opens it.
fn open_forged(plain: &[u8]) -> Result<Message, Refused> {
    let (encryption, hmac, salt) = (b"encryption key", b"hmac key", b"saltsalt");
    let first: [u8; 16] = Md5::digest([&encryption[..], salt].concat()).into();
    let second: [u8; 16] = Md5::digest([&first[..], encryption, salt].concat()).into();
    let third: [u8; 16] = Md5::digest([&second[..], encryption, salt].concat()).into();
    let key: [u8; 32] = [first, second].concat().try_into().unwrap();
    let cipher = cbc::Encryptor::<Aes256>::new(&key.into(), &third.into());
    let mut ciphertext = vec![0; plain.len() + 16];
    let ciphertext = cipher
        .encrypt_padded_b2b::<Pkcs7>(plain, &mut ciphertext)
        .unwrap();
    let text = STANDARD_NO_PAD.encode([b"Salted__", &salt[..], ciphertext].concat());
    let mac = Hmac::<Sha256>::new_from_slice(hmac)
        .unwrap()
        .chain_update(&text);
    let mac = STANDARD_NO_PAD.encode(mac.finalize().into_bytes());

    let keys = keys(
        Secret::from_passphrase(encryption),
        EncryptionMode::Cbc,
        Some((Secret::from_passphrase(hmac), DigestType::Sha256)),
    );
    open(format!("{}{mac}", &text[10..]).as_bytes(), &keys).map(spa::Opened::into_message)
}

/// Texts that are right for one field or another, and some that are nearly so.
fn odd_fields() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{16}",
        "[0-9]{1,3}",
        "0?[0-6]",
        "[0-9 +]{0,11}",
        "[0-9.]{1,9}",
        Just("3.0.0".to_owned()),
        Just("1795422834".to_owned()),
        "[A-Za-z0-9+/=]{0,300}",
        "[a-z/, ]{0,20}".prop_map(|text| STANDARD_NO_PAD.encode(text)),
        "[0-9a-f.:]{1,15},(tcp|udp)/[0-9]{1,5}".prop_map(|text| STANDARD_NO_PAD.encode(text)),
        "10\\.1\\.2\\.[0-9]{1,3},(tcp|udp)/[0-9]{1,5}"
            .prop_map(|text| STANDARD_NO_PAD.encode(text)),
    ]
}

pub(crate) fn messages() -> impl Strategy<Value = Message> {
    let head = (
        vec(b'0'..=b'9', 16),
        "[a-zA-Z0-9 _.@-]{1,48}",
        1_000_000_000..=u32::MAX,
    );
    let kind = (select(&MessageType::ALL[..]), select(&DigestType::ALL[..]));
    let request = (
        allows(),
        vec(services(), 1..9),
        "[ -~]{1,140}",
        any::<[bool; 3]>(),
    );
    let optional = (nat_accesses(), 1..=65_536_u32);
    let messages = (head, kind, request, optional).prop_map(
        |((random, username, time), (message_type, digest_type), request, (nat, timeout))| {
            let (allow, mut ports, command, [closes, all, cut]) = request;
            let closes = closes && message_type == MessageType::Access;
            if closes && all {
                ports.clear();
            }
            Message {
                random: random.try_into().unwrap(),
                username,
                timestamp_secs: time.into(),
                version: Message::VERSION.to_owned(),
                message_type,
                request: if message_type == MessageType::Command {
                    Request::Command { allow, command }
                } else if closes {
                    Request::Close { allow, ports, cut }
                } else {
                    Request::Access { allow, ports }
                },
                nat_access: message_type.has_nat().then_some(nat),
                client_timeout_secs: if message_type.has_timeout() {
                    timeout
                } else {
                    0
                },
                digest_type,
            }
        },
    );
    // The shortest fields and an MD5 digest make a packet that no server looks at.
    messages.prop_filter("too short", |message| {
        message.digest_type != DigestType::Md5 || message.encode().unwrap().len() >= 80
    })
}

fn allows() -> impl Strategy<Value = Allow> {
    prop_oneof![
        Just(Allow::Source),
        any::<Ipv4Addr>()
            .prop_filter("unspecified", |address| !address.is_unspecified())
            .prop_map(|address| Allow::Address(IpAddr::V4(address))),
        any::<Ipv6Addr>()
            .prop_filter("unspecified or mapped", |address| {
                !address.is_unspecified() && address.to_ipv4_mapped().is_none()
            })
            .prop_map(|address| Allow::Address(IpAddr::V6(address))),
    ]
}

fn services() -> impl Strategy<Value = Service> {
    let protocol = select(vec![Protocol::Tcp, Protocol::Udp]);
    let ports = (protocol, 1..=u16::MAX, prop_oneof![Just(0), any::<u16>()]);
    let ports = ports.prop_map(|(protocol, first, more)| {
        let first = NonZeroU16::new(first).unwrap();
        PortRange::new(protocol, first, first.saturating_add(more)).unwrap()
    });
    prop_oneof![
        9 => ports.prop_map(Service::Ports),
        1 => Just(Service::Echo),
    ]
}

fn nat_accesses() -> impl Strategy<Value = NatAccess> {
    ("[a-z0-9.-]{1,60}", 1..=u16::MAX).prop_map(|(host, port)| NatAccess { host, port })
}

pub(crate) fn any_keys() -> impl Strategy<Value = Keys> {
    let encryption = vec(any::<u8>(), 0..=32);
    let mode = select(&EncryptionMode::ALL[..]);
    let hmac = prop::option::of((vec(any::<u8>(), 33..=128), select(&DigestType::ALL[..])));
    (encryption, mode, hmac).prop_map(|(encryption, mode, hmac)| {
        let hmac = hmac
            .filter(|_| mode != EncryptionMode::Legacy)
            .map(|(key, digest)| (Secret::from_passphrase(key), digest));
        keys(Secret::from_passphrase(encryption), mode, hmac)
    })
}
