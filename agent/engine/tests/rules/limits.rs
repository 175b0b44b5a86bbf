//! Bounds: of grants, of records that wait, of what strangers leave.

use std::net::IpAddr;
use std::sync::Arc;

use engine::{Capabilities, Limits};
use fleet::EventKind;
use gate::{Addressees, Datagram, HostAddresses, SharedKeys};
use policy::Networks;

use crate::host::{Faults, Host, Partly, datagram};
use crate::packets::{PORTS_AND_COMMANDS, knock, knock_of};

#[test]
fn more_grants_than_the_limit_are_refused_and_recorded_also_in_one_batch() {
    let limits = Limits {
        grants_max: 2,
        ..Limits::default()
    };
    let mut host = Host::with(PORTS_AND_COMMANDS, SharedKeys::None, limits);

    for source in 1..=3 {
        host.send(source, &knock(source.into(), "tcp/22", 0, 0));
    }
    host.turn();

    assert_eq!(host.open_rules().len(), 2);
    assert_eq!(
        host.reasons(EventKind::Refused),
        ["too many grants are open on this host"]
    );
    host.wait(30);
    host.arrive(4, &knock(4, "tcp/22", 0, 30));
    assert_eq!(host.open_rules().len(), 1);
}

#[test]
fn knocks_beyond_the_limit_of_grants_are_counted_not_written_down_one_by_one() {
    let limits = Limits {
        grants_max: 2,
        ..Limits::default()
    };
    let mut host = Host::with(PORTS_AND_COMMANDS, SharedKeys::None, limits);

    for number in 1..=1_000 {
        let user = format!("user-{number}");
        host.send(1, &knock_of(&user, number, "tcp/22", 0));
    }
    host.turn();
    host.wait(60);

    let of_refused = |event: &&fleet::Event| event.kind() == EventKind::Refused;
    let refused = host.journal.iter().filter(of_refused);
    assert_eq!(refused.clone().count(), 257);
    let in_all: u64 = refused.map(|event| event.count.max(1)).sum();
    assert_eq!(in_all, 998);
}

#[test]
fn a_disk_that_takes_nothing_for_long_is_no_memory_that_grows_and_what_is_lost_is_counted() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 0, 0));
    host.faults.commit = true;
    let now = host.now();
    for _ in 0..11_000 {
        host.engine.firewall_drifted(Some("gone".to_owned()), now);
    }

    host.wait(30);
    host.faults.commit = false;
    host.wait(1);

    let total: u64 = host.journal.iter().map(|event| event.count).sum();
    assert_eq!(total, 11_002);
    assert_eq!(host.journal.len(), 10_003);
    assert_eq!(host.kinds()[10_001], EventKind::GrantClosed);
    assert_eq!(host.journal[10_001].count, 1);
    let lost = &host.journal[10_002];
    assert_eq!((lost.kind(), lost.count), (EventKind::Noise, 1_000));
    assert_eq!(lost.reason, "records dropped while the disk took none");
    assert!(host.live.is_empty());
    assert_eq!(host.engine.counters().engine.records_lost, 1_000);
}

#[test]
fn a_grant_that_could_not_be_recorded_or_opened_takes_no_place_of_the_limit() {
    let limits = Limits {
        grants_max: 2,
        ..Limits::default()
    };
    let commit = Faults {
        commit: true,
        ..Faults::default()
    };
    let firewall = Faults {
        firewall: Some(Partly::Nothing),
        ..Faults::default()
    };
    for faults in [commit, firewall] {
        let mut host = Host::with(PORTS_AND_COMMANDS, SharedKeys::None, limits);
        host.faults = faults;
        for source in 1..=2 {
            host.arrive(source, &knock(source.into(), "tcp/22", 0, 0));
        }
        host.faults = Faults::default();
        host.wait(1);

        for source in 3..=4 {
            host.arrive(source, &knock(source.into(), "tcp/22", 0, 1));
        }

        assert_eq!(host.open_rules().len(), 2, "{faults:?}");
    }
}

#[test]
fn a_firewall_that_neither_opens_nor_closes_has_no_more_grants_to_retry_than_the_limit() {
    let limits = Limits {
        grants_max: 2,
        ..Limits::default()
    };
    let mut host = Host::with(PORTS_AND_COMMANDS, SharedKeys::None, limits);
    host.faults.firewall = Some(Partly::Nothing);

    for source in 1..=5 {
        host.arrive(source, &knock(source.into(), "tcp/22", 0, 0));
        host.wait(1);
    }

    assert_eq!(host.live.len(), 2);
    assert_eq!(host.engine.counters().engine.not_opened, 2);
    assert_eq!(host.engine.counters().engine.over_limit, 3);
    host.faults.firewall = None;
    host.wait(1);
    for source in 6..=8 {
        host.arrive(source, &knock(source.into(), "tcp/22", 0, 6));
    }
    assert_eq!(host.open_rules().len(), 2);
}

