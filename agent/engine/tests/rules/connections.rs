//! Connections: whose they are, that they end with what let them begin, and that nothing else ends.

use std::net::{IpAddr, SocketAddr};

use engine::{Connection, ConnectionChange, Kernel, SavedGrant};
use fleet::EventKind;
use spa::Protocol;

use crate::host::{Host, Partly, restarted};
use crate::packets::{ONE_PORT, OTHERS, PORTS_AND_COMMANDS, knock, knock_of};

#[test]
fn a_session_whose_hole_has_closed_by_itself_is_cut_when_its_user_is_removed() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 5, 0));
    begin(&mut host, connection(1, 40_000, 22));
    host.wait(60);
    assert_eq!(host.kinds().last(), Some(&EventKind::GrantClosed));

    host.replace_policy(OTHERS, 5);

    assert_eq!(host.cut, [connection(1, 40_000, 22)]);
    let cut = host.event(EventKind::ConnectionsCut);
    assert_eq!((cut.count, cut.ports.join(",")), (1, "tcp/22".to_owned()));
    assert_eq!(cut.grant_id, host.journal[0].grant_id);
    assert_eq!(cut.reason, "policy generation 5 does not give it");
    assert!(host.living_on.is_empty());
}

#[test]
fn a_session_that_the_new_policy_still_gives_goes_on() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 5, 0));
    begin(&mut host, connection(1, 40_000, 22));
    host.wait(60);

    host.replace_policy(ONE_PORT, 5);

    assert_eq!(host.cut, []);
    assert_eq!(host.living_on.len(), 1);
}

#[test]
fn a_grant_is_forgotten_with_its_last_connection() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 5, 0));
    let (first, second) = (connection(1, 40_000, 22), connection(1, 40_001, 22));
    begin(&mut host, first);
    begin(&mut host, second);
    host.wait(60);

    change(&mut host, ConnectionChange::Ended(first));
    assert_eq!(host.living_on.len(), 1);
    change(&mut host, ConnectionChange::Ended(second));

    assert!(host.living_on.is_empty());
    host.replace_policy(OTHERS, 5);
    assert_eq!(host.cut, []);
}

#[test]
fn a_grant_that_is_revoked_while_it_is_open_takes_its_connections_along() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 30, 0));
    begin(&mut host, connection(1, 40_000, 22));

    host.replace_policy(OTHERS, 5);

    assert_eq!(host.cut, [connection(1, 40_000, 22)]);
    assert_eq!(host.kinds().last(), Some(&EventKind::GrantRevoked));
}

#[test]
fn what_became_known_late_of_a_grant_that_was_revoked_is_cut_too() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 30, 0));
    host.replace_policy(OTHERS, 5);

    begin(&mut host, connection(1, 40_000, 22));

    assert_eq!(host.cut, [connection(1, 40_000, 22)]);
    assert_eq!(host.event(EventKind::ConnectionsCut).count, 1);
}

#[test]
fn what_began_in_the_last_moment_of_a_hole_is_its_connection() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 5, 0));
    host.wait(5);

    begin(&mut host, connection(1, 40_000, 22));
    host.wait(60);
    host.replace_policy(OTHERS, 5);

    assert_eq!(host.cut, [connection(1, 40_000, 22)]);
}

#[test]
fn connections_of_others_and_of_nobody_are_left_alone() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 5, 0));
    for other in [
        connection(2, 40_000, 22),
        connection(1, 40_000, 80),
        Connection {
            protocol: Protocol::Udp,
            ..connection(1, 40_000, 22)
        },
    ] {
        begin(&mut host, other);
    }
    host.wait(60);
    // It began when nobody's hole was open: before the port was hidden.
    begin(&mut host, connection(1, 40_001, 22));

    host.replace_policy(OTHERS, 5);

    assert_eq!(host.cut, []);
}

#[test]
fn behind_one_address_a_session_that_began_before_the_other_knocked_is_told_apart() {
    let mut host = Host::new();
    host.arrive(1, &knock_of("alice", 1, "tcp/22", 5));
    let of_alice = connection(1, 40_000, 22);
    begin(&mut host, of_alice);
    host.wait(60);
    host.arrive(1, &knock_of("bob", 2, "tcp/22", 5));
    let of_bob = connection(1, 40_001, 22);
    begin(&mut host, of_bob);
    host.wait(60);

    host.replace_policy(&only("bob"), 5);

    assert_eq!(host.cut, [of_alice]);
    assert_eq!(host.event(EventKind::ConnectionsCut).user, "alice");
}

