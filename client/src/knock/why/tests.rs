use fleet::wire::HostState;
use policy::{Denied, PortSet};
use spa::Service;

use super::*;
use crate::knock::address::{By, Named};
use crate::knock::delivery::For;

const NOW_MS: u64 = 1_800_000_000_000;

fn sent(address: &str) -> Sent {
    Sent {
        to: "203.0.113.9:62201".parse().unwrap(),
        whom: For::Address(Named {
            address: address.parse().unwrap(),
            by: By::Kernel,
        }),
        digest: "aa".repeat(32),
    }
}

fn event(kind: EventKind, reason: &str) -> Event {
    let mut event = Event::new(kind, NOW_MS);
    event.replay_digest = "aa".repeat(32);
    event.reason = reason.to_owned();
    event.opened = "198.51.100.7".to_owned();
    event
}

fn known(event: Option<Event>) -> Known {
    Known {
        events: event
            .into_iter()
            .map(|event| ("web-1".to_owned(), event))
            .collect(),
        hosts: vec![HostState {
            host: "web-1".to_owned(),
            connected: true,
            last_seen_ms: NOW_MS,
            in_sync: true,
            clock_offset_ms: None,
        }],
        controller_time_ms: NOW_MS,
        generation: 3,
    }
}

fn listed() -> Listed {
    Listed {
        generation: 3,
        at_secs: NOW_MS / 1000,
        ports: vec!["tcp/22".to_owned(), "tcp/443".to_owned()],
        key: vec![7; 32],
        addresses: vec!["203.0.113.9".to_owned()],
        spa_port: 62_201,
    }
}

