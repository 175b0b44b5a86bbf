//! One packet and many keys: the trial of some at once says what the trial of each says.

use std::array;

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::Index;
use spa::{DigestType, EncryptionMode, Keys, LANES, OpeningKey, Sealed, Secret, Trial, seal};
use vectors::valid;

use crate::opening::{keys, keys_of};
use crate::properties::{any_keys, messages};

#[test]
fn a_real_packet_is_matched_by_its_key_in_any_lane_and_by_no_other() {
    let mut packets = 0;
    for vector in valid() {
        let Some(keys) = keys_of(&vector) else {
            continue;
        };
        let Some((_, digest)) = keys.hmac() else {
            continue;
        };
        packets += 1;
        let right = OpeningKey::new(&keys);
        let strangers: [_; LANES] = array::from_fn(|lane| OpeningKey::new(&stranger(lane, digest)));
        let mut trial = Trial::new(Sealed::parse(vector.packet.as_bytes()).unwrap());

        for lane in 0..LANES {
            let mut batch = strangers.each_ref().map(Some);
            batch[lane] = Some(&right);

            let matching: Vec<_> = trial.matching(&batch).collect();

            let expected: Vec<_> = (0..LANES).map(|other| other == lane).collect();
            assert_eq!(matching, expected, "{}", vector.name);
        }
    }
    assert!(packets > 0);
}

proptest! {
    #[test]
    fn some_keys_at_once_match_as_each_alone(
        message in messages(),
        right in mostly_sha256(),
        others in vec(weighted(0.9, mostly_sha256()), LANES),
        at: Index,
        changed: bool,
    ) {
        let mut packet = seal(&message, &right, [7; 8]).unwrap().into_bytes();
        if changed {
            let at = packet.len() - 10;
            packet[at] = if packet[at] == b'A' { b'B' } else { b'A' };
        }
        let mut keys: Vec<_> = others
            .iter()
            .map(|keys| Some(OpeningKey::new(keys.as_ref()?)))
            .collect();
        keys[at.index(LANES)] = Some(OpeningKey::new(&right));
        let batch = array::from_fn(|lane| keys[lane].as_ref());
        let mut trial = Trial::new(Sealed::parse(&packet).unwrap());

        let matching: Vec<_> = trial.matching(&batch).collect();

        let alone: Vec<_> = batch
            .iter()
            .map(|key| key.is_some_and(|key| trial.matches(key)))
            .collect();
        prop_assert_eq!(matching, alone);
    }
}

/// Keys of which so many are of HMAC-SHA256 that they are tried at once, and some are not.
fn mostly_sha256() -> impl Strategy<Value = Keys> {
    let sha256 = (0..100_usize).prop_map(|number| stranger(number, DigestType::Sha256));
    prop_oneof![9 => sha256, 1 => any_keys()]
}

fn stranger(number: usize, digest: DigestType) -> Keys {
    let secret = |name| Secret::from_passphrase(format!("{name} {number}"));
    keys(
        secret("encryption"),
        EncryptionMode::Cbc,
        Some((secret("hmac"), digest)),
    )
}