#[test]
fn behind_one_address_a_session_that_may_be_of_either_is_cut_with_either() {
    let mut host = Host::new();
    host.arrive(1, &knock_of("alice", 1, "tcp/22", 5));
    host.arrive(1, &knock_of("bob", 2, "tcp/22", 5));
    begin(&mut host, connection(1, 40_000, 22));
    host.wait(60);

    host.replace_policy(&only("bob"), 5);

    assert_eq!(host.cut, [connection(1, 40_000, 22)]);
}

#[test]
fn a_session_that_was_cut_is_nobodys_when_another_user_opens_again() {
    let mut host = Host::new();
    host.arrive(1, &knock_of("alice", 1, "tcp/22", 5));
    begin(&mut host, connection(1, 40_000, 22));
    host.wait(60);
    host.replace_policy(&only("bob"), 5);
    host.cut.clear();

    host.arrive(1, &knock_of("bob", 2, "tcp/22", 5));

    assert_eq!(host.open_rules(), ["192.0.2.1 tcp/22"]);
    assert_eq!(host.engine.counters().engine.connections, 0);
}

#[test]
fn who_comes_after_a_session_was_cut_is_not_taken_for_it() {
    let mut host = Host::new();
    host.arrive(1, &knock_of("alice", 1, "tcp/22", 5));
    begin(&mut host, connection(1, 40_000, 22));
    host.wait(60);
    host.replace_policy(&only("bob"), 5);
    host.cut.clear();

    host.arrive(1, &knock_of("bob", 2, "tcp/22", 5));
    begin(&mut host, connection(1, 40_001, 22));

    assert_eq!(host.cut, []);
    assert_eq!(host.engine.counters().engine.connections, 1);
}

#[test]
fn a_connection_that_cannot_be_cut_is_tried_again_until_it_is() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 5, 0));
    begin(&mut host, connection(1, 40_000, 22));
    host.wait(60);
    host.faults.firewall = Some(Partly::Nothing);

    host.replace_policy(OTHERS, 5);
    for _ in 0..10 {
        host.wait(1);
    }
    assert!(!host.kinds().contains(&EventKind::ConnectionsCut));
    host.faults.firewall = None;
    host.wait(1);

    assert_eq!(host.cut, [connection(1, 40_000, 22)]);
    assert_eq!(host.event(EventKind::ConnectionsCut).count, 1);
    assert!(host.living_on.is_empty());
}

#[test]
fn a_grant_that_closes_while_its_revocation_fails_is_cut_afterwards() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 5, 0));
    begin(&mut host, connection(1, 40_000, 22));
    host.faults.firewall = Some(Partly::Nothing);
    host.replace_policy(OTHERS, 5);
    for _ in 0..10 {
        host.wait(1);
    }
    host.faults.firewall = None;

    host.wait(1);

    assert_eq!(host.cut, [connection(1, 40_000, 22)]);
    assert!(host.kinds().contains(&EventKind::ConnectionsCut));
}

#[test]
fn after_a_restart_a_grant_that_lives_on_is_judged_by_what_was_recorded_of_it() {
    for (policy, is_cut) in [(OTHERS, true), (ONE_PORT, false)] {
        let (mut host, saved) = killed_with_a_session();
        let (now, found) = (host.now(), [connection(1, 40_000, 22)]);

        host.engine.recover(saved, Kernel::Open(&[]), &found, now);
        host.turn();
        host.replace_policy(policy, 5);

        assert_eq!(!host.cut.is_empty(), is_cut, "{policy}");
        assert_eq!(host.living_on.is_empty(), is_cut, "{policy}");
    }
}

#[test]
fn after_a_restart_a_lock_that_gives_no_new_generation_cuts_what_it_takes_back() {
    let (host, _) = killed_with_a_session();
    let over = host.now().wall_secs - 10;
    let dated = format!("{ONE_PORT}DESTINATION 203.0.113.0/24\nACCESS_EXPIRE_EPOCH {over}\n");
    for (policy, is_cut) in [(OTHERS, true), (PORTS_AND_COMMANDS, false), (&dated, false)] {
        let (mut host, saved) = killed_with_a_session();
        let (now, found) = (host.now(), [connection(1, 40_000, 22)]);
        assert!(saved.iter().all(|saved| saved.opened.generation == 1));

        host.engine.recover(saved, Kernel::Open(&[]), &found, now);
        host.turn();
        host.replace_policy(policy, 1);

        assert_eq!(!host.cut.is_empty(), is_cut, "{policy}");
    }
}

