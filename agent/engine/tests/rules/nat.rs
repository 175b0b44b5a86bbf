//! Packets that are led on: which rules a grant opens, whose connections go through them, and what
//! ends them.

use std::net::SocketAddr;

use engine::{
    Capabilities, Connection, ConnectionChange, Forwards, Hole, HoleTimeout, Kernel, Limits,
};
use fleet::EventKind;
use gate::SharedKeys;
use spa::Protocol;

use crate::host::{Host, restarted_with};
use crate::packets::{knock, nat_knock, nat_knock_of};

const STANZA: &str =
    "NAME ports\nSOURCE ANY\nKEY ports\nHMAC_KEY ports-hmac\nFW_ACCESS_TIMEOUT 30\n";

fn access(lines: &str) -> String {
    format!("{STANZA}{lines}\n")
}

fn host(lines: &str) -> Host {
    Host::with(&access(lines), SharedKeys::None, Limits::default())
}

/// Begins a connection from 192.0.2.1 that asks for one place and ends at another.
fn begin(host: &mut Host, asked: &str, server: &str) -> Connection {
    let connection = Connection {
        protocol: Protocol::Tcp,
        client: SocketAddr::from(([192, 0, 2, 1], 40_000)),
        asked: asked.parse().unwrap(),
        server: server.parse().unwrap(),
        zone: 0,
    };
    let now = host.now();
    host.engine
        .connections_changed([ConnectionChange::Began(connection)], now);
    host.turn();
    connection
}

#[test]
fn a_grant_leads_on_what_its_message_asks_for_and_the_audit_says_where() {
    let mut host = host("NAT_ACCESS 10.0.0.0/8");

    host.arrive(1, &nat_knock(1, 2, "tcp/40001", "10.0.0.5", 22));

    assert_eq!(
        host.open_rules(),
        ["192.0.2.1 tcp/40001 to 10.0.0.5 port 22"]
    );
    host.wait(30);
    assert_eq!(
        host.kinds(),
        [EventKind::GrantOpened, EventKind::GrantClosed]
    );
    for event in &host.journal {
        assert_eq!(event.ports, ["tcp/40001"]);
        assert_eq!(event.forwarded_to, "10.0.0.5:22");
    }
}

#[test]
fn every_form_of_nat_is_the_rule_that_says_it() {
    for (lines, packet, rules, forwarded_to) in [
        (
            "FORCE_NAT 10.0.0.5 22",
            knock(1, "tcp/22,tcp/80", 0, 0),
            &[
                "192.0.2.1 tcp/22 to 10.0.0.5 port 22",
                "192.0.2.1 tcp/80 to 10.0.0.5 port 22",
            ][..],
            "10.0.0.5:22",
        ),
        (
            "FORCE_NAT 10.0.0.5 22\nFORCE_SNAT 10.0.0.1\nFORWARD_ALL Y",
            knock(1, "tcp/22", 0, 0),
            &["192.0.2.1 any to 10.0.0.5 seen-as 10.0.0.1"],
            "10.0.0.5",
        ),
        (
            "FORWARD_ALL Y\nFORCE_MASQUERADE Y",
            knock(1, "tcp/22", 0, 0),
            &["192.0.2.1 any to anywhere seen-as masquerade"],
            "anywhere",
        ),
        (
            "DISABLE_DNAT Y\nNAT_ACCESS ANY",
            nat_knock(1, 2, "tcp/40001", "10.0.0.5", 22),
            &["192.0.2.1 tcp/22 to 10.0.0.5 untranslated"],
            "10.0.0.5:22",
        ),
        (
            "NAT_ACCESS LOCAL",
            nat_knock(1, 5, "tcp/40001", "192.0.2.100", 22),
            &["192.0.2.1 tcp/40001 to here port 22"],
            "local:22",
        ),
        // Nothing is to be led on: it is that port already.
        (
            "NAT_ACCESS LOCAL",
            nat_knock(1, 5, "tcp/22", "127.0.0.1", 22),
            &["192.0.2.1 tcp/22"],
            "local:22",
        ),
    ] {
        let mut host = host(lines);

        host.arrive(1, &packet);

        assert_eq!(host.open_rules(), rules, "{lines}");
        assert_eq!(
            host.event(EventKind::GrantOpened).forwarded_to,
            forwarded_to
        );
    }
}

