//! Asking again for the same: one grant, open for as long as the later answer says.

use engine::{Kernel, Limits};
use fleet::{EventKind, Outcome};
use gate::SharedKeys;

use crate::connections::{begin, connection};
use crate::host::{Faults, Host, Partly, restarted};
use crate::packets::{OTHERS, PORTS_AND_COMMANDS, close_of, knock, knock_of};

#[test]
fn asking_again_for_the_same_extends_the_one_grant_and_the_record_says_so() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22,tcp/80", 20, 0));
    host.wait(10);

    host.arrive(1, &knock(2, "tcp/80,tcp/22", 30, 10));

    assert_eq!(host.live.len(), 1);
    host.check_all_is_open();
    let [first, second] = host.journal.as_slice() else {
        panic!("{:?}", host.journal);
    };
    assert_eq!(second.kind(), EventKind::GrantOpened);
    assert_eq!(second.reason, "refreshed");
    assert_eq!(second.grant_id, first.grant_id);
    assert_eq!(second.until_ms, first.until_ms + 20_000);
    assert_ne!(second.request_id, first.request_id);
    host.wait(29);
    assert_eq!(host.open_rules().len(), 2);
    host.wait(1);
    assert_eq!(host.open_rules(), Vec::<String>::new());
    assert_eq!(
        host.event(EventKind::GrantClosed).at_ms,
        host.journal[1].until_ms
    );
    let counters = host.engine.counters().engine;
    assert_eq!(
        (counters.opened, counters.refreshed, counters.closed),
        (1, 1, 1)
    );
}

#[test]
fn asking_again_for_less_changes_nothing_and_is_recorded_as_that() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 25, 0));

    host.arrive(1, &knock(2, "tcp/22", 5, 0));

    let [first, second] = host.journal.as_slice() else {
        panic!("{:?}", host.journal);
    };
    assert_eq!(second.until_ms, first.until_ms);
    assert_eq!(second.reason, "refreshed; it is open for longer already");
    host.wait(24);
    assert_eq!(host.open_rules().len(), 1);
    host.wait(1);
    assert_eq!(host.reasons(EventKind::GrantClosed), [""]);
}

#[test]
fn asking_twice_in_one_turn_opens_one_grant_for_the_longer_time() {
    for timeouts in [[5, 25], [25, 5]] {
        let mut host = Host::new();

        for (number, timeout) in (1..).zip(timeouts) {
            host.send(1, &knock(number, "tcp/22", timeout, 0));
        }
        host.turn();

        assert_eq!(host.live.len(), 1);
        assert_eq!(host.journal[0].grant_id, host.journal[1].grant_id);
        host.check_all_is_open();
        host.wait(24);
        assert_eq!(host.open_rules().len(), 1);
        host.wait(1);
        assert_eq!(host.kinds().len(), 3);
    }
}

#[test]
fn another_user_other_ports_and_another_address_have_grants_of_their_own() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 10, 0));

    host.arrive(1, &knock_of("bob", 2, "tcp/22", 20));
    host.arrive(1, &knock(3, "tcp/22,tcp/80", 20, 0));
    host.arrive(2, &knock(4, "tcp/22", 20, 0));

    assert_eq!(host.live.len(), 4);
    assert!(
        host.reasons(EventKind::GrantOpened)
            .iter()
            .all(|reason| reason.is_empty())
    );
}

#[test]
fn at_the_moment_at_which_it_ends_the_same_is_a_new_grant() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 10, 0));
    host.secs = 10;

    host.arrive(1, &knock(2, "tcp/22", 10, 10));

    assert_eq!(host.live.len(), 1);
    let opened: Vec<_> = host
        .journal
        .iter()
        .filter(|e| e.kind() == EventKind::GrantOpened)
        .collect();
    assert_ne!(opened[0].grant_id, opened[1].grant_id);
    assert_eq!(
        host.event(EventKind::GrantClosed).grant_id,
        opened[0].grant_id
    );
}

#[test]
fn what_cannot_be_recorded_extends_nothing_and_what_was_open_stays_so() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 20, 0));
    host.faults.commit = true;
    host.send(1, &knock(2, "tcp/22", 30, 0));
    host.send(1, &knock(3, "tcp/22", 30, 0));
    host.turn();

    host.faults.commit = false;
    host.wait(19);

    assert_eq!(host.open_rules().len(), 1);
    assert_eq!(host.reasons(EventKind::Refused).len(), 2);
    host.wait(1);
    assert_eq!(host.open_rules(), Vec::<String>::new());
    assert_eq!(
        host.event(EventKind::GrantClosed).at_ms,
        host.journal[0].until_ms
    );
}

