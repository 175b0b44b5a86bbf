use fleet::EventKind;

use super::super::columns::{Compact, address_key, port_key};
use super::*;

fn database() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    super::super::migrations::apply(&mut connection).unwrap();
    connection
}

#[test]
fn every_question_is_answered_in_the_order_of_an_index() {
    let connection = database();
    let any = Question {
        since_ms: Some(1),
        until_ms: Some(9),
        ..Question::default()
    };
    let user = Some("mbr".to_owned());
    let kind = Some(EventKind::GrantOpened.into());
    let port = port_key("tcp/22");
    let address = "192.0.2.1/32".parse().ok();

    for (question, host, index) in [
        (any.clone(), None, "events_by_time"),
        (
            Question {
                kind,
                ..any.clone()
            },
            None,
            "events_by_kind",
        ),
        (
            Question {
                kind,
                ..any.clone()
            },
            Some(1),
            "events_by_host",
        ),
        (
            Question {
                user: user.clone(),
                kind,
                ..any.clone()
            },
            Some(1),
            "events_by_user",
        ),
        (
            Question {
                port,
                kind,
                ..any.clone()
            },
            Some(1),
            "PRIMARY KEY",
        ),
        (
            Question {
                port,
                kind,
                ..any.clone()
            },
            None,
            "event_ports_by_port",
        ),
        (
            Question {
                port,
                user,
                ..any.clone()
            },
            Some(1),
            "PRIMARY KEY",
        ),
        (
            Question {
                address,
                ..any.clone()
            },
            None,
            "events_by_source",
        ),
        (
            Question {
                address,
                port,
                ..any
            },
            Some(1),
            "events_by_opened",
        ),
    ] {
        let plan = plan(&connection, &question, host);
        assert!(plan.contains(index), "{question:?}\n{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{question:?}\n{plan}");
        assert!(!plan.contains("SCAN e\n"), "{question:?}\n{plan}");
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