/// What is said, with what is changed about an ordinary case.
fn said(known: Option<Known>, change: impl FnOnce(&mut Case<'_>)) -> (String, String) {
    let (packets, listed) = ([sent("198.51.100.7")], listed());
    let mut case = Case {
        host: "web-1",
        user: "alice",
        member: Some("alice"),
        port: "tcp/22",
        is_refused: false,
        sent: &packets,
        listed: Some(&listed),
        is_locked: false,
        changed: None,
        known: known.as_ref(),
        refusal: None,
        seen: None,
        own: None,
        now_ms: NOW_MS,
    };
    change(&mut case);
    let Why { because, hint, .. } = why(case);
    (because.unwrap_or_default(), hint)
}

fn refusal(reason: &str) -> (String, String) {
    said(Some(known(Some(event(EventKind::Refused, reason)))), |_| {})
}

#[test]
fn a_message_that_is_too_old_is_blamed_on_the_clock_that_is_wrong() {
    let old = "the message is 181 s old; at most 120 s are allowed";
    let refused = || known(Some(event(EventKind::Refused, old)));

    let (because, hint) = said(Some(refused()), |case| case.now_ms -= 181_000);
    assert_eq!(because, format!("web-1 refused the packet: {old}"));
    assert_eq!(
        hint,
        "this machine's clock is 3m behind the controller's: set it, and knock again"
    );

    let mut of_host = refused();
    of_host.hosts[0].clock_offset_ms = Some(181_000);
    let (_, hint) = said(Some(of_host), |_| {});
    assert_eq!(
        hint,
        "the clock of web-1 is 3m ahead of the controller's: tell an operator"
    );
    let (_, hint) = said(Some(refused()), |_| {});
    assert!(hint.contains("set the one that is wrong"), "{hint}");
}

#[test]
fn a_port_that_is_not_permitted_is_told_with_those_that_are() {
    let port: Service = "tcp/80".parse().unwrap();
    for denied in [Denied::PortNotOpen(port), Denied::PortRestricted(port)] {
        let (because, hint) = refusal(&denied.to_string());

        assert!(because.contains("tcp/80"), "{because}");
        assert_eq!(hint, "on web-1 you may open tcp/22, tcp/443");
    }
    assert_eq!(PortSet::from_iter([port]).len(), 1);
}

#[test]
fn what_a_policy_denies_has_its_remedy() {
    let address: IpAddr = "198.51.100.7".parse().unwrap();
    for (denied, remedy) in [
        (Denied::Source(address), "from other addresses"),
        (Denied::SourceAddressRequired, "leave -s out"),
        (Denied::Username("bob".to_owned()), "without -U"),
        (Denied::Expired { at_secs: 1 }, "ask an operator to prolong"),
    ] {
        let (_, hint) = refusal(&denied.to_string());

        assert!(hint.contains(remedy), "{denied}: {hint}");
    }
}

#[test]
fn whoever_names_another_user_is_told_who_she_is() {
    let denied = Denied::Username("alice".to_owned()).to_string();
    let refused = known(Some(event(EventKind::Refused, &denied)));

    let (_, hint) = said(Some(refused), |case| case.member = Some("bob"));

    assert_eq!(hint, "knock without -U: bob is who you are to this host");
}

#[test]
fn a_host_that_is_locked_is_said_to_be() {
    let (because, hint) = said(Some(known(None)), |case| case.is_locked = true);

    assert!(because.starts_with("web-1 is locked"), "{because}");
    assert!(hint.contains("ask an operator"), "{hint}");
}

#[test]
fn a_grant_that_the_owners_rule_drops_is_told_with_the_rule() {
    let rule = "dropped by table inet filter chain input: tcp dport 22 drop";
    let blocked = known(Some(event(EventKind::GrantBlocked, rule)));

    let (because, hint) = said(Some(blocked), |_| {});

    assert!(because.ends_with(rule), "{because}");
    assert!(hint.contains("postern-agent status"), "{hint}");
}

#[test]
fn a_copy_that_came_first_is_said_to_be_one() {
    let replay = event(EventKind::Replay, "the message was seen before");

    let (because, _) = said(Some(known(Some(replay))), |_| {});

    assert!(because.contains("as a copy"), "{because}");
}

#[test]
fn a_host_without_a_connection_is_offline() {
    let mut away = known(None);
    away.hosts[0].connected = false;
    away.hosts[0].last_seen_ms = NOW_MS - 90_000;

    let (because, _) = said(Some(away), |_| {});

    assert!(because.contains("web-1 is offline"), "{because}");
    assert!(
        because.ends_with("it was last there 1m 30s ago"),
        "{because}"
    );
}

#[test]
fn a_directory_that_was_old_is_said_with_what_has_changed() {
    let changed = "web-1 has another key than in the directory of 10:03: its keys were rotated, or it has joined anew";

    let (because, hint) = said(Some(known(None)), |case| case.changed = Some(changed));
    assert_eq!(
        (because.as_str(), hint.ends_with("knock again")),
        (changed, true)
    );

    let mut newer = known(None);
    newer.generation = 4;
    let (because, _) = said(Some(newer), |_| {});
    assert!(because.contains("of an older policy"), "{because}");
}

#[test]
fn a_clock_that_is_off_is_said_also_where_the_host_recorded_nothing() {
    let (because, hint) = said(Some(known(None)), |case| case.now_ms += 3 * 3_600_000);

    assert!(
        because.contains("clock is 3h ahead of the controller's"),
        "{because}"
    );
    assert_eq!(hint, "set the clock, and knock again");
}

#[test]
fn what_was_opened_for_another_address_or_family_is_said() {
    let opened = || Some(known(Some(event(EventKind::GrantOpened, ""))));
    let seen: IpAddr = "198.51.100.8".parse().unwrap();
    let other: IpAddr = "2001:db8::7".parse().unwrap();

    let (because, hint) = said(opened(), |case| case.seen = Some(seen));
    assert!(
        because.contains("opened tcp/22 for 198.51.100.7"),
        "{because}"
    );
    assert!(hint.contains("-a 198.51.100.8"), "{hint}");

    let (_, hint) = said(opened(), |case| case.own = Some(other));
    assert!(hint.contains("another family"), "{hint}");

    let (because, hint) = said(opened(), |case| case.is_refused = true);
    assert!(because.contains("refuses connections"), "{because}");
    assert!(hint.contains("nobody listens"), "{hint}");
}

#[test]
fn without_the_controller_it_is_said_who_may_know() {
    let (because, hint) = said(None, |_| {});

    assert_eq!(because, "");
    assert!(hint.contains("the controller could not be asked"), "{hint}");
    assert!(
        hint.contains("postern audit list --host web-1 --user alice"),
        "{hint}"
    );
}

#[test]
fn a_packet_of_which_the_host_knows_nothing_did_not_arrive() {
    let (because, hint) = said(Some(known(None)), |_| {});

    assert_eq!(
        because,
        "web-1 is there, and recorded no packet of this knock"
    );
    assert!(hint.contains("is 203.0.113.9 its address?"), "{hint}");
}

#[test]
fn without_a_controller_clocks_that_differ_are_said_as_far_as_they_are_known() {
    let refusal = (
        "the controller's clock is 2 h ahead of this machine's",
        "set it",
    );
    let refused = said(None, |case| case.refusal = Some(refusal));
    let of_the_future = said(None, |case| case.now_ms = NOW_MS - 600_000);
    let of_now = said(None, |case| case.now_ms = NOW_MS - 10_000);

    assert_eq!((&*refused.0, &*refused.1), refusal);
    assert_eq!(
        of_the_future.0,
        "this machine's clock is at least 10m behind the controller's"
    );
    assert_eq!(of_now.0, "");
}

#[test]
fn a_grant_that_has_ended_since_is_told_by_what_was_wrong_with_it() {
    let blocked = event(EventKind::GrantBlocked, "table inet theirs, chain input");
    let mut known = known(Some(event(EventKind::GrantClosed, "")));
    known.events.push(("web-1".to_owned(), blocked));

    let (because, _) = said(Some(known), |_| {});

    assert!(because.contains("a rule of its owner"), "{because}");
}