#[test]
fn what_the_firewall_does_not_extend_ends_when_it_would_have_and_the_record_says_so() {
    for partly in [Partly::Nothing, Partly::Half, Partly::All] {
        let mut host = Host::new();
        host.arrive(1, &knock(1, "tcp/22,tcp/80", 10, 0));
        begin(&mut host, connection(1, 40_000, 22));
        host.faults.firewall = Some(partly);
        host.arrive(1, &knock(2, "tcp/22,tcp/80", 30, 0));

        host.faults.firewall = None;
        host.wait(1);

        host.check_all_is_open();
        assert_eq!((host.live.len(), host.cut.len()), (1, 0));
        let told = host.journal.last().unwrap();
        assert_eq!(told.reason, "not extended: made to fail");
        assert_eq!(told.outcome(), Outcome::Failure);
        assert_eq!(told.until_ms, host.journal[0].until_ms);
        host.wait(9);
        assert_eq!(host.open_rules(), Vec::<String>::new());
        let closed = host.event(EventKind::GrantClosed);
        assert_eq!(closed.at_ms, host.journal[0].until_ms);
        assert_eq!(host.engine.counters().engine.grants_open, 0);
    }
}

#[test]
fn one_revocation_takes_back_all_that_was_asked_for_again_and_its_sessions() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 10, 0));
    begin(&mut host, connection(1, 40_000, 22));
    host.wait(5);
    host.arrive(1, &knock(2, "tcp/22", 30, 5));
    begin(&mut host, connection(1, 40_001, 22));

    host.replace_policy(OTHERS, 5);

    assert_eq!(host.open_rules(), Vec::<String>::new());
    assert_eq!(
        host.cut,
        [connection(1, 40_000, 22), connection(1, 40_001, 22)]
    );
    assert_eq!(
        host.event(EventKind::GrantRevoked).grant_id,
        host.journal[0].grant_id
    );
    host.wait(60);
    assert!(host.live.is_empty() && host.living_on.is_empty());
}

#[test]
fn what_was_extended_is_found_after_a_restart_with_its_later_end_and_can_be_extended_again() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 10, 0));
    host.arrive(1, &knock(2, "tcp/22", 25, 0));
    let mut host = restarted(host);
    let saved = host.live.values().cloned().collect();
    let now = host.now();
    host.engine.recover(saved, Kernel::Unknown, &[], now);
    host.wait(20);
    assert_eq!(host.open_rules().len(), 1);

    host.arrive(1, &knock(3, "tcp/22", 30, 20));

    assert_eq!(host.live.len(), 1);
    assert_eq!(
        host.journal.last().unwrap().grant_id,
        host.journal[0].grant_id
    );
    host.wait(29);
    assert_eq!(host.open_rules().len(), 1);
    host.wait(1);
    assert_eq!(
        host.event(EventKind::GrantClosed).grant_id,
        host.journal[0].grant_id
    );
}

#[test]
fn a_host_that_is_full_still_extends_what_is_open() {
    let limits = Limits {
        grants_max: 1,
        ..Limits::default()
    };
    let mut host = Host::with(PORTS_AND_COMMANDS, SharedKeys::None, limits);
    host.arrive(1, &knock(1, "tcp/22", 10, 0));

    host.arrive(1, &knock(2, "tcp/22", 30, 0));
    host.arrive(2, &knock(3, "tcp/22", 30, 0));

    assert_eq!(host.event(EventKind::Refused).source, "192.0.2.2");
    host.wait(20);
    assert_eq!(host.open_rules(), ["192.0.2.1 tcp/22"]);
}

#[test]
fn what_is_closed_locked_or_revoked_in_the_turn_of_its_knock_is_not_opened() {
    type End = fn(&mut Host);
    let ends: [(&str, End); 3] = [
        ("closed by the user before it was opened", |host| {
            host.send(1, &close_of("alice", 3, "", false, 0));
        }),
        ("this host is locked: stolen", |host| {
            let now = host.now();
            host.engine.lock("stolen", now);
        }),
        ("policy generation 5 does not give it", |host| {
            let policy = crate::packets::compiled(OTHERS, 5, SharedKeys::None);
            let now = host.now();
            host.engine.replace_policy(policy, [5; 32], now);
        }),
    ];
    for (reason, end) in ends {
        let mut host = Host::new();
        host.send(1, &knock(1, "tcp/22", 10, 0));
        host.send(1, &knock(2, "tcp/22", 20, 0));

        end(&mut host);
        host.turn();

        assert_eq!(host.open_rules(), Vec::<String>::new(), "{reason}");
        let refused = host.reasons(EventKind::Refused);
        assert_eq!(refused.iter().filter(|it| **it == reason).count(), 2);
        let rest = "nothing to close: what was asked for at the same moment was not opened";
        assert!(refused.iter().all(|it| [reason, rest].contains(it)));
        assert!(host.live.is_empty());
        assert_eq!(host.engine.counters().engine.opened, 0);
    }
}

#[test]
fn at_every_operation_that_fails_what_is_asked_for_again_is_open_only_as_recorded() {
    for operation in 0..12 {
        let mut host = Host::new();
        host.faults = Faults {
            operation: Some(operation),
            ..Faults::default()
        };
        for number in 0..4_u64 {
            host.send(1, &knock(2 * number, "tcp/22", 10, 5 * number));
            host.send(1, &knock(2 * number + 1, "tcp/22", 15, 5 * number));
            host.turn();
            host.wait(5);
        }
        host.wait(30);
        // If the last commit was the one that failed.
        host.wait(1);

        assert_eq!(host.open_rules(), Vec::<String>::new(), "{operation}");
        assert!(host.live.is_empty(), "{operation}: {:?}", host.live);
    }
}