#[test]
fn a_grant_that_comes_while_ten_thousand_records_wait_is_kept_and_opened() {
    let limits = Limits {
        grants_max: 1,
        ..Limits::default()
    };
    let mut host = Host::with(PORTS_AND_COMMANDS, SharedKeys::None, limits);
    let now = host.now();
    for _ in 0..10_500 {
        host.engine.firewall_drifted(Some("gone".to_owned()), now);
    }
    let batch = host.engine.take_batch();
    host.send(1, &knock(1, "tcp/22", 0, 0));
    let Err((not_committed, ())) = batch.commit(|_| Err(())) else {
        panic!("committed")
    };
    host.engine.not_committed(not_committed, now);

    host.turn();

    assert_eq!(host.open_rules(), ["192.0.2.1 tcp/22"]);
    assert_eq!(host.engine.counters().engine.records_lost, 500);
    host.wait(30);
    host.arrive(2, &knock(2, "tcp/22", 0, 30));
    assert_eq!(host.open_rules(), ["192.0.2.2 tcp/22"]);
}

#[test]
fn what_is_said_while_a_batch_is_under_way_is_recorded_after_it_whether_or_not_that_fails() {
    let mut host = Host::new();
    let now = host.now();
    for fails in [true, false] {
        host.engine.firewall_drifted(Some("first".to_owned()), now);
        let batch = host.engine.take_batch();
        host.engine.firewall_drifted(Some("second".to_owned()), now);

        match batch.commit(|_| if fails { Err(()) } else { Ok(()) }) {
            Ok(committed) => {
                assert_eq!(committed.new_records().count(), 1);
                host.engine.committed(committed, now);
            }
            Err((not_committed, ())) => {
                assert_eq!(not_committed.new_records().count(), 1);
                host.engine.not_committed(not_committed, now);
            }
        }

        let batch = host.engine.take_batch();
        let reasons: Vec<_> = batch.records().map(|r| r.event().reason.clone()).collect();
        let expected: &[&str] = if fails {
            &["first", "second"]
        } else {
            &["second"]
        };
        assert_eq!(reasons, expected);
        let Ok(committed) = batch.commit(|_| Ok::<(), ()>(())) else {
            panic!("not committed")
        };
        assert_eq!(committed.new_records().count(), 1);
    }
}

#[test]
fn what_the_packet_filter_cannot_hold_is_refused_by_name_before_it_is_recorded_as_open() {
    let only_v4 = Capabilities {
        ipv6: false,
        ..Capabilities::ALL
    };
    let limits = Limits::default();
    let mut host = Host::on(only_v4, PORTS_AND_COMMANDS, SharedKeys::None, limits);

    let source = "2001:db8::7".parse().unwrap();
    host.send_from(source, &knock(1, "tcp/22", 0, 0));
    host.turn();

    assert_eq!(host.kinds(), [EventKind::Refused]);
    assert!(host.journal[0].reason.contains("has no IPv6"));
    assert_eq!(host.open_rules(), Vec::<String>::new());
}

#[test]
fn strangers_leave_a_count_at_the_end_of_the_minute_and_nothing_else() {
    let mut host = Host::new();

    for number in 0..100 {
        host.arrive(9, &format!("{number:0>200}"));
    }
    assert_eq!(host.journal.len(), 0);
    host.wait(60);

    assert_eq!(host.kinds(), [EventKind::Noise]);
    assert_eq!(host.journal[0].count, 100);
}

#[test]
fn packets_that_the_captures_lost_are_recorded_once() {
    let mut host = Host::new();

    host.engine.packets_lost(7);
    host.wait(60);
    host.engine.packets_lost(7);
    host.wait(60);
    host.engine.packets_lost(9);
    host.wait(60);

    let lost: Vec<_> = host.journal.iter().map(|event| event.count).collect();
    assert_eq!(lost, [7, 2]);
}

#[test]
fn frames_that_are_not_for_us_are_counted_by_what_they_are() {
    let mut host = Host::new();
    let (now, mut replays) = (host.now(), gate::MemoryReplayLog::default());

    for frame in [&[0_u8; 60][..], &[0x45; 3]] {
        host.engine
            .frame(frame, gate::LinkType::Ethernet, now, &mut replays);
    }

    let gate = host.engine.counters().gate;
    assert_eq!(gate.not_ip + gate.damaged, 2);
    let named: Vec<_> = host.engine.counters().named().collect();
    assert!(named.contains(&("received", 0)) && named.contains(&("grants_open", 0)));
}

#[test]
fn what_a_socket_receives_that_was_sent_to_many_is_counted_and_grants_nothing() {
    let own = IpAddr::from([192, 0, 2, 100]);
    for (destination, grants) in [
        (own, 1),
        (IpAddr::from([192, 0, 2, 255]), 0),
        (IpAddr::from([255, 255, 255, 255]), 0),
        (IpAddr::from([224, 0, 0, 1]), 0),
        ("::ffff:192.0.2.255".parse().unwrap(), 0),
        ("ff02::1".parse().unwrap(), 0),
    ] {
        let mut host = Host::new();
        host.engine
            .set_addressees(Addressees::Host(Arc::new(HostAddresses {
                own: [own].into(),
                accepted: Networks::Only(Box::default()),
            })));
        let (now, mut replays) = (host.now(), gate::MemoryReplayLog::default());
        let packet = knock(1, "tcp/22", 30, 0);
        let datagram = Datagram {
            destination,
            ..datagram(IpAddr::from([192, 0, 2, 1]), &packet)
        };

        host.engine.datagram(&datagram, now, &mut replays);
        host.turn();

        assert_eq!(host.open_rules().len(), grants, "{destination}");
    }
}
