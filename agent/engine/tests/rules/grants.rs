//! Opening, closing, and what the record says of it.

use engine::{Obstacle, Obstacles, Way};
use fleet::{EventKind, Outcome};

use crate::host::{Faults, Host, Partly};
use crate::packets::knock;

#[test]
fn a_grant_is_recorded_then_opened_and_closed_in_the_record_at_its_end_and_not_before() {
    let mut host = Host::new();

    host.arrive(1, &knock(1, "tcp/22", 0, 0));

    assert_eq!(host.open_rules(), ["192.0.2.1 tcp/22"]);
    host.wait(29);
    assert_eq!(host.kinds(), [EventKind::GrantOpened]);
    host.wait(1);
    assert_eq!(
        host.kinds(),
        [EventKind::GrantOpened, EventKind::GrantClosed]
    );
    assert_eq!(host.journal[1].at_ms, host.journal[0].until_ms);
    assert_eq!(host.engine.counters().engine.grants_open, 0);
}

#[test]
fn a_grant_that_the_hosts_own_rules_would_drop_is_opened_and_recorded_as_blocked() {
    let mut host = Host::new();
    let first = "192.0.2.1".parse().unwrap();
    let obstacle = Obstacle {
        from: vec![(first, first)],
        is_general: false,
        to: vec!["tcp/22".parse().unwrap()],
        way: Way::Direct,
        is_certain: true,
        text: "inet filter input: rule 7".to_owned(),
    };
    host.engine
        .note_obstacles(Obstacles::new(vec![obstacle], Vec::new()));

    host.arrive(1, &knock(1, "tcp/22", 0, 0));
    host.arrive(2, &knock(2, "tcp/22", 0, 0));

    assert_eq!(host.open_rules(), ["192.0.2.1 tcp/22", "192.0.2.2 tcp/22"]);
    assert_eq!(
        host.kinds(),
        [EventKind::GrantBlocked, EventKind::GrantOpened]
    );
    let blocked = &host.journal[0];
    assert_eq!(
        (blocked.reason.as_str(), blocked.outcome()),
        ("dropped by inet filter input: rule 7", Outcome::Failure)
    );
    assert!(!blocked.grant_id.is_empty() && blocked.until_ms > 0);
    host.wait(30);
    assert_eq!(host.kinds()[2..], [EventKind::GrantClosed; 2]);
}

#[test]
fn opened_and_closed_of_a_grant_carry_its_id_and_the_packet_that_caused_it() {
    let mut host = Host::new();

    host.send(1, &knock(1, "tcp/22", 0, 0));
    host.send(2, &knock(2, "tcp/22", 0, 0));
    host.turn();
    host.wait(30);

    let events = &host.journal;
    assert_eq!(events.len(), 4);
    for opened in &events[..2] {
        let closed: Vec<_> = events[2..]
            .iter()
            .filter(|closed| closed.grant_id == opened.grant_id)
            .collect();
        assert_eq!(closed.len(), 1);
        assert_eq!(closed[0].source, opened.source);
        assert_eq!(closed[0].request_id, opened.request_id);
        assert_eq!(opened.request_id, opened.replay_digest[..32]);
        assert_eq!(opened.outcome(), Outcome::Success);
    }
    assert_ne!(events[0].grant_id, events[1].grant_id);
    assert_eq!(events[0].grant_id.len(), 32);
}

#[test]
fn re_authorising_for_less_time_shortens_nothing() {
    let mut host = Host::new();

    host.arrive(1, &knock(1, "tcp/22", 25, 0));
    host.arrive(1, &knock(2, "tcp/22", 5, 0));
    host.wait(24);

    assert_eq!(host.open_rules(), ["192.0.2.1 tcp/22"]);
    assert_eq!(host.live.len(), 1);
}

#[test]
fn of_two_grants_for_one_port_in_one_turn_the_later_end_holds() {
    for timeouts in [[5, 25], [25, 5]] {
        let mut host = Host::new();

        for (number, timeout) in (1..).zip(timeouts) {
            host.send(1, &knock(number, "tcp/22", timeout, 0));
        }
        host.turn();
        host.wait(24);

        assert_eq!(host.open_rules(), ["192.0.2.1 tcp/22"]);
        host.check_all_is_open();
    }
}

#[test]
fn a_packet_that_two_captures_show_is_granted_once_and_alarms_nobody() {
    let mut host = Host::new();
    let packet = knock(1, "tcp/22", 0, 0);

    for _ in 0..3 {
        host.arrive(1, &packet);
    }

    assert_eq!(host.open_rules(), ["192.0.2.1 tcp/22"]);
    assert_eq!(host.kinds(), [EventKind::GrantOpened]);
    assert_eq!(host.engine.counters().gate.duplicates, 2);
}

