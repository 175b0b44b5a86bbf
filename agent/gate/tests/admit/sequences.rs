//! Knock sequences: what completes one, and what strangers can do about it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use gate::{CompiledPolicy, Decision, LinkType, Reason, SharedKeys, UserProof};
use policy::{Denied, NotTaken};
use spa::{SequenceKey, SequenceMessage, bucket};

use crate::support::{ALICE, HOST, NOW_SECS, Scene, at, keys, policy, reason, stanza};

const TAKES: &str = "OPEN_PORTS tcp/22,udp/53\nKNOCK_SEQUENCE Y";
/// Where a client sends from.
const FROM: u16 = 40_000;

fn scene(rest: &str) -> Scene {
    Scene::new(&stanza("one", rest))
}

fn key(word: &str) -> SequenceKey {
    SequenceKey::derive(&keys(word)).unwrap()
}

fn asks(port: Option<&str>, timestamp_secs: u64) -> SequenceMessage {
    SequenceMessage {
        timestamp_secs,
        port: port.map(|port| port.parse().unwrap()),
        address: Some(ALICE.parse().unwrap()),
    }
}

/// Ports for tcp/22, sealed now with the keys of `word`.
fn ports(word: &str, nonce: u32) -> Vec<u16> {
    key(word)
        .ports(&asks(Some("tcp/22"), NOW_SECS), nonce)
        .to_vec()
}

/// A packet without a link header: an empty datagram, or a SYN.
fn packet((source, from): (&str, u16), port: u16, is_tcp: bool) -> Vec<u8> {
    let [a, b] = from.to_be_bytes();
    let [c, d] = port.to_be_bytes();
    let transport = if is_tcp {
        vec![
            a, b, c, d, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xfa, 0xf0, 0, 0, 0, 0,
        ]
    } else {
        vec![a, b, c, d, 0, 8, 0, 0]
    };
    let (source, host): (Ipv4Addr, Ipv4Addr) = (source.parse().unwrap(), HOST.parse().unwrap());
    let length = u8::try_from(20 + transport.len()).unwrap();
    let number = if is_tcp { 6 } else { 17 };
    let mut packet = vec![0x45, 0, 0, length, 0, 1, 0x40, 0, 64, number, 0, 0];
    packet.extend(source.octets().iter().chain(&host.octets()));
    packet.extend(transport);
    packet
}

impl Scene {
    fn knock(&mut self, from: (&str, u16), port: u16) -> Option<Decision> {
        self.now.steady += Duration::from_millis(30);
        self.knock_at_once(from, port)
    }

    fn knock_at_once(&mut self, from: (&str, u16), port: u16) -> Option<Decision> {
        let frame = packet(from, port, false);
        self.gate
            .admit_knock(&frame, LinkType::RawIp, self.now, &mut self.replays)
    }

    /// What the last of these packets, if one, decides.
    fn knocks(&mut self, ports: &[u16]) -> Option<Decision> {
        let decided = ports.iter().map(|port| self.knock((ALICE, FROM), *port));
        decided.collect::<Vec<_>>().into_iter().flatten().last()
    }
}

#[track_caller]
fn granted(decided: Option<Decision>) -> gate::Grant {
    crate::rules::granted("sequence", decided.expect("nothing was decided"))
}

#[test]
fn a_sequence_opens_what_it_asks_for_for_the_address_that_it_is_bound_to() {
    let mut scene = scene(TAKES);

    let grant = granted(scene.knocks(&ports("one", 1)));

    let permit = grant.permit();
    assert_eq!(permit.address(), ALICE.parse::<IpAddr>().unwrap());
    assert_eq!(
        grant.identity().opened().message_text(),
        "198.51.100.10,tcp/22"
    );
    assert_eq!(grant.identity().user_proof(), UserProof::Asserted);
    assert_eq!(scene.gate.counters().by_sequence, 1);
}

#[test]
fn without_a_port_it_opens_all_that_the_stanza_lists() {
    let mut scene = scene(&format!("{TAKES}\nRESTRICT_PORTS udp/53"));

    let grant = granted(scene.knocks(&key("one").ports(&asks(None, NOW_SECS), 1)));
    assert_eq!(
        grant.identity().opened().message_text(),
        "198.51.100.10,tcp/22"
    );

    // Where that is anything, it is nothing.
    scene.adopt(&stanza("one", "KNOCK_SEQUENCE Y"));
    let refused = scene
        .knocks(&key("one").ports(&asks(None, NOW_SECS), 2))
        .unwrap();
    assert_eq!(reason(refused), Reason::Denied(Denied::NoPorts));
}