#[test]
fn after_a_restart_a_grant_without_connections_is_forgotten() {
    let (mut host, saved) = killed_with_a_session();
    let now = host.now();

    host.engine.recover(saved, Kernel::Open(&[]), &[], now);
    host.turn();

    assert!(host.living_on.is_empty());
}

#[test]
fn a_grant_that_closed_while_nobody_ran_lives_on_in_its_connections() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 5, 0));
    let mut host = restarted(host);
    let saved = host.live.values().cloned().collect();
    host.secs += 60;
    let (now, found) = (host.now(), [connection(1, 40_000, 22)]);

    host.engine.recover(saved, Kernel::Open(&[]), &found, now);
    host.turn();
    assert_eq!(host.kinds().last(), Some(&EventKind::GrantClosed));
    host.replace_policy(OTHERS, 5);

    assert_eq!(host.cut, found);
}

#[test]
fn connections_are_looked_at_again_because_not_every_end_is_told() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 5, 0));
    begin(&mut host, connection(1, 40_000, 22));

    host.wait(61);

    assert_eq!(host.looked_at, [connection(1, 40_000, 22)]);
}

#[test]
fn a_locked_host_closes_everything_cuts_everything_and_grants_nothing() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 5, 0));
    begin(&mut host, connection(1, 40_000, 22));
    host.wait(60);
    host.arrive(2, &knock(2, "tcp/22", 30, 0));
    begin(&mut host, connection(2, 40_000, 22));
    let now = host.now();

    host.engine.lock("stolen", now);
    host.turn();
    host.arrive(1, &knock(3, "tcp/22", 30, 0));
    host.replace_policy(PORTS_AND_COMMANDS, 7);
    host.arrive(1, &knock(4, "tcp/22", 30, 0));

    assert_eq!(host.open_rules(), Vec::<String>::new());
    assert_eq!(host.cut.len(), 2);
    let words = "this host is locked: stolen";
    assert_eq!(host.reasons(EventKind::Refused), [words, words]);
    assert_eq!(host.reasons(EventKind::GrantRevoked), [words]);
    assert_eq!(host.reasons(EventKind::ConnectionsCut), [words]);
    assert_eq!(host.reasons(EventKind::Locked), ["stolen"]);
    let published = host.published.last().unwrap();
    assert_eq!(published.locked.as_deref(), Some("stolen"));
}

#[test]
fn a_host_that_is_unlocked_grants_again() {
    let mut host = Host::new();
    let now = host.now();
    host.engine.lock("stolen", now);
    host.turn();

    host.engine.unlock(now);
    host.arrive(1, &knock(1, "tcp/22", 30, 0));

    assert_eq!(host.open_rules().len(), 1);
    assert_eq!(host.reasons(EventKind::Unlocked), ["stolen"]);
    assert_eq!(host.published.last().unwrap().locked, None);
}

/// A host that was killed while a grant lived on in a connection.
fn killed_with_a_session() -> (Host, Vec<SavedGrant>) {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 5, 0));
    begin(&mut host, connection(1, 40_000, 22));
    host.wait(60);
    let host = restarted(host);
    let saved = host.living_on.values().cloned();
    let saved = saved.map(|saved| SavedGrant {
        is_closed: true,
        ..saved
    });
    let saved = saved.collect();
    (host, saved)
}

pub(crate) fn connection(source: u8, client_port: u16, port: u16) -> Connection {
    Connection::direct(
        Protocol::Tcp,
        SocketAddr::new(IpAddr::from([192, 0, 2, source]), client_port),
        SocketAddr::new(IpAddr::from([192, 0, 2, 100]), port),
    )
}

pub(crate) fn begin(host: &mut Host, connection: Connection) {
    change(host, ConnectionChange::Began(connection));
}

fn change(host: &mut Host, change: ConnectionChange) {
    let now = host.now();
    host.engine.connections_changed([change], now);
    host.turn();
}

/// A policy that permits one user alone.
pub(crate) fn only(user: &str) -> String {
    ONE_PORT.replace(
        "OPEN_PORTS",
        &format!("REQUIRE_USERNAME {user}\nOPEN_PORTS"),
    )
}
