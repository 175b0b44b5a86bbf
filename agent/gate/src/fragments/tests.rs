//! Parts in every order, and what strangers make of them.

use etherparse::ip_number;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const REPEATS_FOR: Duration = Duration::from_secs(2);
const SOURCE: [u8; 4] = [198, 51, 100, 10];

/// A UDP datagram of so many bytes, no two units of which are alike.
fn udp(length: usize) -> Vec<u8> {
    let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
    let header = [0x9c, 0x40, 0xf2, 0xf9, high, low, 0, 0];
    let text = (0..length - 8).map(|at| b'A' + u8::try_from(at % 8 + at / 8 % 16).unwrap());
    header.into_iter().chain(text).collect()
}

/// A part of `whole`, from one offset to another.
fn part(whole: &[u8], start: usize, end: usize) -> Fragment<'_> {
    Fragment {
        source: SOURCE.into(),
        destination: [198, 51, 100, 1].into(),
        identification: 7,
        number: ip_number::UDP,
        offset: start,
        more: end < whole.len(),
        bytes: &whole[start..end],
    }
}

/// `whole` cut at these places.
fn parts<'a>(whole: &'a [u8], cuts: &[Index]) -> Vec<Fragment<'a>> {
    let units = whole.len().div_ceil(UNIT);
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(units) * UNIT).collect();
    cuts.extend([0, whole.len()]);
    cuts.sort_unstable();
    cuts.dedup();
    cuts.windows(2)
        .map(|ends| part(whole, ends[0], ends[1]))
        .collect()
}

/// The room, and what it counts.
#[derive(Default)]
struct Room {
    fragments: Fragments,
    counters: Counters,
}

impl Room {
    /// The payload of what is whole with this part.
    fn add_at(&mut self, fragment: &Fragment<'_>, steady: Duration) -> Option<Vec<u8>> {
        let added = self
            .fragments
            .add(fragment, steady, REPEATS_FOR, &mut self.counters);
        match added {
            Ok(datagram) => Some(datagram.payload.to_vec()),
            Err(NotForUs::Fragment) => None,
            Err(other) => panic!("{other:?}"),
        }
    }

    fn add(&mut self, fragment: &Fragment<'_>) -> Option<Vec<u8>> {
        self.add_at(fragment, Duration::from_secs(100))
    }
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![9_usize..=BYTES_MAX, Just(1516), Just(1520), Just(BYTES_MAX)]
}

proptest! {
    #[test]
    fn parts_in_any_order_and_repeated_make_the_packet_once_and_with_the_last_missing_one(
        length in length(),
        cuts in prop::collection::vec(any::<Index>(), 1..12),
        order in prop::collection::vec(any::<Index>(), 0..60),
    ) {
        let whole = udp(length);
        let parts = parts(&whole, &cuts);
        let mut missing: Vec<bool> = vec![true; parts.len()];
        let mut room = Room::default();

        let order = order.iter().map(|at| at.index(parts.len())).chain(0..parts.len());
        for at in order {
            let was_missing = std::mem::take(&mut missing[at]);
            let is_last = was_missing && !missing.contains(&true);
            let expected = is_last.then(|| whole[8..].to_vec());
            prop_assert_eq!(room.add(&parts[at]), expected);
        }
        prop_assert_eq!(room.counters.reassembled, 1);
        prop_assert_eq!(room.counters.fragments_waiting, 0);
        prop_assert_eq!(room.counters.fragments_refused, 0);
    }

    #[test]
    fn a_part_that_overlaps_others_with_anything_new_gives_the_packet_up_for_good(
        length in 64_usize..=BYTES_MAX,
        cuts in prop::collection::vec(any::<Index>(), 2..8),
        (start, units) in (any::<Index>(), 2_usize..40),
        after in any::<Index>(),
    ) {
        let whole = udp(length);
        let mut forged = whole.clone();
        forged[8..].fill(b'x');
        let parts = parts(&whole, &cuts);
        // All cuts may fall on one place.
        prop_assume!(parts.len() > 1);
        // Of the part that is left out, nothing is there to overlap with.
        let after = 1 + after.index(parts.len() - 1).min(parts.len() - 2);
        let last_there = parts[after - 1].offset + parts[after - 1].bytes.len();
        let start = start.index(last_there / UNIT) * UNIT;
        let end = (start + units * UNIT).min(whole.len());
        let mut room = Room::default();
        for part in &parts[..after] {
            prop_assert_eq!(room.add(part), None);
        }

        let overlap = part(&forged, start, end);

        prop_assert_eq!(room.add(&overlap), None);
        for part in &parts {
            prop_assert_eq!(room.add(part), None);
        }
        prop_assert_eq!(room.counters.reassembled, 0);
        prop_assert!(room.counters.fragments_refused > 0);
    }

    #[test]
    fn a_packet_with_a_gap_is_never_whole_and_is_given_up_in_time(
        length in 64_usize..=BYTES_MAX,
        cuts in prop::collection::vec(any::<Index>(), 3..8),
        left_out in any::<Index>(),
    ) {
        let whole = udp(length);
        let mut parts = parts(&whole, &cuts);
        prop_assume!(parts.len() > 1);
        parts.remove(left_out.index(parts.len()));
        let mut room = Room::default();

        for part in parts.iter().chain(&parts) {
            prop_assert_eq!(room.add(part), None);
        }

        prop_assert_eq!(room.counters.fragments_waiting, 1);
        room.fragments.tidy(Duration::from_secs(105), REPEATS_FOR, &mut room.counters);
        prop_assert_eq!(room.counters.fragments_waiting, 0);
        prop_assert_eq!(room.counters.fragments_expired, 1);
    }

    #[test]
    fn whatever_comes_the_room_stays_as_large_as_it_is_and_nothing_panics(
        parts in prop::collection::vec((any::<u8>(), 0_u32..4, 0_usize..210, 0_usize..1700, any::<bool>(), 0_u64..9), 1..400),
    ) {
        let bytes = udp(1700);
        let mut room = Room::default();
        let mut steady = Duration::ZERO;

        for (host, identification, units, length, more, later) in parts {
            steady += Duration::from_millis(later * 100);
            let _ = room.fragments.add(
                &Fragment {
                    source: [192, 0, 2, host].into(),
                    identification,
                    offset: units * UNIT,
                    more,
                    bytes: &bytes[..length],
                    ..part(&bytes, 0, 8)
                },
                steady,
                REPEATS_FOR,
                &mut room.counters,
            );
            prop_assert!(room.counters.fragments_waiting <= PACKETS_MAX as u64);
        }
        prop_assert!(room.fragments.slots.capacity() <= PACKETS_MAX);
        prop_assert!(room.fragments.bytes.capacity() <= PACKETS_MAX * BYTES_MAX);
    }
}