#[test]
fn syns_do_as_well_as_datagrams_and_neither_with_a_payload() {
    let mut scene = scene(TAKES);
    let mut decided = None;
    for port in ports("one", 1) {
        let frame = packet((ALICE, FROM), port, true);
        decided = scene
            .gate
            .admit_knock(&frame, LinkType::RawIp, scene.now, &mut scene.replays);
    }
    granted(decided);

    let mut decided = None;
    for port in ports("one", 2) {
        let mut frame = packet((ALICE, FROM), port, false);
        frame[3] += 1;
        frame[25] += 1;
        frame.push(b'x');
        decided = scene
            .gate
            .admit_knock(&frame, LinkType::RawIp, scene.now, &mut scene.replays);
        // SYN+ACK.
        let mut frame = packet((ALICE, FROM), port, true);
        frame[33] = 0x12;
        let other = scene
            .gate
            .admit_knock(&frame, LinkType::RawIp, scene.now, &mut scene.replays);
        assert!(other.is_none());
    }
    assert!(decided.is_none());
    assert_eq!(scene.gate.counters().sequences_begun, 1);
}

#[test]
fn the_order_of_the_packets_behind_the_first_and_duplicates_do_not_matter() {
    let mut scene = scene(TAKES);
    let mut knocks = ports("one", 1);
    knocks[1..].reverse();
    knocks[1..].swap(3, 9);
    let twice: Vec<u16> = knocks.iter().flat_map(|port| [*port; 2]).collect();

    // The last one is there once when it is decided.
    let (last, others) = twice.split_last().unwrap();
    let decided = others.iter().map(|port| scene.knock((ALICE, FROM), *port));
    granted(decided.collect::<Vec<_>>().into_iter().flatten().last());

    assert!(scene.knock((ALICE, FROM), *last).is_none());
}

#[test]
fn a_packet_that_is_missing_or_late_opens_nothing() {
    for missing in 0..17 {
        let mut scene = scene(TAKES);
        let mut knocks = ports("one", 1);
        knocks.remove(missing);
        assert!(scene.knocks(&knocks).is_none(), "{missing}");
    }
    let mut scene = scene(TAKES);
    let knocks = ports("one", 1);
    let (last, others) = knocks.split_last().unwrap();
    assert!(scene.knocks(others).is_none());
    scene.later(11);
    assert!(scene.knock((ALICE, FROM), *last).is_none());
}

#[test]
fn forged_packets_from_another_port_of_the_same_address_spoil_nothing() {
    let mut scene = scene(TAKES);
    let mut decided = None;
    for (number, port) in (0_u16..).zip(ports("one", 1)) {
        decided = scene.knock((ALICE, FROM), port).or(decided);
        for other in 0..8 {
            let forged = 0x8000 | ((number * 1_999 + other * 4_099) % 0x8000);
            assert!(
                scene
                    .knock_at_once((ALICE, 50_000 + other), forged)
                    .is_none()
            );
        }
    }
    granted(decided);
}

#[test]
fn behind_a_nat_that_changes_ports_a_sequence_completes_all_the_same() {
    let mut scene = scene(TAKES);
    let mut decided = None;
    for (from, port) in (FROM..).zip(ports("one", 1)) {
        decided = scene.knock((ALICE, from), port);
    }
    granted(decided);
}

#[test]
fn whoever_sees_the_packets_can_spoil_a_sequence_and_the_next_one_succeeds() {
    let mut scene = scene(TAKES);
    let knocks = ports("one", 1);
    let forged = knocks[5] ^ 1;
    for (number, port) in knocks.iter().enumerate() {
        assert!(scene.knock((ALICE, FROM), *port).is_none(), "{number}");
        if number >= 5 {
            assert!(scene.knock((ALICE, FROM), forged).is_none());
        }
    }
    assert_eq!(scene.gate.counters().sequences_failed, 1);
    scene.later(11);

    granted(scene.knocks(&ports("one", 2)));
}

#[test]
fn a_sequence_once_more_is_a_replay_and_from_elsewhere_it_is_nothing() {
    let mut scene = scene(TAKES);
    granted(scene.knocks(&ports("one", 1)));

    let refused = scene.knocks(&ports("one", 1)).unwrap();
    assert_eq!(reason(refused), Reason::Replayed);
    for port in ports("one", 1) {
        assert!(scene.knock(("203.0.113.66", FROM), port).is_none());
    }
    assert_eq!(scene.gate.counters().sequences_failed, 1);
}

