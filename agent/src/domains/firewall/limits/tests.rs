use engine::HoleTimeout;
use proptest::prelude::*;

use super::*;
use crate::domains::firewall::samples;

const START: Duration = Duration::from_secs(1_000);

fn limits() -> Limits {
    Limits {
        capabilities: Capabilities::ALL,
        nat: NatSettings::default(),
        grants_max: 10,
        protect: services(&["tcp/22"]),
    }
}

fn checks() -> Checks {
    Checks::new(limits(), &services(&["tcp/22", "tcp/443"]))
}

fn services(texts: &[&str]) -> Vec<Service> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn rules(texts: &[&str]) -> Vec<Rule> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn open<'a>(rule: &str, secs: u32) -> Request<'a> {
    let hole = Hole {
        rule: rule.parse().unwrap(),
        timeout: HoleTimeout::clamped(secs),
    };
    Request::Open(vec![hole].into())
}

fn to_port(port: u16) -> Connection {
    Connection::direct(
        spa::Protocol::Tcp,
        "198.51.100.7:40000".parse().unwrap(),
        ([192, 0, 2, 10], port).into(),
    )
}

fn cut<'a>(port: u16) -> Request<'a> {
    Request::Close(Vec::new().into(), vec![to_port(port)].into())
}

#[test]
fn a_rule_that_leads_packets_on_is_refused_where_the_configuration_does_not_lead() {
    let inner = "192.0.2.7 tcp/40022 to 10.0.0.5 port 22";
    let loopback = "192.0.2.7 tcp/40022 to 127.0.0.1 port 22";
    let here = "192.0.2.7 tcp/40022 to here port 22";
    let at_one = "192.0.2.7 tcp/22 to 192.0.2.10 untranslated";
    let anywhere = "192.0.2.7 any to anywhere seen-as masquerade";
    let nat = |forward, local, destination_rule| NatSettings {
        forward,
        local,
        destination_rule,
        ..NatSettings::default()
    };
    for (nat, may) in [
        (
            nat(false, false, false),
            [false, false, false, false, false],
        ),
        (nat(true, false, false), [true, false, false, true, true]),
        (nat(false, true, false), [false, true, true, false, false]),
        (nat(false, false, true), [false, false, false, true, false]),
    ] {
        let limits = Limits { nat, ..limits() };
        let mut checks = Checks::new(limits, &[]);
        let found = [inner, loopback, here, at_one, anywhere]
            .map(|rule| checks.check(&mut open(rule, 30), START).is_ok());

        assert_eq!(found, may, "{nat:?}");
    }
}

#[test]
fn what_is_open_may_end_sooner_though_it_would_not_be_opened_now() {
    let rule = "192.0.2.7 tcp/40022 to 10.0.0.5 port 22";
    let found = Hole {
        rule: rule.parse().unwrap(),
        timeout: HoleTimeout::clamped(30),
    };
    let mut checks = Checks::new(limits(), &[]);
    checks.found(&[found], START);

    assert_eq!(checks.check(&mut open(rule, 20), START), Ok(()));
    assert_eq!(
        checks.check(&mut open(rule, 21), START),
        Err(Denied::Leads(found.rule))
    );
}

#[test]
fn a_rule_that_the_packet_filter_cannot_hold_is_refused() {
    let capabilities = Capabilities {
        networks: false,
        ..Capabilities::ALL
    };
    let limits = Limits {
        capabilities,
        ..limits()
    };
    let mut checks = Checks::new(limits, &[]);

    assert_eq!(
        checks.check(&mut open("192.0.2.7 tcp/22", 30), START),
        Ok(())
    );
    let refused = checks.check(&mut open("192.0.2.0/24 tcp/22", 30), START);

    assert!(
        matches!(refused, Err(Denied::Unsupported(_))),
        "{refused:?}"
    );
}

#[test]
fn no_more_holes_are_open_at_once_than_grants_can_have_and_what_has_ended_makes_room() {
    let mut checks = checks();
    let max = checks.limits.holes_max();
    for number in 0..max {
        let rule = format!("10.0.{}.{} tcp/22", number / 256, number % 256);
        assert_eq!(checks.check(&mut open(&rule, 30), START), Ok(()));
    }

    let mut one_more = open("192.0.2.7 tcp/22", 30);
    let again = checks.check(&mut open("10.0.0.0 tcp/22", 60), START);

    assert_eq!(
        checks.check(&mut one_more, START),
        Err(Denied::TooMany(max))
    );
    assert_eq!(again, Ok(()), "what is open may be open for longer");
    let later = START + Duration::from_secs(31);
    assert_eq!(checks.check(&mut one_more, later), Ok(()));
    assert_eq!(checks.holes.len(), 2);
}

#[test]
fn what_is_closed_or_flushed_makes_room_at_once_and_may_still_be_closed_again() {
    let mut checks = checks();
    let rules = rules(&["192.0.2.7 tcp/22", "192.0.2.8 tcp/22"]);
    for rule in &rules {
        checks
            .check(&mut open(&rule.to_string(), 3_600), START)
            .unwrap();
    }
    let live = |checks: &Checks| {
        checks
            .holes
            .values()
            .filter(|until| **until > START)
            .count()
    };

    assert_eq!(live(&checks), 2);
    checks.closed(&rules[..1], START);
    assert_eq!(live(&checks), 1);
    checks.flushed(START);

    assert_eq!(live(&checks), 0);
    assert!(rules.iter().all(|rule| checks.knows(rule)));
}

