//! REQUIRE_OS: what the sender's last SYN must have shown, and what strangers can do about it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use gate::{LinkType, Reason, SYN_WITHIN};
use policy::{Denied, NotTaken, OsSignatures};

use crate::support::{ALICE, HOST, NOW_SECS, Scene, keys, knock, message, reason, seal, stanza};

const SIGNATURES: &str = "\
[tcp:request]
label = s:unix:Linux:6.x
sig = *:64:0:*:*,*:mss,sok,ts,nop,ws:df,id+:0
label = s:win:Windows:10
sig = *:128:0:*:*,*:mss,nop,ws,nop,nop,sok:df,id+:0
";

/// Options of a SYN of Linux, and of one of Windows.
const LINUX: &[u8] = &[
    2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 10,
];
const WINDOWS: &[u8] = &[2, 4, 5, 180, 1, 3, 3, 8, 1, 1, 4, 2];

fn scene(rest: &str) -> Scene {
    let mut scene = Scene::new(&stanza("one", &format!("OPEN_PORTS tcp/22\n{rest}")));
    let signatures = OsSignatures::parse("os.fp", SIGNATURES).unwrap();
    scene.gate.set_os_signatures(Arc::new(signatures));
    scene
}

/// A SYN without a link header.
fn syn(source: IpAddr, (ttl, options): (u8, &[u8])) -> Vec<u8> {
    let tcp_len = 20 + u16::try_from(options.len()).unwrap();
    let mut packet = match (source, HOST.parse().unwrap()) {
        (IpAddr::V4(source), IpAddr::V4(host)) => {
            let [high, low] = (20 + tcp_len).to_be_bytes();
            let mut packet = vec![0x45, 0, high, low, 0x12, 0x34, 0x40, 0, ttl, 6, 0, 0];
            packet.extend(source.octets().iter().chain(&host.octets()));
            packet
        }
        (IpAddr::V6(source), _) => {
            let [high, low] = tcp_len.to_be_bytes();
            let mut packet = vec![0x60, 0, 0, 0, high, low, 6, ttl];
            packet.extend(source.octets().iter().chain(&Ipv6Addr::LOCALHOST.octets()));
            packet
        }
        (IpAddr::V4(_), IpAddr::V6(_)) => panic!("the host of these tests has an IPv4 address"),
    };
    let offset = u8::try_from(tcp_len / 4).unwrap() << 4;
    packet.extend([
        0x9c, 0x40, 0, 22, 0, 0, 0, 1, 0, 0, 0, 0, offset, 2, 0xfa, 0xf0, 0, 0, 0, 0,
    ]);
    packet.extend_from_slice(options);
    packet
}

fn shows(scene: &mut Scene, source: &str, fields: (u8, &[u8])) {
    let frame = syn(source.parse().unwrap(), fields);
    scene.gate.note_syn(&frame, LinkType::RawIp, scene.now);
}

#[track_caller]
fn not_taken(reason: Reason) -> NotTaken {
    let Reason::Denied(Denied::NotTaken(not_taken)) = reason else {
        panic!("{reason}");
    };
    not_taken
}

#[test]
fn a_message_is_granted_where_the_last_syn_shows_what_the_stanza_requires() {
    let mut scene = scene("REQUIRE_OS Linux");
    shows(&mut scene, ALICE, (60, LINUX));

    scene.granted(knock("one", 1));
    // Its last SYN counts, not its first.
    shows(&mut scene, ALICE, (120, WINDOWS));
    let refused = scene.refused(knock("one", 2));

    assert_eq!(
        refused.reason.to_string(),
        "REQUIRE_OS: the last SYN of 198.51.100.10 shows Windows 10 \
         (4:120+8:0:1460:mss*44,8:mss,nop,ws,nop,nop,sok:df,id+:0)"
    );
    assert!(refused.authentic.is_some());
}

#[test]
fn without_a_syn_within_the_time_the_message_is_refused_with_that_reason() {
    let mut scene = scene("REQUIRE_OS Linux");
    let within_secs = SYN_WITHIN.as_secs();
    let none = NotTaken::NoSyn {
        address: ALICE.parse().unwrap(),
        within_secs,
    };

    assert_eq!(not_taken(scene.refused(knock("one", 1)).reason), none);
    shows(&mut scene, "198.51.100.11", (60, LINUX));
    assert_eq!(not_taken(scene.refused(knock("one", 2)).reason), none);
    shows(&mut scene, ALICE, (60, LINUX));
    scene.later(within_secs);
    let at = |number, secs| seal(&message(number, NOW_SECS + secs), &keys("one"));
    scene.granted(at(3, within_secs));
    scene.later(1);
    assert_eq!(
        not_taken(scene.refused(at(4, within_secs + 1)).reason),
        none
    );
}

#[test]
fn a_system_that_no_signature_names_meets_no_stanza_and_without_signatures_none_is_met() {
    let mut scene = scene("REQUIRE_OS_REGEX .*");
    shows(&mut scene, ALICE, (60, &[2, 4, 5, 180]));
    let said = scene.refused(knock("one", 1)).reason.to_string();
    assert!(
        said.contains("shows what no signature of this host names (4:60+4:"),
        "{said}"
    );

    shows(&mut scene, ALICE, (60, LINUX));
    scene.granted(knock("one", 2));
    scene.gate.set_os_signatures(Arc::default());
    let reason = scene.refused(knock("one", 3)).reason;
    assert!(matches!(not_taken(reason), NotTaken::OtherOs { .. }));
}