#[test]
fn for_a_key_that_other_hosts_have_too_the_fleet_is_asked_first() {
    let mut scene = scene(TAKES);
    let now = at(NOW_SECS);
    let text = policy(&stanza("one", TAKES));
    let shared = CompiledPolicy::new(&text, None, 7, SharedKeys::AllStatic, now).unwrap();
    scene.gate.replace(Arc::new(shared));

    let decided = scene.knocks(&ports("one", 1)).unwrap();

    let Decision::Claim(pending) = decided else {
        panic!("{decided:?}");
    };
    let refused = pending.lost("web-2");
    assert!(matches!(refused.reason, Reason::ReplayedElsewhere { .. }));
}

#[test]
fn who_is_not_of_this_minute_or_of_those_beside_it_begins_nothing() {
    let mut scene = scene(TAKES);
    for (ahead, begins) in [(0, 1), (60, 2), (-60, 3), (120, 3), (-120, 3), (3600, 3)] {
        let dated = NOW_SECS.checked_add_signed(ahead).unwrap();
        scene.knocks(&key("one").ports(&asks(Some("tcp/22"), dated), 1));
        assert_eq!(scene.gate.counters().sequences_begun, begins, "{ahead}");
    }
}

#[test]
fn a_message_of_a_sequence_is_as_old_as_any_other_may_be() {
    let settings = gate::Settings {
        ageing: Some(Duration::from_secs(30)),
        max_future: Duration::from_secs(30),
        ..gate::Settings::default()
    };
    let mut scene = Scene::with(&stanza("one", TAKES), settings);
    let decided = scene
        .knocks(&key("one").ports(&asks(None, NOW_SECS - 40), 1))
        .unwrap();

    let refused = reason(decided);

    assert!(
        matches!(refused, Reason::Stale { age_secs: 40, .. }),
        "{refused}"
    );
}

#[test]
fn a_stanza_takes_none_unless_it_says_so() {
    let mut scene = scene("OPEN_PORTS tcp/22");
    assert!(!scene.gate.wants_knocks());
    assert!(scene.knocks(&ports("one", 1)).is_none());

    // Nor does another one of the same key.
    let two = format!(
        "{}\n{}",
        stanza("one", "OPEN_PORTS tcp/22"),
        stanza("one", "OPEN_PORTS udp/53\nKNOCK_SEQUENCE Y")
    );
    scene.adopt(&two);
    let refused = reason(scene.knocks(&ports("one", 2)).unwrap());
    assert_eq!(
        refused,
        Reason::Denied(Denied::NotTaken(NotTaken::Sequence))
    );
    let udp = key("one").ports(&asks(Some("udp/53"), NOW_SECS), 3);
    granted(scene.knocks(&udp));
}

#[test]
fn a_sequence_must_be_bound_to_an_address_where_the_stanza_wants_one() {
    let mut scene = scene(&format!("{TAKES}\nREQUIRE_SOURCE_ADDRESS Y"));
    let unbound = SequenceMessage {
        address: None,
        ..asks(Some("tcp/22"), NOW_SECS)
    };
    let refused = reason(scene.knocks(&key("one").ports(&unbound, 1)).unwrap());
    assert_eq!(refused, Reason::Denied(Denied::SourceAddressRequired));

    granted(scene.knocks(&ports("one", 2)));
}

#[test]
fn a_flood_from_forged_addresses_does_not_stop_a_sequence_and_its_room_is_bounded() {
    let mut scene = scene(TAKES);
    let begin = key("one").begin(bucket(NOW_SECS));
    let mut flood = 0_u32;
    let mut decided = None;
    for port in ports("one", 1) {
        decided = scene.knock((ALICE, FROM), port);
        // Between two of her packets: ports by chance, and some that have guessed the beginning.
        for _ in 0..20_000 {
            flood += 1;
            let source = Ipv4Addr::from(0x0b00_0000 + flood).to_string();
            let any = 0x8000 | u16::try_from(flood.wrapping_mul(40_503) >> 4 & 0x7fff).unwrap();
            let port = if flood.is_multiple_of(500) {
                begin
            } else {
                any
            };
            assert!(scene.knock_at_once((&source, FROM), port).is_none());
        }
    }

    granted(decided);
}

#[test]
fn of_one_address_four_keys_have_room_and_no_more() {
    let words = ["one", "two", "three", "four", "five"];
    let text = words.map(|word| stanza(word, TAKES)).join("\n");
    let mut scene = Scene::new(&text);
    for word in words {
        let begin = key(word).begin(bucket(NOW_SECS));
        assert!(scene.knock((ALICE, FROM), begin).is_none());
    }

    assert_eq!(scene.gate.counters().sequences_begun, 4);
}