#[test]
fn a_host_whose_packet_filter_cannot_lead_on_says_that_and_not_that_it_does_not_want_to() {
    let capabilities = Capabilities {
        forward: false,
        ..Capabilities::ALL
    };
    let access = access("NAT_ACCESS ANY");
    let mut host = Host::on(capabilities, &access, SharedKeys::None, Limits::default());

    host.arrive(1, &nat_knock(1, 2, "tcp/22", "10.0.0.5", 22));

    assert_eq!(host.open_rules(), Vec::<String>::new());
    assert_eq!(
        host.reasons(EventKind::Refused),
        ["the packet filter of this host cannot lead packets on to another place for a time"]
    );
}

#[test]
fn a_kernel_that_forwards_nothing_is_the_reason_of_the_refusal_until_it_forwards() {
    let mut host = host("NAT_ACCESS ANY");
    let forwards = |v4| Forwards { v4, v6: true };

    host.engine.note_forwards(forwards(false));
    host.arrive(1, &nat_knock(1, 2, "tcp/22", "10.0.0.5", 22));
    host.arrive(1, &nat_knock(2, 5, "tcp/40001", "127.0.0.1", 22));
    host.engine.note_forwards(forwards(true));
    host.arrive(1, &nat_knock(3, 2, "tcp/22", "10.0.0.5", 22));

    let reasons = host.reasons(EventKind::Refused);
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert!(
        reasons[0].contains("net.ipv4.ip_forward is off"),
        "{reasons:?}"
    );
    assert_eq!(host.live.len(), 2);
}

#[test]
fn a_connection_that_was_led_on_lives_on_and_is_cut_when_the_new_policy_does_not_lead_there() {
    let mut host = host("NAT_ACCESS 10.0.0.0/8");
    host.arrive(1, &nat_knock(1, 2, "tcp/40001", "10.0.0.5", 22));
    let connection = begin(&mut host, "192.0.2.100:40001", "10.0.0.5:22");
    let others = begin(&mut host, "192.0.2.100:40002", "10.0.0.6:22");
    host.wait(60);
    host.replace_policy(&access("NAT_ACCESS 10.0.0.0/16"), 2);
    assert_eq!(host.cut, []);

    host.replace_policy(&access("NAT_ACCESS 10.9.0.0/16"), 3);

    assert_eq!(host.cut, [connection]);
    assert!(!host.cut.contains(&others));
}

#[test]
fn what_the_new_policy_would_lead_elsewhere_is_closed() {
    let plain = knock(1, "tcp/22", 0, 0);
    for (before, after) in [
        ("FORCE_NAT 10.0.0.5 22", "FORCE_NAT 10.0.0.6 22"),
        ("FORCE_NAT 10.0.0.5 22", "FORCE_NAT 10.0.0.5 23"),
        (
            "FORCE_NAT 10.0.0.5 22",
            "FORCE_NAT 10.0.0.5 22\nFORCE_MASQUERADE Y",
        ),
        (
            "FORCE_NAT 10.0.0.5 22",
            "FORCE_NAT 10.0.0.5 22\nFORWARD_ALL Y",
        ),
        ("FORCE_NAT 10.0.0.5 22", ""),
        ("", "FORCE_NAT 10.0.0.5 22"),
    ] {
        let mut host = host(before);
        host.arrive(1, &plain);
        host.replace_policy(&access(before), 2);
        assert_eq!(host.live.len(), 1, "{before}");

        host.replace_policy(&access(after), 3);

        assert_eq!(
            host.open_rules(),
            Vec::<String>::new(),
            "{before} to {after}"
        );
    }
}