#[test]
fn what_would_be_refused_anyway_is_refused_for_that() {
    let mut scene = scene("RESTRICT_PORTS tcp/22\nREQUIRE_OS Linux");

    let reason = reason(scene.send(knock("one", 1)));

    assert!(
        matches!(reason, Reason::Denied(Denied::PortRestricted(_))),
        "{reason}"
    );
}

#[test]
fn what_was_granted_stays_so_when_the_syn_is_old() {
    let mut scene = scene("REQUIRE_OS Linux");
    shows(&mut scene, ALICE, (60, LINUX));
    let grant = scene.granted(knock("one", 1));

    scene.later(SYN_WITHIN.as_secs() + 60);

    assert!(scene.gate.upholds(&grant, scene.now));
}

#[test]
fn where_no_stanza_asks_no_syn_is_kept() {
    let mut scene = scene("");
    assert!(!scene.gate.wants_syns());
    shows(&mut scene, ALICE, (60, LINUX));
    assert_eq!(scene.gate.counters().syns, 0);

    let asks = "OPEN_PORTS tcp/22\nREQUIRE_OS Linux";
    scene.adopt(&stanza("one", asks).replace("ANY", "198.51.100.0/24"));

    assert!(scene.gate.wants_syns());
    // From where no such stanza lets anybody in, nothing is kept either.
    shows(&mut scene, "203.0.113.1", (60, LINUX));
    assert_eq!(scene.gate.counters().syns, 0);
    shows(&mut scene, ALICE, (60, LINUX));
    assert_eq!(scene.gate.counters().syns, 1);
    scene.granted(knock("one", 1));
}

/// SYNs of so many forged addresses.
fn flood(scene: &mut Scene, count: u32) {
    for number in 0..count {
        let source = IpAddr::from(Ipv4Addr::from(0x0b00_0000 + number));
        let frame = syn(source, (120, WINDOWS));
        scene.gate.note_syn(&frame, LinkType::RawIp, scene.now);
    }
}

#[test]
fn a_flood_of_forged_syns_cannot_push_out_those_of_an_address_that_is_proven() {
    let mut scene = scene("REQUIRE_OS Linux");
    shows(&mut scene, ALICE, (60, LINUX));
    scene.now.steady += Duration::from_millis(1);
    // As many as there is room for push out whoever was not proven.
    flood(&mut scene, 200_000);
    let reason = scene.refused(knock("one", 1)).reason;
    assert!(matches!(not_taken(reason), NotTaken::NoSyn { .. }));

    // That was authentic, so her next try succeeds under the same flood.
    shows(&mut scene, ALICE, (60, LINUX));
    flood(&mut scene, 200_000);

    scene.granted(knock("one", 2));
}

#[test]
fn a_network_of_ipv6_pushes_out_none_but_its_own() {
    let mut scene = scene("REQUIRE_OS Linux");
    let alice = "2001:db8:1::10";
    shows(&mut scene, alice, (60, LINUX));
    for number in 0..100_000_u128 {
        let source = Ipv6Addr::from(0x2001_0db8_0002_u128 << 80 | number << 40 | number);
        let frame = syn(source.into(), (120, WINDOWS));
        scene.gate.note_syn(&frame, LinkType::RawIp, scene.now);
    }

    let granted = scene.send_from(alice, knock("one", 1));

    crate::rules::granted("knock", granted);
}

#[test]
fn whatever_the_bytes_nothing_but_a_syn_to_this_host_is_kept() {
    let mut scene = scene("REQUIRE_OS Linux");
    let whole = syn(ALICE.parse().unwrap(), (60, LINUX));
    for end in 0..whole.len() {
        scene
            .gate
            .note_syn(&whole[..end], LinkType::RawIp, scene.now);
    }
    let changed = |at: usize, byte: u8| {
        let mut packet = whole.clone();
        packet[at] = byte;
        packet
    };
    // SYN+ACK, FIN, RST, ACK; a fragment, and the first of one; UDP.
    let others = [
        (33, 0x12),
        (33, 0x01),
        (33, 0x04),
        (33, 0x10),
        (7, 1),
        (6, 0x20),
        (9, 17),
    ];
    for (at, byte) in others {
        let packet = changed(at, byte);
        scene.gate.note_syn(&packet, LinkType::RawIp, scene.now);
    }
    assert_eq!(scene.gate.counters().syns, 0);

    scene.gate.note_syn(&whole, LinkType::RawIp, scene.now);
    assert_eq!(scene.gate.counters().syns, 1);
}

#[test]
fn options_that_cannot_be_read_are_a_quirk_and_nothing_else() {
    let read = |options: &[u8]| {
        let packet = syn(ALICE.parse().unwrap(), (60, options));
        gate::syn_of(&packet, LinkType::RawIp)
            .unwrap()
            .1
            .to_string()
    };
    // As p0f shows the same packets.
    for (options, expected) in [
        (&[0, 0, 0, 0][..], "eol+3:df,id+:0"),
        (&[0, 0, 7, 0], "eol+3:df,id+,opt+:0"),
        (&[2, 4, 5, 180, 99, 2, 1, 1], "mss,?99,nop,nop:df,id+:0"),
        (&[2, 3, 5, 180], "mss:df,id+,bad:0"),
        (&[1, 1, 1, 2], "nop,nop,nop,mss:df,id+,bad:0"),
        (&[3, 3, 15, 0], "ws,eol+0:df,id+,exws:0"),
        (
            &[8, 10, 0, 0, 0, 0, 0, 0, 0, 9, 1, 1],
            "ts,nop,nop:df,id+,ts1-,ts2+:0",
        ),
        (&[5, 9, 1, 1], "sack:df,id+,bad:0"),
    ] {
        let shown = read(options);
        assert!(
            shown.ends_with(&format!(":{expected}")),
            "{options:?}: {shown}"
        );
    }
}
