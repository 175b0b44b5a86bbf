//! The tagged form: a name for the key in front, and fwknop's packet behind it.

use spa::{
    DigestType, EncryptionMode, Keys, SealError, Sealed, Secret, Tag, bucket, seal, seal_tagged,
    tag,
};

use crate::opening::keys;
use crate::properties::{message, open_fields};

/// Expected values made with `openssl kdf HKDF` (key `vector-hmac-key`, salt `postern tag v1`, info
/// `vectorpass1`) and Python's hmac over the bucket in eight bytes, of which six are kept.
#[test]
fn tags_are_those_that_openssl_and_python_compute() {
    let key = pair().tag_key().unwrap();

    assert_eq!(tag(&key, 0), Tag(*b"CS+JekNq"));
    assert_eq!(tag(&key, bucket(1_795_422_834)), Tag(*b"dP8Not2r"));
}

#[test]
fn behind_the_tag_of_the_minute_stands_the_packet() {
    let keys = pair();
    let message = message();

    let tagged = seal_tagged(&message, &keys, [3; 8]).unwrap();

    let (found, rest) = Sealed::parse(tagged.as_bytes()).unwrap().tag().unwrap();
    let minute = bucket(message.timestamp_secs);
    assert_eq!(found, tag(&keys.tag_key().unwrap(), minute));
    assert_eq!(
        rest.text(),
        seal(&message, &keys, [3; 8]).unwrap().as_bytes()
    );
    let behind = str::from_utf8(rest.text()).unwrap();
    assert_eq!(open_fields(behind, &keys), Some(message));
}

#[test]
fn a_tagged_packet_read_as_a_plain_one_is_refused() {
    let keys = pair();

    let tagged = seal_tagged(&message(), &keys, [3; 8]).unwrap();

    assert_eq!(open_fields(&tagged, &keys), None);
}

#[test]
fn tags_of_two_minutes_have_nothing_in_common() {
    let key = pair().tag_key().unwrap();

    let (one, next) = (tag(&key, 29_923_713), tag(&key, 29_923_714));

    let same = one.0.iter().zip(next.0).filter(|(a, b)| **a == *b).count();
    assert!(same <= 2, "{one} {next}");
}

#[test]
fn keys_without_an_hmac_key_have_no_tags() {
    let keys = keys(Secret::from_passphrase("one"), EncryptionMode::Cbc, None);

    assert!(keys.tag_key().is_none());
    assert_eq!(
        seal_tagged(&message(), &keys, [3; 8]),
        Err(SealError::NoTagKey)
    );
}

#[test]
fn a_packet_of_the_shortest_length_has_no_room_for_a_tag() {
    let shortest = [b'8'; 147];

    let sealed = Sealed::parse(&shortest).unwrap();

    assert_eq!(sealed.tag(), None);
}

fn pair() -> Keys {
    keys(
        Secret::from_passphrase("vectorpass1"),
        EncryptionMode::Cbc,
        Some((
            Secret::from_passphrase("vector-hmac-key"),
            DigestType::Sha256,
        )),
    )
}
