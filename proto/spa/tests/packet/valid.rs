//! What the real client sent is opened, and sealed again to the same bytes.

use std::collections::BTreeSet;

use spa::{
    Allow, InvalidMessage, Malformed, Message, MessageType, NatAccess, OpenError, Request,
    SealError, Sealed, seal,
};
use vectors::{Expected, Valid, valid};

use crate::opening::{Refused, keys_of, open};

/// Refused by the real server, opened by us, with the reason why.
const WE_OPEN: [&str; 6] = [
    // It cannot be written in access.conf; the cipher takes it.
    "edge_empty_passphrase",
    // fwknop ends in 2038; the field has 32 bits.
    "edge_time_2038",
    // fwknop takes 400 characters and more for GPG (docs/compatibility.md, W28); here the key of
    // the stanza decides.
    "size_nohmac_body417",
    "size_sha1_body374_over",
    "size_sha256_body374_over",
    "size_sha512_body332_over",
];

/// Refused by the real server and by us.
const BOTH_REFUSE: [(&str, Malformed, InvalidMessage); 5] = [
    // The client writes names that its server refuses.
    (
        "edge_user_env_49",
        Malformed::Username,
        InvalidMessage::Username,
    ),
    (
        "edge_user_env_63",
        Malformed::Username,
        InvalidMessage::Username,
    ),
    (
        "edge_user_env_70",
        Malformed::Username,
        InvalidMessage::Username,
    ),
    (
        "edge_timeout_65537",
        Malformed::ClientTimeout,
        InvalidMessage::ClientTimeout,
    ),
    (
        "edge_timeout_131072",
        Malformed::ClientTimeout,
        InvalidMessage::ClientTimeout,
    ),
];

/// Accepted by the real server, refused by us: an octet with a leading zero is read as octal by
/// some and as decimal by others, so the server opens another address than the user wrote
/// (docs/compatibility.md, W13).
const WE_REFUSE: &str = "edge_ip_leading_zero";

/// GnuPG packets, which this version does not open.
const GPG_COUNT: usize = 11;

#[test]
fn what_the_real_client_sends_is_opened_with_the_fields_that_it_printed() {
    let mut opened_count = 0;

    for vector in opened_here() {
        let keys = keys_of(&vector).unwrap();

        let opened = open(vector.packet.as_bytes(), &keys)
            .unwrap_or_else(|refused| panic!("{}: {refused:?}", vector.name));

        let expected = &vector.expected;
        assert_eq!(opened.message(), &message(&vector), "{}", vector.name);
        assert_eq!(opened.message_text(), expected.message);
        assert_eq!(opened.nat_text(), expected.nat_access.as_deref());
        assert_eq!(opened.digest_text(), expected.digest);
        opened_count += 1;
    }

    assert_eq!(opened_count, 145 - GPG_COUNT - BOTH_REFUSE.len() - 1);
}

#[test]
fn what_the_real_client_sends_is_sealed_to_the_same_bytes() {
    for vector in opened_here() {
        let keys = keys_of(&vector).unwrap();
        let salt = hex::decode(vector.salt_hex.as_ref().unwrap()).unwrap();
        let message = message(&vector);

        let plain = message.encode().unwrap();
        let packet = seal(&message, &keys, salt.try_into().unwrap()).unwrap();

        assert_eq!(&plain, vector.plaintext.as_ref().unwrap());
        assert_eq!(packet, vector.packet, "{}", vector.name);
    }
}

#[test]
fn whatever_the_real_client_sends_could_be_a_packet_by_its_shape() {
    for vector in valid() {
        let sealed = Sealed::parse(vector.packet.as_bytes()).unwrap();

        assert!(sealed.could_be_any(), "{}", vector.name);
    }
}

#[test]
fn every_message_of_the_real_client_has_a_replay_digest_of_its_own() {
    let mut seen = BTreeSet::new();

    for vector in opened_here() {
        let opened = open(vector.packet.as_bytes(), &keys_of(&vector).unwrap()).unwrap();

        assert!(seen.insert(opened.replay_digest()), "{}", vector.name);
    }
}

#[test]
fn what_no_server_takes_is_neither_opened_nor_sealed() {
    for (name, malformed, invalid) in BOTH_REFUSE {
        let vector = vector(name);
        let keys = keys_of(&vector).unwrap();

        let refused = open(vector.packet.as_bytes(), &keys).unwrap_err();
        let unsealed = seal(&message(&vector), &keys, [0; 8]);

        assert!(!vector.fwknopd_accepts);
        assert_eq!(
            refused,
            Refused::Open(OpenError::Message(malformed)),
            "{name}"
        );
        assert_eq!(unsealed, Err(SealError::Message(invalid)), "{name}");
    }
}

#[test]
fn an_address_with_leading_zeros_is_refused_though_fwknop_takes_it() {
    let vector = vector(WE_REFUSE);

    let refused = open(vector.packet.as_bytes(), &keys_of(&vector).unwrap()).unwrap_err();

    assert!(vector.fwknopd_accepts);
    assert_eq!(
        refused,
        Refused::Open(OpenError::Message(Malformed::Address))
    );
}

#[test]
fn what_the_real_server_refuses_is_decided_here_by_name() {
    for vector in valid().iter().filter(|vector| keys_of(vector).is_some()) {
        let name = vector.name.as_str();
        let both_refuse = BOTH_REFUSE.iter().any(|(listed, ..)| *listed == name);
        let decided = WE_OPEN.contains(&name) || both_refuse;

        assert_eq!(decided, !vector.fwknopd_accepts, "{name}");
    }
}

fn opened_here() -> impl Iterator<Item = Valid> {
    valid().into_iter().filter(|vector| {
        let name = vector.name.as_str();
        let refused = BOTH_REFUSE.iter().any(|(listed, ..)| *listed == name) || name == WE_REFUSE;
        keys_of(vector).is_some() && !refused
    })
}

fn vector(name: &str) -> Valid {
    valid()
        .into_iter()
        .find(|vector| vector.name == name)
        .unwrap()
}

/// Builds the message from the fields that the real client printed.
fn message(vector: &Valid) -> Message {
    let Expected {
        random,
        username,
        timestamp,
        version,
        message_type,
        message,
        nat_access,
        client_timeout,
        digest: _,
    } = &vector.expected;
    let message_type = MessageType::try_from(*message_type).unwrap();
    Message {
        random: random.as_bytes().try_into().unwrap(),
        username: username.clone(),
        timestamp_secs: *timestamp,
        version: version.clone(),
        message_type,
        request: request(message_type, message),
        nat_access: nat_access.as_ref().map(|text| {
            let (host, port) = text.split_once(',').unwrap();
            NatAccess {
                host: host.to_owned(),
                port: port.parse().unwrap(),
            }
        }),
        client_timeout_secs: *client_timeout,
        digest_type: vector.digest_type.parse().unwrap(),
    }
}

fn request(message_type: MessageType, text: &str) -> Request {
    let (address, rest) = text.split_once(',').unwrap();
    let allow = match address {
        "0.0.0.0" => Allow::Source,
        address => Allow::Address(address.parse().unwrap()),
    };
    if message_type == MessageType::Command {
        Request::Command {
            allow,
            command: rest.to_owned(),
        }
    } else {
        let ports = rest.split(',').map(|port| port.parse().unwrap()).collect();
        Request::Access { allow, ports }
    }
}
