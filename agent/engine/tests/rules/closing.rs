//! What a user closes before its time: hers, all of it, and nothing else.

use engine::{Kernel, Limits, SavedGrant};
use fleet::{EventKind, Outcome};
use gate::SharedKeys;

use crate::connections::{begin, connection, only};
use crate::host::{Host, Partly, restarted};
use crate::packets::{PORTS_AND_COMMANDS, close_of, close_under, keys, knock, knock_of};

#[test]
fn whoever_opened_closes_before_its_time_and_the_record_says_so() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22,tcp/80", 0, 0));
    host.wait(5);

    host.arrive(1, &close_of("alice", 2, "", false, 5));

    assert_eq!(host.open_rules(), Vec::<String>::new());
    assert!(host.live.is_empty());
    let closed = host.event(EventKind::GrantClosed);
    assert_eq!(closed.reason, "closed by the user");
    assert_eq!(closed.grant_id, host.journal[0].grant_id);
    assert_ne!(closed.request_id, host.journal[0].request_id);
    assert_eq!(closed.outcome(), Outcome::Success);
    host.wait(60);
    assert_eq!(host.journal.len(), 2);
}

#[test]
fn what_is_named_is_closed_with_all_that_its_grant_opened_and_other_grants_stay() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 0, 0));
    host.arrive(1, &knock(2, "tcp/80", 0, 0));

    host.arrive(1, &close_of("alice", 3, "tcp/70-80", false, 0));

    assert_eq!(host.open_rules(), ["192.0.2.1 tcp/22"]);
}

#[test]
fn neither_another_user_nor_another_address_nor_another_key_closes_anything() {
    let access =
        format!("{PORTS_AND_COMMANDS}NAME other\nSOURCE ANY\nKEY other\nHMAC_KEY other-hmac\n");
    let mut host = Host::with(&access, SharedKeys::None, Limits::default());
    host.arrive(1, &knock(1, "tcp/22", 0, 0));
    host.arrive(1, &knock_of("bob", 2, "tcp/80", 0));

    host.arrive(1, &close_of("carol", 3, "", true, 0));
    host.arrive(2, &close_of("alice", 4, "", true, 0));
    host.arrive(1, &close_under(&keys("other"), 5));
    host.arrive(1, &close_under(&keys("foreign"), 6));

    assert_eq!(host.open_rules().len(), 2);
    assert_eq!(
        host.reasons(EventKind::Refused),
        [
            "nothing to close: nothing of this user is open for 192.0.2.1",
            "nothing to close: nothing of this user is open for 192.0.2.2",
            "nothing to close: nothing of this user is open for 192.0.2.1",
        ]
    );
    host.arrive(1, &close_of("bob", 7, "", false, 0));
    assert_eq!(host.open_rules(), ["192.0.2.1 tcp/22"]);
}

#[test]
fn a_message_that_closes_is_good_once() {
    let mut host = Host::new();
    let closing = close_of("alice", 2, "", false, 0);
    host.arrive(1, &knock(1, "tcp/22", 0, 0));
    host.arrive(1, &closing);
    host.arrive(1, &knock(3, "tcp/22", 0, 0));
    host.wait(5);

    host.arrive(1, &closing);

    assert_eq!(host.open_rules(), ["192.0.2.1 tcp/22"]);
    assert_eq!(host.event(EventKind::Replay).user, "alice");
}

#[test]
fn what_somebody_else_holds_open_stays_open_for_her_time() {
    let mut host = Host::new();
    host.arrive(1, &knock_of("bob", 1, "tcp/22", 10));
    host.arrive(1, &knock(2, "tcp/22", 25, 0));

    host.arrive(1, &close_of("alice", 3, "", false, 0));

    assert_eq!(host.open_rules(), ["192.0.2.1 tcp/22"]);
    host.check_all_is_open();
    host.wait(10);
    assert_eq!(host.open_rules(), Vec::<String>::new());
}

#[test]
fn sessions_outlive_a_close_unless_it_asks_to_end_them_and_then_those_of_ended_grants_end_too() {
    for cut in [false, true] {
        let mut host = Host::new();
        host.arrive(1, &knock(1, "tcp/80", 5, 0));
        begin(&mut host, connection(1, 40_000, 80));
        host.wait(10);
        host.arrive(1, &knock(2, "tcp/22", 25, 10));
        begin(&mut host, connection(1, 40_001, 22));

        host.arrive(1, &close_of("alice", 3, "", cut, 10));

        assert_eq!(host.open_rules(), Vec::<String>::new());
        if cut {
            assert_eq!(
                host.cut,
                [connection(1, 40_000, 80), connection(1, 40_001, 22)]
            );
            let told = host.event(EventKind::ConnectionsCut);
            assert_eq!((told.count, told.ports.join(",")), (1, "tcp/80".to_owned()));
            assert!(host.living_on.is_empty());
        } else {
            assert_eq!(host.cut, []);
            assert_eq!(host.living_on.len(), 2);
        }
        assert_eq!(host.revoked, []);
    }
}