#[test]
fn strangers_fill_a_fixed_room_and_what_they_crowd_out_is_counted() {
    let whole = udp(1000);
    let mut room = Room::default();
    assert_eq!(room.add(&part(&whole, 0, 480)), None);

    for n in 0..100_000_u32 {
        let [_, a, b, c] = n.to_be_bytes();
        let stranger = Fragment {
            source: [10, a, b, c].into(),
            ..part(&whole, 480, 960)
        };
        assert_eq!(room.add_at(&stranger, Duration::from_secs(101)), None);
    }

    assert_eq!(room.fragments.slots.len(), PACKETS_MAX);
    assert_eq!(room.fragments.bytes.len(), PACKETS_MAX * BYTES_MAX);
    let counters = room.counters;
    assert_eq!(counters.fragments_waiting, PACKETS_MAX as u64);
    let given_up = counters.fragments_crowded_out + counters.fragments_waiting;
    assert_eq!(given_up, counters.fragments);
}

#[test]
fn one_source_crowds_out_its_own_parts_and_nobody_elses() {
    let whole = udp(1000);
    let mut room = Room::default();
    assert_eq!(room.add(&part(&whole, 480, 1000)), None);

    for identification in 0..10_000 {
        let stranger = Fragment {
            source: [10, 0, 0, 1].into(),
            identification,
            ..part(&whole, 0, 480)
        };
        assert_eq!(room.add(&stranger), None);
    }

    assert_eq!(
        room.counters.fragments_waiting,
        PACKETS_OF_SOURCE_MAX as u64 + 1
    );
    assert_eq!(room.add(&part(&whole, 0, 480)), Some(whole[8..].to_vec()));
}

#[test]
fn parts_of_different_packets_never_meet() {
    let whole = udp(1000);
    let first = part(&whole, 0, 480);
    let others = [
        Fragment {
            identification: 8,
            ..part(&whole, 480, 1000)
        },
        Fragment {
            source: [198, 51, 100, 11].into(),
            ..part(&whole, 480, 1000)
        },
        Fragment {
            destination: [198, 51, 100, 2].into(),
            ..part(&whole, 480, 1000)
        },
        Fragment {
            number: ip_number::TCP,
            ..part(&whole, 480, 1000)
        },
    ];
    let mut room = Room::default();

    assert_eq!(room.add(&first), None);

    for other in others {
        assert_eq!(room.add(&other), None);
    }
    assert_eq!(room.counters.fragments_waiting, 5);
}

#[test]
fn the_parts_once_more_are_the_same_packet_for_a_moment_and_another_one_later_or_with_other_bytes()
{
    let whole = udp(1000);
    let [first, second] = [part(&whole, 0, 480), part(&whole, 480, 1000)];
    let mut another = whole.clone();
    another[8..].reverse();
    let payload = Some(whole[8..].to_vec());
    let mut room = Room::default();
    let mut add = |part: &Fragment<'_>, at_ms| room.add_at(part, Duration::from_millis(at_ms));

    assert_eq!(add(&first, 0), None);
    assert_eq!(add(&first, 0), None);
    assert_eq!(add(&second, 1), payload);
    assert_eq!(add(&second, 1), None);
    assert_eq!(add(&first, 2), None);
    // Host and number say the same, and yet it is another packet.
    assert_eq!(add(&part(&another, 0, 480), 3), None);
    assert_eq!(
        add(&part(&another, 480, 1000), 3),
        Some(another[8..].to_vec())
    );
    // Who sends all of it again later is judged again.
    assert_eq!(add(&second, 2_004), None);
    assert_eq!(add(&first, 2_004), payload);
}

#[test]
fn parts_of_what_is_longer_than_any_packet_take_no_room() {
    let whole = vec![0; 8_000];
    let mut room = Room::default();

    for start in (0..8_000).step_by(1_480) {
        let end = (start + 1_480).min(whole.len());
        assert_eq!(room.add(&part(&whole, start, end)), None);
    }

    // The first cannot be told from one of a short packet.
    assert_eq!(room.counters.fragments_waiting, 1);
    assert_eq!(room.counters.fragments_refused, 5);
}
