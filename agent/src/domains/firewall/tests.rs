//! What is said through the channel is heard as it was said, and what is not well said is not.

mod apart;

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::message::{Answered, Asked, Hello, Wish};
use super::samples;
use crate::domains::channel::{decode, encode};
use crate::firewall::Notice;
use crate::hostile::read_domain_message;

fn there<T: Serialize + DeserializeOwned>(value: &T) -> T {
    decode(&encode(value).unwrap()).unwrap()
}

proptest! {
    #[test]
    fn every_message_comes_out_as_it_went_in(
        asked in samples::asked(),
        answered in samples::answered(),
        wish in samples::wish(),
        notice in samples::notice(),
        hello in samples::hello(),
    ) {
        prop_assert_eq!(there::<Asked<'_>>(&asked), asked);
        prop_assert_eq!(there::<Answered>(&answered), answered);
        prop_assert_eq!(there::<Wish<'_>>(&wish), wish);
        prop_assert_eq!(there::<Notice>(&notice), notice);
        prop_assert_eq!(there::<Hello>(&hello), hello);
    }

    /// Bytes of a message with some changed, which get further than any bytes do.
    #[test]
    fn whatever_the_bytes_are_they_are_read_without_a_panic(
        asked in samples::asked(),
        noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        any_bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = encode(&asked).unwrap();
        for (at, byte) in noise {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.insert(0, 0);

        read_domain_message(&bytes);
        read_domain_message(&any_bytes);
    }
}