#[test]
fn a_connection_that_somebody_else_may_have_begun_is_not_cut() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 0, 0));
    host.arrive(1, &knock_of("bob", 2, "tcp/22", 0));
    begin(&mut host, connection(1, 40_000, 22));

    host.arrive(1, &close_of("alice", 3, "", true, 0));

    assert_eq!(host.cut, []);
    assert_eq!(host.open_rules(), ["192.0.2.1 tcp/22"]);
    assert_eq!(host.event(EventKind::GrantClosed).user, "alice");
}

#[test]
fn a_connection_that_either_of_two_users_may_have_begun_ends_when_both_have_closed_theirs() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 0, 0));
    host.arrive(1, &knock_of("bob", 2, "tcp/22", 0));
    begin(&mut host, connection(1, 40_000, 22));

    host.arrive(1, &close_of("alice", 3, "", true, 0));
    assert_eq!(host.cut, []);
    host.arrive(1, &close_of("bob", 4, "", true, 0));

    assert_eq!(host.cut, [connection(1, 40_000, 22)]);
    assert_eq!(host.open_rules(), Vec::<String>::new());
}

#[test]
fn a_connection_that_one_of_two_users_keeps_ends_when_the_other_is_revoked_who_had_closed_hers() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 0, 0));
    host.arrive(1, &knock_of("bob", 2, "tcp/22", 0));
    begin(&mut host, connection(1, 40_000, 22));
    host.arrive(1, &close_of("alice", 3, "", true, 0));
    // Without sessions: his own go on.
    host.arrive(1, &close_of("bob", 4, "", false, 0));
    assert_eq!(host.cut, []);

    host.replace_policy(&only("bob"), 5);

    assert_eq!(host.cut, [connection(1, 40_000, 22)]);
}

#[test]
fn a_connection_of_two_users_ends_when_both_have_closed_theirs_also_with_a_restart_in_between() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 0, 0));
    host.arrive(1, &knock_of("bob", 2, "tcp/22", 0));
    begin(&mut host, connection(1, 40_000, 22));
    host.arrive(1, &close_of("alice", 3, "", true, 0));
    let mut host = restarted(host);
    let closed = host.living_on.values().cloned().map(|saved| SavedGrant {
        is_closed: true,
        ..saved
    });
    let saved = closed.chain(host.live.values().cloned()).collect();
    let now = host.now();
    let found = [connection(1, 40_000, 22)];
    host.engine.recover(saved, Kernel::Unknown, &found, now);
    host.turn();
    assert_eq!(host.cut, []);

    host.arrive(1, &close_of("bob", 4, "", true, 0));

    assert_eq!(host.cut, found);
    assert_eq!(host.open_rules(), Vec::<String>::new());
}

#[test]
fn a_grant_of_an_earlier_run_is_closed_by_its_user_too() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 0, 0));
    let mut host = restarted(host);
    let saved = host.live.values().cloned().collect();
    let now = host.now();
    host.engine.recover(saved, Kernel::Unknown, &[], now);
    host.turn();

    host.arrive(1, &close_of("alice", 2, "tcp/22", false, 0));

    assert_eq!(host.open_rules(), Vec::<String>::new());
    assert_eq!(host.reasons(EventKind::GrantClosed), ["closed by the user"]);
}

#[test]
fn what_the_firewall_does_not_close_is_tried_again_and_then_recorded() {
    for partly in [Partly::Nothing, Partly::Half, Partly::All] {
        let mut host = Host::new();
        host.arrive(1, &knock(1, "tcp/22,tcp/80", 0, 0));
        begin(&mut host, connection(1, 40_000, 22));
        host.faults.firewall = Some(partly);
        host.arrive(1, &close_of("alice", 2, "", true, 0));
        assert_eq!(host.kinds(), [EventKind::GrantOpened]);

        host.faults.firewall = None;
        host.wait(1);

        assert_eq!(host.open_rules(), Vec::<String>::new());
        assert_eq!(host.cut, [connection(1, 40_000, 22)]);
        assert_eq!(
            host.reasons(EventKind::GrantClosed),
            ["closed by the user, with its connections"]
        );
        assert_eq!(host.engine.counters().engine.grants_open, 0);
    }
}