#[test]
fn nothing_opens_while_the_disk_takes_nothing_and_the_packet_is_spent() {
    let mut host = Host::new();
    let packet = knock(1, "tcp/22", 0, 0);
    host.faults.commit = true;

    host.arrive(1, &packet);

    assert_eq!(host.open_rules(), Vec::<String>::new());
    host.faults.commit = false;
    // Later than a second capture would show the same packet.
    host.wait(3);
    host.arrive(1, &packet);
    host.arrive(2, &knock(2, "tcp/22", 0, 0));
    assert_eq!(host.open_rules(), ["192.0.2.2 tcp/22"]);
    let expected = [
        EventKind::Refused,
        EventKind::Replay,
        EventKind::GrantOpened,
    ];
    assert_eq!(host.kinds(), expected);
    assert_eq!(host.journal[0].grant_id, "");
    assert_eq!(host.engine.counters().engine.not_recorded, 1);
}

#[test]
fn a_grant_that_the_firewall_does_not_open_is_recorded_as_closed_once_that_is_certain() {
    for partly in [Partly::Nothing, Partly::Half, Partly::All] {
        let mut host = Host::new();
        host.faults.firewall = Some(partly);

        host.arrive(1, &knock(1, "tcp/22,tcp/80", 0, 0));
        assert_eq!(host.kinds(), [EventKind::GrantOpened], "{partly:?}");
        host.faults.firewall = None;
        host.wait(1);

        assert_eq!(host.open_rules(), Vec::<String>::new());
        assert_eq!(
            host.reasons(EventKind::GrantClosed),
            ["not opened: made to fail"]
        );
    }
}

#[test]
fn a_grant_that_the_firewall_did_not_open_is_closed_as_a_failure_however_it_ends() {
    type HowItEnds = fn(&mut Host);
    let ends: [(&str, HowItEnds); 3] = [
        ("closed at the second attempt", |host| {
            host.faults.firewall = None;
            host.wait(1);
        }),
        ("closed by its time", |host| host.wait(30)),
        ("flushed when the agent stops", |host| {
            host.faults.firewall = None;
            let now = host.now();
            host.engine.stop(true, now);
            host.turn();
        }),
    ];
    for (name, end) in ends {
        let mut host = Host::new();
        host.faults.firewall = Some(Partly::Half);
        host.arrive(1, &knock(1, "tcp/22,tcp/80", 0, 0));

        end(&mut host);

        let closed = &host.journal[1];
        assert_eq!(closed.kind(), EventKind::GrantClosed, "{name}");
        assert_eq!(closed.outcome(), Outcome::Failure, "{name}");
        assert_eq!(closed.reason, "not opened: made to fail", "{name}");
        let counters = host.engine.counters().engine;
        assert_eq!((counters.not_opened, counters.closed), (1, 0), "{name}");
    }
}

#[test]
fn a_failure_to_lengthen_leaves_the_other_grant_its_own_time() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 10, 0));
    host.faults = Faults {
        firewall: Some(Partly::All),
        ..Faults::default()
    };

    host.arrive(1, &knock(2, "tcp/22", 30, 0));
    host.faults = Faults::default();
    host.wait(1);

    assert_eq!(host.live.len(), 1);
    host.check_all_is_open();
    host.wait(9);
    assert_eq!(host.open_rules(), Vec::<String>::new());
}

#[test]
fn stopping_closes_what_is_open_and_says_so() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 0, 0));
    let now = host.now();

    host.engine.stop(true, now);
    host.turn();

    assert_eq!(host.open_rules(), Vec::<String>::new());
    assert_eq!(
        host.kinds()[1..],
        [EventKind::GrantClosed, EventKind::AgentStopped]
    );
}

#[test]
fn a_stop_that_cannot_close_leaves_the_grants_recorded_as_open() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 0, 0));
    host.faults.firewall = Some(Partly::Nothing);
    let now = host.now();

    host.engine.stop(true, now);
    host.turn();

    assert_eq!(host.live.len(), 1);
    assert_eq!(host.kinds()[1..], [EventKind::AgentStopped]);
}

#[test]
fn a_firewall_that_others_have_emptied_gets_back_what_should_be_open() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 0, 0));
    host.kernel.clear();
    host.faults.firewall = Some(Partly::Nothing);
    let now = host.now();

    host.engine.firewall_drifted(Some("gone".to_owned()), now);
    host.turn();
    assert_eq!(host.open_rules(), Vec::<String>::new());
    host.faults.firewall = None;
    host.wait(1);

    host.check_all_is_open();
    assert_eq!(host.open_rules().len(), 1);
    assert_eq!(
        host.published.last().unwrap().drift.as_deref(),
        Some("gone")
    );
}

#[test]
fn a_grant_that_has_ended_before_its_commit_opens_nothing_and_is_recorded_as_closed() {
    let mut host = Host::new();
    host.send(1, &knock(1, "tcp/22", 1, 0));
    host.secs += 1;

    host.commit_and_carry_out();

    assert_eq!(host.open_rules(), Vec::<String>::new());
    host.turn();
    assert_eq!(
        host.kinds(),
        [EventKind::GrantOpened, EventKind::GrantClosed]
    );
}

#[test]
fn every_event_says_how_far_the_clock_is_ahead_once_that_is_known() {
    let mut host = Host::new();

    host.arrive(1, &knock(1, "tcp/22", 0, 0));
    host.engine.note_clock_offset(-250);
    host.wait(30);

    let offsets: Vec<_> = host.journal.iter().map(|e| e.clock_offset_ms).collect();
    assert_eq!(offsets, [None, Some(-250)]);
}