#[test]
fn after_a_restart_what_was_led_on_goes_on_and_is_judged_by_the_policy_in_force() {
    let long = [
        (
            "NAT_ACCESS 10.0.0.0/8",
            nat_knock(1, 2, "tcp/40001", "10.0.0.5", 22),
        ),
        (
            "NAT_ACCESS 10.0.0.0/8",
            nat_knock(1, 2, "tcp/80,tcp/22", "10.0.0.5", 80),
        ),
        ("FORCE_NAT 10.0.0.5 22", knock(1, "tcp/22", 0, 0)),
        (
            "FORCE_NAT 10.0.0.5 22\nFORWARD_ALL Y",
            knock(1, "tcp/22", 0, 0),
        ),
        (
            "FORWARD_ALL Y\nFORCE_MASQUERADE Y",
            knock(1, "tcp/22", 0, 0),
        ),
        (
            "DISABLE_DNAT Y\nNAT_ACCESS ANY",
            nat_knock(1, 2, "tcp/22", "10.0.0.5", 22),
        ),
        (
            "NAT_ACCESS LOCAL",
            nat_knock(1, 5, "tcp/40001", "127.0.0.1", 22),
        ),
    ];
    for (lines, packet) in long {
        let mut before = host(lines);
        before.arrive(1, &packet);
        let rules = before.open_rules();
        assert!(!rules.is_empty(), "{lines}");
        let mut host = restarted_with(before, &access(lines));
        let saved = host.live.values().cloned().collect();
        let timeout = HoleTimeout::clamped(1);
        let open: Vec<Hole> = host
            .kernel
            .keys()
            .map(|rule| Hole {
                rule: *rule,
                timeout,
            })
            .collect();
        let now = host.now();
        host.engine.recover(saved, Kernel::Open(&open), &[], now);

        host.replace_policy(&access(lines), 2);
        assert_eq!(host.open_rules(), rules, "{lines}");
        host.replace_policy(&access("NAT_ACCESS NONE"), 3);

        assert_eq!(host.open_rules(), Vec::<String>::new(), "{lines}");
    }
}

#[test]
fn a_name_is_looked_up_before_anything_is_recorded_and_then_stands_for_its_address() {
    let mut host = host("NAT_ACCESS 10.0.0.0/8");
    host.arrive(1, &nat_knock(1, 2, "tcp/22", "db.internal", 22));
    assert_eq!(host.kinds(), []);
    let ask = host.names.pop().unwrap();
    assert_eq!(ask.name, "db.internal");

    let (now, addresses) = (
        host.now(),
        ["192.168.0.1", "10.0.0.5"].map(|a| a.parse().unwrap()),
    );
    host.engine.name_answered(ask.seq, Ok(&addresses), now);
    host.turn();

    assert_eq!(host.open_rules(), ["192.0.2.1 tcp/22 to 10.0.0.5 port 22"]);
    assert_eq!(
        host.event(EventKind::GrantOpened).forwarded_to,
        "10.0.0.5:22"
    );
    // Whatever the name means by then.
    host.replace_policy(&access("NAT_ACCESS 10.0.0.0/16"), 2);
    assert_eq!(host.live.len(), 1);
    host.replace_policy(&access("NAT_ACCESS 10.1.0.0/16"), 3);
    assert_eq!(host.open_rules(), Vec::<String>::new());
}

#[test]
fn a_name_that_leads_nowhere_or_is_not_known_in_time_is_refused_with_its_reason() {
    let lines = "NAT_ACCESS 10.0.0.0/8";
    let answers: [(Result<&[std::net::IpAddr], &str>, &str); 3] = [
        (
            Ok(&[]),
            "the name db.internal has no address to which packets could be led",
        ),
        (
            Err("no such host"),
            "the name db.internal cannot be looked up: no such host",
        ),
        (
            Ok(&[std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)]),
            "packets cannot be led to 127.0.0.1: it is not the address of another host",
        ),
    ];
    for (answer, reason) in answers {
        let mut host = host(lines);
        host.arrive(1, &nat_knock(1, 2, "tcp/22", "db.internal", 22));
        let (now, seq) = (host.now(), host.names[0].seq);
        host.engine.name_answered(seq, answer, now);
        host.turn();
        assert_eq!(host.reasons(EventKind::Refused), [reason]);
    }

    let mut host = host(lines);
    host.arrive(1, &nat_knock(1, 2, "tcp/22", "db.internal", 22));
    host.wait(6);
    assert_eq!(
        host.reasons(EventKind::Refused),
        ["its name was not looked up in time"]
    );
    let (now, seq) = (host.now(), host.names[0].seq);
    host.engine.name_answered(seq, Ok(&[]), now);
    host.turn();
    assert_eq!(host.kinds(), [EventKind::Refused]);
}

