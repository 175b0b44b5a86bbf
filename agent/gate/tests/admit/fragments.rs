//! SPA packets that come in parts.

use std::time::Duration;

use gate::{Decision, LinkType, NotForUs, Settings};
use proptest::prelude::*;

use crate::support::{ALICE, HOST, Scene, knock, stanza};

/// IPv4 packets that carry this payload over UDP, of at most so many bytes behind their header, as
/// a sender with a small MTU makes them.
fn fragments_of(payload: &str, (identification, bytes_max): (u16, usize)) -> Vec<Vec<u8>> {
    let length = u16::try_from(payload.len() + 8).unwrap().to_be_bytes();
    let udp = [
        &[0x9c, 0x40, 0xf2, 0xf9, length[0], length[1], 0, 0],
        payload.as_bytes(),
    ]
    .concat();
    let parts = udp.chunks(bytes_max).enumerate();
    let packet = |(n, part): (usize, &[u8])| {
        let offset = n * bytes_max;
        let more = u16::from(offset + part.len() < udp.len()) << 13;
        let [f0, f1] = (more | u16::try_from(offset / 8).unwrap()).to_be_bytes();
        let [i0, i1] = identification.to_be_bytes();
        let [l0, l1] = u16::try_from(20 + part.len()).unwrap().to_be_bytes();
        let header = [0x45, 0, l0, l1, i0, i1, f0, f1, 64, 17, 0, 0];
        let address = |text: &str| text.parse::<std::net::Ipv4Addr>().unwrap().octets();
        [&header[..], &address(ALICE), &address(HOST), part].concat()
    };
    parts.map(packet).collect()
}

/// How many were granted, and how many were the same packet once more.
fn show(scene: &mut Scene, frames: &[Vec<u8>]) -> (usize, usize) {
    let mut seen = (0, 0);
    for frame in frames {
        let (now, replays) = (scene.now, &mut scene.replays);
        match scene.gate.admit_frame(frame, LinkType::RawIp, now, replays) {
            Ok(Decision::Grant(_)) => seen.0 += 1,
            Ok(Decision::Duplicate) => seen.1 += 1,
            Ok(other) => panic!("{other:?}"),
            Err(not_for_us) => assert_eq!(not_for_us, NotForUs::Fragment),
        }
    }
    seen
}

proptest! {
    #[test]
    fn a_packet_in_parts_is_granted_once_in_whatever_order_they_come_and_however_often(
        units in 1_usize..12,
        repeated in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut scene = Scene::with_duplicates(&stanza("alice", ""), Settings::default());
        let mut frames = fragments_of(&knock("alice", 1), (7, units * 8));
        if repeated {
            frames.extend(frames.clone());
        }
        // A shuffle that depends on nothing but the seed.
        let mut rng = seed | 1;
        for at in (1..frames.len()).rev() {
            rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            frames.swap(at, usize::try_from(rng >> 33).unwrap() % (at + 1));
        }

        let (granted, _) = show(&mut scene, &frames);

        prop_assert_eq!(granted, 1);
        let counters = scene.gate.counters();
        prop_assert_eq!(counters.replayed + counters.copies + counters.not_authentic, 0);
        prop_assert_eq!(counters.fragments_waiting, 0);
    }
}

#[test]
fn parts_that_two_captures_show_one_after_the_other_are_one_packet_and_a_later_copy_is_a_replay() {
    let mut scene = Scene::with_duplicates(&stanza("alice", ""), Settings::default());
    let frames = fragments_of(&knock("alice", 1), (7, 64));

    assert_eq!(show(&mut scene, &frames), (1, 0));
    assert_eq!(show(&mut scene, &frames), (0, 0));
    let sent_again = fragments_of(&knock("alice", 1), (8, 64));
    assert_eq!(show(&mut scene, &sent_again), (0, 1));

    scene.later(5);
    let mut refused = 0;
    for frame in &frames {
        let (now, replays) = (scene.now, &mut scene.replays);
        let decided = scene.gate.admit_frame(frame, LinkType::RawIp, now, replays);
        refused += usize::from(matches!(decided, Ok(Decision::Refused(_))));
    }
    assert_eq!(refused, 1);
    assert_eq!(scene.gate.counters().copies, 1);
}

#[test]
fn parts_of_what_passes_by_take_no_room() {
    use crate::addressees::of_host;
    let mut scene = Scene::new(&stanza("alice", ""));
    scene.gate.set_addressees(of_host(&["203.0.113.9"], &[]));

    for frame in fragments_of(&knock("alice", 1), (7, 64)) {
        let (now, replays) = (scene.now, &mut scene.replays);
        let passed = scene
            .gate
            .admit_seen_frame(&frame, LinkType::RawIp, now, replays);
        assert_eq!(passed.unwrap_err(), NotForUs::Destination);
    }

    let counters = scene.gate.counters();
    assert_eq!((counters.fragments, counters.fragments_waiting), (0, 0));
    assert!(counters.not_addressed > 1);
}

#[test]
fn what_is_not_whole_in_time_is_given_up_and_counted() {
    let mut scene = Scene::new(&stanza("alice", ""));
    let frames = fragments_of(&knock("alice", 1), (7, 64));
    let (last, others) = frames.split_last().unwrap();
    assert_eq!(show(&mut scene, others), (0, 0));
    assert_eq!(scene.gate.counters().fragments_waiting, 1);

    scene.now.steady += Duration::from_secs(6);
    scene.gate.tidy(scene.now);

    let counters = scene.gate.counters();
    assert_eq!(
        (counters.fragments_waiting, counters.fragments_expired),
        (0, 1)
    );
    assert_eq!(show(&mut scene, std::slice::from_ref(last)), (0, 0));
}

#[test]
fn packets_that_another_program_cut_are_put_together_from_the_first_part_to_the_last_and_back() {
    let file = include_str!("../data/fragments.txt");
    let mut count = 0;
    for line in file.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(" | ").collect();
        let [name, number, bytes] = fields[..] else {
            panic!("{line}");
        };
        let link = LinkType::of_number(number.parse().unwrap()).unwrap();
        let frames: Vec<Vec<u8>> = bytes.split(' ').map(|b| hex::decode(b).unwrap()).collect();
        let backwards: Vec<Vec<u8>> = frames.iter().rev().cloned().collect();
        for frames in [frames, backwards] {
            let mut scene = Scene::new(&stanza("alice", ""));
            for frame in &frames {
                let (now, replays) = (scene.now, &mut scene.replays);
                let decided = scene.gate.admit_frame(frame, link, now, replays);
                assert!(matches!(decided, Err(NotForUs::Fragment) | Ok(_)), "{name}");
            }
            let counters = scene.gate.counters();
            assert_eq!((counters.reassembled, counters.received), (1, 1), "{name}");
        }
        count += 1;
    }
    assert_eq!(count, 8);
}
