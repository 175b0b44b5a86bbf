use fleet::EventKind;

use super::super::columns::{Compact, address_key};
use super::*;

fn database() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    super::super::migrations::apply(&mut connection).unwrap();
    connection
}

#[test]
fn every_question_is_answered_in_the_order_of_an_index() {
    let connection = database();
    let any = EventFilter {
        since_ms: Some(1),
        until_ms: Some(9),
        ..EventFilter::default()
    };
    let user = Some("mbr".to_owned());
    let kind = Some(EventKind::GrantOpened.into());
    let port = "tcp/22".parse().ok();
    let address = "192.0.2.1/32".parse().ok();

    for (filter, host, index) in [
        (any.clone(), None, "events_by_time"),
        (
            EventFilter {
                kind,
                ..any.clone()
            },
            None,
            "events_by_kind",
        ),
        (
            EventFilter {
                kind,
                ..any.clone()
            },
            Some(1),
            "events_by_host",
        ),
        (
            EventFilter {
                user: user.clone(),
                kind,
                ..any.clone()
            },
            Some(1),
            "events_by_user",
        ),
        (
            EventFilter {
                port,
                kind,
                ..any.clone()
            },
            Some(1),
            "PRIMARY KEY",
        ),
        (
            EventFilter {
                port,
                kind,
                ..any.clone()
            },
            None,
            "event_ports_by_port",
        ),
        (
            EventFilter {
                port,
                user,
                ..any.clone()
            },
            Some(1),
            "PRIMARY KEY",
        ),
        (
            EventFilter {
                address,
                ..any.clone()
            },
            None,
            "events_by_source",
        ),
        (
            EventFilter {
                address,
                port,
                ..any
            },
            Some(1),
            "events_by_opened",
        ),
    ] {
        let plan = plan(&connection, &filter, host);
        assert!(plan.contains(index), "{filter:?}\n{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{filter:?}\n{plan}");
        assert!(!plan.contains("SCAN e\n"), "{filter:?}\n{plan}");
    }
}

#[test]
fn an_ipv4_prefix_never_reaches_into_ipv6() {
    let (low, high) = address_range("0.0.0.0/0".parse().unwrap());
    let Compact::Bytes(six) = address_key("::1") else {
        panic!("not an address");
    };

    assert!(six > high);
    assert!(low < high);
}