#[test]
fn what_waits_for_a_name_is_given_up_with_its_policy_its_host_and_the_agent() {
    let refused = |end: fn(&mut Host)| {
        let mut host = host("NAT_ACCESS 10.0.0.0/8");
        host.arrive(1, &nat_knock(1, 2, "tcp/22", "db.internal", 22));
        end(&mut host);
        let (now, seq) = (host.now(), host.names[0].seq);
        host.engine
            .name_answered(seq, Ok(&["10.0.0.5".parse().unwrap()]), now);
        host.turn();
        assert_eq!(host.open_rules(), Vec::<String>::new());
        host.reasons(EventKind::Refused).concat()
    };

    let by_policy = refused(|host| host.replace_policy(&access("NAT_ACCESS NONE"), 2));
    let by_lock = refused(|host| {
        let now = host.now();
        host.engine.lock("broken into", now);
        host.turn();
    });
    let by_stop = refused(|host| {
        let now = host.now();
        host.engine.stop(true, now);
        host.turn();
    });

    assert_eq!(by_policy, "policy generation 2 does not give it");
    assert_eq!(by_lock, "this host is locked: broken into");
    assert_eq!(by_stop, "the agent stopped before its name was looked up");
}

#[test]
fn names_that_wait_are_bounded() {
    let mut host = host("NAT_ACCESS 10.0.0.0/8");
    for number in 0..65 {
        host.send(
            1,
            &nat_knock(number, 2, "tcp/22", &format!("db-{number}.internal"), 22),
        );
    }
    host.turn();

    assert_eq!(host.names.len(), 64);
    assert_eq!(
        host.reasons(EventKind::Refused),
        ["too many names are looked up on this host"]
    );
    assert_eq!(host.engine.counters().engine.names_waiting, 64);
}

#[test]
fn what_leads_elsewhere_ends_what_led_there_before_and_says_so() {
    let mut host = host("NAT_ACCESS 10.0.0.0/8");
    host.arrive(1, &nat_knock(1, 2, "tcp/40001", "10.0.0.5", 22));
    host.arrive(1, &nat_knock(2, 2, "tcp/40002", "10.0.0.5", 22));

    host.arrive(1, &nat_knock(3, 2, "tcp/40001", "10.0.0.6", 22));

    assert_eq!(
        host.open_rules(),
        [
            "192.0.2.1 tcp/40001 to 10.0.0.6 port 22",
            "192.0.2.1 tcp/40002 to 10.0.0.5 port 22"
        ]
    );
    let ended: Vec<_> = host
        .journal
        .iter()
        .filter(|event| event.kind() == EventKind::GrantClosed)
        .collect();
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].forwarded_to, "10.0.0.5:22");
    assert_eq!(ended[0].ports, ["tcp/40001"]);
    assert!(
        ended[0].reason.starts_with("led elsewhere by grant "),
        "{}",
        ended[0].reason
    );
}

#[test]
fn a_destination_rule_that_the_packet_filter_cannot_keep_is_refused_by_its_own_name() {
    let no_forward = Capabilities {
        forward: false,
        ..Capabilities::ALL
    };
    let rule = "192.0.2.1 tcp/22 to 198.51.100.1 untranslated";

    let refused = no_forward.can(&rule.parse().unwrap()).unwrap_err();

    assert!(
        refused.to_string().contains("`destination_rule = true`"),
        "{refused}"
    );
}

#[test]
fn nobody_chooses_where_the_packets_of_another_user_are_led() {
    for prefix in ["", "OPEN_PREFIX 24\n"] {
        let mut host = host(&format!("{prefix}NAT_ACCESS 10.0.0.0/8"));
        host.arrive(1, &nat_knock(1, 2, "tcp/40001", "10.0.0.5", 22));
        let led = host.open_rules();

        let other = nat_knock_of("bob", 2, 2, "tcp/40001", ("10.0.0.6", 22));
        host.arrive(if prefix.is_empty() { 1 } else { 2 }, &other);

        assert_eq!(host.open_rules(), led, "{prefix}");
        let reasons = host.reasons(EventKind::Refused);
        assert!(reasons[0].contains("another user"), "{reasons:?}");
        // The same place for both is no conflict.
        host.arrive(1, &nat_knock_of("bob", 3, 2, "tcp/40001", ("10.0.0.5", 22)));
        assert_eq!(host.open_rules(), led, "{prefix}");
        host.wait(30);
        host.arrive(1, &nat_knock_of("bob", 4, 2, "tcp/40001", ("10.0.0.6", 22)));
        assert_ne!(host.open_rules(), led, "{prefix}");
    }
}
