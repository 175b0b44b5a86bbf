//! The lanes against the ordinary HMAC of the `hmac` crate.

use std::array;

use ::hmac::{Hmac, KeyInit as _, Mac as _};
use proptest::collection::vec;
use proptest::prelude::*;
use sha2::Sha256;

use super::{LANES, LanesTrial, States, hash, hash_in_lanes};
use crate::hmac::{PaddedText, Sha256State};
use crate::length::PREFIXED_LEN_MAX;

#[test]
fn the_right_key_is_seen_in_any_lane_under_a_text_of_any_length() {
    let keys: [_; LANES] = array::from_fn(|lane| vec![u8::try_from(lane).unwrap(); 32]);
    let states = keys.each_ref().map(|key| Sha256State::new(key));
    let text: Vec<u8> = (0..=u8::MAX).cycle().take(PREFIXED_LEN_MAX).collect();

    for len in 0..=PREFIXED_LEN_MAX {
        let text = &text[..len];
        let right = len % LANES;

        let matching = trial(text, mac(&keys[right], text)).matching(&states.each_ref().map(Some));

        let expected = array::from_fn(|lane| Some(lane == right));
        assert_eq!(matching, expected, "{len}");
    }
}

#[test]
fn a_few_keys_are_tried_as_many_are() {
    let keys: [_; LANES] = array::from_fn(|lane| format!("the key in lane {lane}"));
    let states = keys.each_ref().map(|key| Sha256State::new(key.as_bytes()));
    let text = b"some text";

    for count in 0..=LANES {
        for (right, key) in keys.iter().enumerate() {
            let mut trial = trial(text, mac(key.as_bytes(), text));
            let some = array::from_fn(|lane| Some(&states[lane]).filter(|_| lane < count));

            let expected = array::from_fn(|lane| (lane < count).then_some(lane == right));
            assert_eq!(trial.matching(&some), expected, "{right} of {count}");
        }
    }
}

#[test]
fn nothing_of_a_batch_is_left_for_the_next() {
    let right = Sha256State::new(b"right");
    let wrong = Sha256State::new(b"wrong");
    let mut trial = trial(b"some text", mac(b"right", b"some text"));

    assert_eq!(trial.matching(&[Some(&right); LANES]), [Some(true); LANES]);
    assert_eq!(trial.matching(&[None; LANES]), [None; LANES]);
    assert_eq!(trial.matching(&[Some(&wrong); LANES]), [Some(false); LANES]);
    assert_eq!(trial.matching(&[Some(&right); LANES]), [Some(true); LANES]);
}

#[test]
fn every_bit_of_the_mac_counts() {
    let state = Sha256State::new(b"right");
    let keys = [Some(&state); LANES];
    let right = mac(b"right", b"some text");

    for bit in 0..256 {
        let mut wrong = right;
        wrong[bit / 8] ^= 1 << (bit % 8);

        assert_eq!(
            trial(b"some text", wrong).matching(&keys),
            [Some(false); LANES],
            "{bit}"
        );
    }
}

proptest! {
    #[test]
    fn a_lane_matches_exactly_if_the_ordinary_hmac_verifies(
        keys in vec(prop::option::of(vec(any::<u8>(), 0..3)), LANES),
        text in vec(any::<u8>(), 0..=PREFIXED_LEN_MAX),
        right in vec(any::<u8>(), 0..3),
    ) {
        let states: Vec<_> = keys
            .iter()
            .map(|key| Some(Sha256State::new(key.as_ref()?)))
            .collect();
        let mac = mac(&right, &text);

        let matching = trial(&text, mac).matching(&array::from_fn(|lane| states[lane].as_ref()));

        let expected = array::from_fn(|lane| Some(ordinary(keys[lane].as_ref()?, &text)
            .verify_slice(&mac)
            .is_ok()));
        prop_assert_eq!(matching, expected);
    }

    #[test]
    fn what_this_processor_does_best_and_what_any_can_do_give_the_same_hashes(
        inner in vec(any::<[u32; LANES]>(), 8),
        outer in vec(any::<[u32; LANES]>(), 8),
        text in vec(any::<u8>(), 0..=PREFIXED_LEN_MAX),
    ) {
        let states = |words: &[[u32; LANES]]| States(words.try_into().unwrap());
        let trial = trial(&text, [0; 32]);
        let schedules = &trial.schedules[..trial.used];
        let (mut best, mut any) = (states(&outer), states(&outer));

        hash(schedules, &mut states(&inner), &mut best);
        hash_in_lanes(schedules, &mut states(&inner), &mut any);

        prop_assert_eq!(best.0, any.0);
    }
}

fn trial(text: &[u8], mac: [u8; 32]) -> LanesTrial {
    LanesTrial::new(&PaddedText::new(text), &mac)
}

fn mac(key: &[u8], text: &[u8]) -> [u8; 32] {
    ordinary(key, text).finalize().into_bytes().into()
}

fn ordinary(key: &[u8], text: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).unwrap().chain_update(text)
}