#[test]
fn of_a_batch_with_one_hole_that_may_not_be_none_is_opened() {
    let mut checks = checks();
    let rules = rules(&["192.0.2.7 tcp/22", "192.0.2.7 any to anywhere"]);
    let hole = |rule| Hole {
        rule,
        timeout: HoleTimeout::clamped(30),
    };
    let holes: Vec<Hole> = rules.into_iter().map(hole).collect();

    assert!(
        checks
            .check(&mut Request::Open(holes.into()), START)
            .is_err()
    );
    assert!(checks.holes.is_empty());
}

#[test]
fn nothing_is_closed_that_was_not_opened_or_remembered_so_that_nothing_of_others_is_held_up() {
    let mut checks = checks();
    let remembered = rules(&["192.0.2.9 tcp/80"]);
    checks
        .check(&mut Request::Begin(remembered.into()), START)
        .unwrap();
    checks
        .check(&mut open("192.0.2.7 tcp/22", 30), START)
        .unwrap();
    let asked = [
        "0.0.0.0/0 tcp/22",
        "192.0.2.7 tcp/22",
        "192.0.2.8 tcp/22",
        "192.0.2.9 tcp/80",
    ];

    let mut close = Request::Close(rules(&asked).into(), Vec::new().into());
    let mut end = Request::End(rules(&asked).into());
    checks.check(&mut close, START).unwrap();
    checks.check(&mut end, START).unwrap();

    let known = rules(&["192.0.2.7 tcp/22", "192.0.2.9 tcp/80"]);
    let expected = Request::Close(known.clone().into(), Vec::new().into());
    assert_eq!(close, expected);
    assert_eq!(end, Request::End(known.into()));
}

#[test]
fn a_connection_is_cut_only_where_something_was_opened_or_is_hidden() {
    let mut checks = checks();
    checks
        .check(&mut open("192.0.2.7 tcp/8000-8010", 30), START)
        .unwrap();

    for (port, may) in [
        (22, true),
        (443, true),
        (8005, true),
        (80, false),
        (8011, false),
    ] {
        let found = checks.check(&mut cut(port), START);
        assert_eq!(found.is_ok(), may, "{port}");
    }
    checks.protect(&services(&["tcp/80"]));
    assert_eq!(checks.check(&mut cut(80), START), Ok(()));
    assert_eq!(checks.check(&mut cut(443), START), Ok(()), "it was hidden");
}

#[test]
fn hiding_less_is_said_and_what_the_configuration_hides_stays_hidden() {
    let mut checks = checks();

    let same = checks.protect(&services(&["tcp/22", "tcp/443"]));
    let less = checks.protect(&[]);
    let more = checks.protect(&services(&["tcp/1-100", "udp/53"]));

    assert_eq!(same.ports, services(&["tcp/22", "tcp/443"]));
    assert!(same.fewer.is_empty());
    assert_eq!(less.ports, services(&["tcp/22"]));
    assert_eq!(less.fewer.to_string(), "tcp/443");
    assert!(more.fewer.is_empty(), "{}", more.fewer);
}

#[test]
fn a_list_of_ports_longer_than_there_are_ports_becomes_as_short_as_it_can_be() {
    let mut checks = checks();
    let asked = vec!["tcp/80".parse().unwrap(); PORTS_MAX + 1];

    assert_eq!(
        checks.protect(&asked).ports,
        services(&["tcp/22", "tcp/80"])
    );
}

#[test]
fn beginning_and_starting_happen_once_and_in_this_order() {
    let mut checks = checks();
    let mut begin = Request::Begin(Vec::new().into());

    assert_eq!(checks.check(&mut begin, START), Ok(()));
    assert_eq!(
        checks.check(&mut begin, START),
        Err(Denied::OutOfOrder("begin"))
    );
    assert_eq!(checks.check(&mut Request::Start, START), Ok(()));
    assert_eq!(
        checks.check(&mut Request::Start, START),
        Err(Denied::OutOfOrder("start"))
    );
}

proptest! {
    /// Whatever is asked for, one after the other: what is let through is within the limits.
    #[test]
    fn whatever_a_gate_asks_for_what_is_carried_out_is_within_the_limits(
        requests in prop::collection::vec((samples::request(), 0..100_u64), 0..40),
    ) {
        let mut checks = checks();
        let mut now = START;
        for (mut request, secs) in requests {
            now += Duration::from_secs(secs);
            let checked = checks.check(&mut request, now);
            if checked.is_err() {
                continue;
            }
            match &request {
                Request::Open(holes) => {
                    for hole in holes.iter() {
                        let leads = matches!(hole.rule, Rule::Forward(_));
                        prop_assert!(!leads);
                        prop_assert!(checks.holes.contains_key(&hole.rule));
                        prop_assert!((1..=HoleTimeout::MAX_SECS).contains(&hole.timeout.secs()));
                    }
                }
                Request::Close(rules, connections) => {
                    prop_assert!(rules.iter().all(|rule| checks.knows(rule)));
                    prop_assert!(checks.may_cut(connections).is_ok());
                }
                Request::End(rules) => prop_assert!(rules.iter().all(|rule| checks.knows(rule))),
                Request::Begin(_)
                | Request::Start
                | Request::List
                | Request::Flush
                | Request::Beat => {}
            }
            let live = checks.holes.values().filter(|until| **until > now).count();
            prop_assert!(live <= checks.limits.holes_max());
        }
    }

    #[test]
    fn whatever_a_gate_asks_to_hide_what_the_configuration_hides_is_among_it(
        asked in prop::collection::vec(samples::service(), 0..20),
    ) {
        let mut checks = checks();

        let ToHide { ports, fewer } = checks.protect(&asked);

        let hidden: PortSet = ports.into_iter().collect();
        let own: Service = "tcp/22".parse().unwrap();
        prop_assert!(hidden.contains(own));
        prop_assert!(asked.iter().all(|port| hidden.contains(*port)));
        prop_assert!(!fewer.touches(own));
    }
}
