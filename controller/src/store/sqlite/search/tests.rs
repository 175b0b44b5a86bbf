use std::time::Duration;

use fleet::EventKind;
use fleet::event::Event;

use super::super::columns::{Compact, address_key, address_range};
use super::super::{events, meta, words};
use super::pace::Effort;
use super::*;
use crate::store::model::Chosen;

mod over_postgresql;

fn database() -> rusqlite::Connection {
    let mut connection = rusqlite::Connection::open_in_memory().unwrap();
    super::super::migrations::apply(&mut connection).unwrap();
    connection
}

/// A turn that looks at so many rows, and takes no time.
fn effort(first: usize, most: usize) -> Turn<'static> {
    let time = Duration::from_millis(20);
    Turn {
        effort: Effort { first, most, time },
        taken: &|| Duration::ZERO,
    }
}

#[test]
fn every_question_is_answered_in_the_order_of_an_index() {
    let connection = database();
    let any = EventFilter {
        since_ms: Some(1),
        until_ms: Some(9),
        ..EventFilter::default()
    };
    let users = vec!["mbr".to_owned()];
    let kinds = vec![EventKind::GrantOpened.into()];
    let port = "tcp/22".parse().ok();
    let address = "192.0.2.1/32".parse().ok();

    for (filter, host, index) in [
        (any.clone(), None, "events_by_time"),
        (
            EventFilter {
                kinds: kinds.clone(),
                ..any.clone()
            },
            None,
            "events_by_kind",
        ),
        (
            EventFilter {
                kinds: kinds.clone(),
                ..any.clone()
            },
            Some(1),
            "events_by_host",
        ),
        (
            EventFilter {
                users: users.clone(),
                kinds: kinds.clone(),
                ..any.clone()
            },
            Some(1),
            "events_by_user",
        ),
        (
            EventFilter {
                users: users.clone(),
                role: Some(fleet::Role::Auditor),
                ..any.clone()
            },
            None,
            "events_by_user",
        ),
        (
            EventFilter {
                port,
                kinds: kinds.clone(),
                ..any.clone()
            },
            Some(1),
            "PRIMARY KEY",
        ),
        (
            EventFilter {
                port,
                kinds,
                ..any.clone()
            },
            None,
            "event_ports_by_port",
        ),
        (
            EventFilter {
                port,
                users,
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
        let known = Known {
            hosts: host.into_iter().collect(),
            ..Known::default()
        };
        let drivers = Driver::candidates(&filter, &known);
        let plan = plan(&connection, &filter, &known, drivers.first().unwrap());
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

/// Everything that can be asked for, each with a value that some events have and others do not.
const FIELDS: usize = 13;

/// The question that asks for the fields whose bits are set.
fn question(bits: usize) -> EventFilter {
    let asked = |bit: usize| bits & (1 << bit) != 0;
    let text = |bit: usize, text: &str| asked(bit).then(|| text.to_owned());
    EventFilter {
        users: text(0, "user-1").into_iter().collect(),
        role: None,
        hosts: text(1, "web-1").into_iter().collect(),
        kinds: asked(2)
            .then(|| EventKind::Refused.into())
            .into_iter()
            .collect(),
        address: asked(3).then(|| "192.0.2.0/31".parse().unwrap()),
        port: asked(4).then(|| "tcp/22".parse().unwrap()),
        stanza: text(5, "stanza-1"),
        key: text(6, "key-1"),
        replay_digest: text(7, &"01".repeat(32)),
        grant_id: text(8, &"01".repeat(16)),
        reason: text(9, "reason-1"),
        generation: asked(10).then_some(1),
        actor: text(11, "operator/mbr"),
        request_id: text(12, &"01".repeat(16)),
        since_ms: None,
        until_ms: None,
    }
}

/// An event that has some of all that is asked for.
fn varied(number: u64) -> Event {
    let part = |of: u64| (number / of) % 2;
    let kind = [EventKind::Refused, EventKind::GrantOpened];
    let mut event = Event::new(kind[usize::try_from(part(2)).unwrap()], number);
    event.user = format!("user-{}", part(1));
    event.stanza = format!("stanza-{}", part(4));
    event.key = format!("key-{}", part(8));
    event.source = format!("192.0.2.{}", number % 4);
    event.opened = format!("192.0.2.{}", number % 3);
    event.ports = match number % 7 {
        0 => vec!["tcp/1-1000".to_owned(), "icmp/echo".to_owned()],
        1 => vec!["tcp/20-22".to_owned()],
        2 => vec!["tcp/23-40000".to_owned(), "udp/1-40000".to_owned()],
        _ => vec![format!("tcp/{}", 22 + part(3))],
    };
    match number % 11 {
        0 => event.opened = "192.0.2.0/24".to_owned(),
        1 => event.opened = "192.0.0.0/16".to_owned(),
        2 => event.also_opened = vec!["192.0.2.0/31".to_owned(), "192.0.2.1".to_owned()],
        3 => event.also_opened = vec!["198.51.100.0/24".to_owned(), "2001:db8::/56".to_owned()],
        4 => event.opened = "192.0.2.2/31".to_owned(),
        _ => {}
    }
    event.replay_digest = format!("{:02x}", number % 3).repeat(32);
    event.grant_id = format!("{:02x}", number % 5 / 2).repeat(16);
    event.generation = part(16);
    event.actor = ["", "operator/mbr"][usize::try_from(part(6)).unwrap()].to_owned();
    event.request_id = format!("{:02x}", number % 4).repeat(16);
    event.reason = format!("reason-{} of {}", part(5), number % 7);
    event
}

/// A log of two hosts whose numbers lie in two parts of the log.
fn log(connection: &Connection) -> Vec<(String, Event)> {
    meta::create(connection, "e", 0).unwrap();
    let mut all = Vec::new();
    for (number, host) in (1..=240).zip(["web-1", "web-2"].into_iter().cycle()) {
        let event = varied(number);
        let mut seq = 0;
        let mut chain = [0; 32];
        let journal = format!("{number:032x}");
        let record = EventRecord::after(seq, &chain, event.clone());
        seq = record.seq;
        chain.copy_from_slice(&record.chain);
        events::append(connection, (host, &journal), None, &[record], 5).unwrap();
        assert_eq!(seq, 1);
        all.push((host.to_owned(), event));
        if number == 120 {
            for sql in [
                "UPDATE events SET id = 70000 WHERE id = 120",
                "UPDATE event_ports SET event = 70000 WHERE event = 120",
                "UPDATE event_blocks SET event = 70000 WHERE event = 120",
            ] {
                connection.execute(sql, []).unwrap();
            }
        }
    }
    all
}

#[test]
fn every_combination_of_filters_answers_what_reading_all_events_would() {
    let connection = database();
    let all = log(&connection);
    while words::index(&connection, 100).unwrap() < words::newest(&connection).unwrap() {}

    for bits in 0..1 << FIELDS {
        let filter = question(bits);
        let page = page(&connection, &filter, Cursor::NEWEST.into(), 1_000).unwrap();
        let found: Vec<u64> = page.rows.iter().map(|row| row.at_ms).collect();
        let mut expected: Vec<u64> = all
            .iter()
            .filter(|(host, event)| filter.matches(host, event))
            .map(|(_, event)| event.at_ms)
            .collect();
        expected.reverse();
        assert_eq!(found, expected, "{filter:?}");
    }
}

#[test]
fn an_answer_that_is_looked_for_piece_by_piece_is_the_whole_answer() {
    let connection = database();
    let all = log(&connection);
    while words::index(&connection, 100).unwrap() < words::newest(&connection).unwrap() {}
    let little = effort(1, 1);

    for bits in (0..1 << FIELDS).step_by(3) {
        let filter = question(bits);
        let (mut found, mut onward) = (Vec::new(), Some(Onward::from(Cursor::NEWEST)));
        while let Some(from) = onward {
            let page = page_with(&connection, &filter, (from, 7), &little).unwrap();
            assert!(page.next != Some(from.after) && !page.cut, "{filter:?}");
            found.extend(page.rows.iter().map(|row| row.at_ms));
            onward = page.onward();
        }
        let expected = all
            .iter()
            .rev()
            .filter(|(host, event)| filter.matches(host, event));
        let expected: Vec<u64> = expected.map(|(_, event)| event.at_ms).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
}

#[test]
fn of_two_common_things_that_never_meet_a_page_looks_at_a_bounded_part_and_says_where_to_go_on() {
    let connection = database();
    meta::create(&connection, "e", 0).unwrap();
    let event = |number: u64| {
        let kinds = [EventKind::Refused, EventKind::GrantOpened];
        let mut event = Event::new(kinds[usize::try_from(number % 2).unwrap()], number);
        event.user = format!("user-{}", number % 2);
        event
    };
    for number in 1..=2_000 {
        let record = EventRecord::after(0, &[0; 32], event(number));
        let journal = format!("{number:032x}");
        events::append(&connection, ("web-1", &journal), None, &[record], 5).unwrap();
    }
    let filter = EventFilter {
        users: vec!["user-1".to_owned()],
        kinds: vec![EventKind::Refused.into()],
        ..EventFilter::default()
    };
    let page = |most| {
        let turn = effort(100, most);
        page_with(&connection, &filter, (Cursor::NEWEST.into(), 10), &turn).unwrap()
    };

    // Windows of 100 and of 200 events of hers, each the second of all; or of what is left.
    for most in [300, 250, 164, 100] {
        let first = page(most);

        assert_eq!(first.rows, []);
        let seen = u64::try_from(most).unwrap();
        assert_eq!(first.next, Some(Cursor::before(2_000 - 2 * seen + 1)));
    }
}

#[test]
fn the_rarest_of_what_is_asked_for_drives() {
    let connection = database();
    meta::create(&connection, "e", 0).unwrap();
    for number in 1..=600_u64 {
        let mut event = Event::new(EventKind::GrantOpened, number);
        event.user = if number == 7 { "rare" } else { "common" }.to_owned();
        event.source = format!("192.0.2.{}", number % 200);
        event.stanza = if number % 300 == 1 { "seldom" } else { "often" }.to_owned();
        let record = EventRecord::after(0, &[0; 32], event);
        let journal = format!("{number:032x}");
        events::append(&connection, ("web-1", &journal), None, &[record], 5).unwrap();
    }
    while words::index(&connection, 1_000).unwrap() < words::newest(&connection).unwrap() {}
    let driver = |user: &str, stanza: Option<&str>, address: Option<&str>| {
        let filter = EventFilter {
            users: vec![user.to_owned()],
            kinds: vec![EventKind::GrantOpened.into()],
            stanza: stanza.map(str::to_owned),
            address: address.map(|text| text.parse().unwrap()),
            ..EventFilter::default()
        };
        let known = known(&connection, &filter).unwrap().unwrap();
        let candidates = Driver::candidates(&filter, &known);
        let from = (candidates.as_slice(), Cursor::NEWEST);
        let chosen = choice::choose(&connection, &filter, &known, from, false).unwrap();
        candidates[chosen.driver].clone()
    };

    assert_eq!(driver("rare", Some("often"), None), Driver::User);
    assert_eq!(driver("common", Some("seldom"), None), Driver::Stanza);
    let one = "192.0.2.9/32";
    assert_eq!(
        driver("common", Some("often"), Some(one)),
        Driver::Address(one.parse().unwrap())
    );
    assert_eq!(driver("common", None, Some("0.0.0.0/0")), Driver::User);
}

#[test]
fn what_was_chosen_drives_as_far_back_as_it_was_counted_and_then_is_chosen_anew() {
    let connection = database();
    let all = log(&connection);
    let filter = EventFilter {
        users: vec!["user-1".to_owned()],
        kinds: vec![EventKind::Refused.into()],
        ..EventFilter::default()
    };
    let known = known(&connection, &filter).unwrap().unwrap();
    let candidates = Driver::candidates(&filter, &known);
    assert_eq!(candidates, [Driver::User, Driver::Kind]);
    // By the second of them, which nobody would choose here where both are as rare.
    let given = Chosen {
        driver: 1,
        until_ms: Some(100),
    };
    let page = |after| {
        let mut from = Onward::from(after);
        from.course.chosen = Some(given);
        page(&connection, &filter, from, 10).unwrap()
    };

    let before = page(Cursor::NEWEST);
    let after = page(Cursor::before(100));

    assert_eq!(before.course.chosen, Some(given));
    assert_eq!(after.course.chosen, Some(Chosen::default()));
    for (found, newest) in [(before, u64::MAX), (after, 100)] {
        let expected = all
            .iter()
            .rev()
            .filter(|(host, event)| event.at_ms < newest && filter.matches(host, event));
        let expected: Vec<u64> = expected.map(|(_, event)| event.at_ms).take(10).collect();
        let found: Vec<u64> = found.rows.iter().map(|row| row.at_ms).collect();
        assert_eq!(found, expected);
    }
}

/// What a log names of the prefix of [`question`].
fn of_prefix() -> Addresses {
    let bytes = |last| vec![4, 192, 0, 2, last];
    Addresses {
        sources: vec![bytes(0), bytes(1)],
        opened: vec![bytes(0), bytes(1)],
    }
}

#[test]
fn every_combination_of_filters_is_driven_by_an_index() {
    let connection = database();

    for bits in 0..1 << FIELDS {
        let filter = question(bits);
        let reasons = match filter.reason {
            Some(_) => vec![None, Some(vec![1]), Some(vec![1, 2, 3])],
            None => vec![None],
        };
        for reasons in reasons {
            let mut known = Known {
                asked: Vec::new(),
                hosts: filter.hosts.iter().map(|_| 1).collect(),
                reasons,
                addresses: None,
                has_blocks: false,
            };
            let mut drivers = Driver::candidates(&filter, &known);
            known.addresses = filter.address.map(|_| of_prefix());
            let of_few = Driver::candidates(&filter, &known);
            drivers.extend(of_few.into_iter().filter(Driver::is_of_few_addresses));
            for driver in drivers {
                let plan = plan(&connection, &filter, &known, &driver);
                let scans = plan
                    .lines()
                    .any(|line| line == "SCAN e" || line == "SCAN p");
                let by_index = plan.contains("INDEX") || plan.contains("PRIMARY KEY (");
                assert!(!scans && by_index, "{filter:?} {driver:?}\n{plan}");
                let sorts = plan.contains("TEMP B-TREE");
                // Of these there are few, or no more than are counted.
                let may_sort = !driver.is_in_time_order() || driver.is_of_few_addresses();
                assert!(!sorts || may_sort, "{filter:?} {driver:?}\n{plan}");
            }
        }
    }
}

#[test]
fn whatever_encloses_or_lies_in_what_is_asked_for_is_found_once() {
    let connection = database();
    meta::create(&connection, "e", 0).unwrap();
    let opened = [
        ("203.0.113.0/24", "tcp/8000-9000"),
        ("2001:db8:1:200::/56", "udp/1-65535"),
        ("203.0.113.7", "tcp/22"),
    ];
    for (number, (network, ports)) in (1..).zip(opened) {
        let mut event = Event::new(EventKind::GrantOpened, number);
        event.source = "192.0.2.7".to_owned();
        event.opened = network.to_owned();
        event.also_opened = vec!["198.51.100.7".to_owned()];
        event.ports = vec![ports.to_owned()];
        let record = EventRecord::after(0, &[0; 32], event);
        events::append(
            &connection,
            ("web-1", &format!("{number:032x}")),
            None,
            &[record],
            5,
        )
        .unwrap();
    }
    let found = |address: Option<&str>, port: Option<&str>| -> Vec<u64> {
        let filter = EventFilter {
            address: address.map(|text| text.parse().unwrap()),
            port: port.map(|text| text.parse().unwrap()),
            ..EventFilter::default()
        };
        let page = page(&connection, &filter, Cursor::NEWEST.into(), 100).unwrap();
        page.rows.iter().map(|row| row.at_ms).collect()
    };

    assert_eq!(found(Some("203.0.113.7/32"), None), [3, 1]);
    assert_eq!(found(Some("203.0.113.8/32"), None), [1]);
    assert_eq!(found(Some("203.0.0.0/16"), None), [3, 1]);
    assert_eq!(found(Some("2001:db8:1:2ff::9/128"), None), [2]);
    assert_eq!(found(Some("2001:db8:1:3ff::9/128"), None), [] as [u64; 0]);
    assert_eq!(found(Some("198.51.100.7/32"), None), [3, 2, 1]);
    assert_eq!(found(Some("0.0.0.0/0"), None), [3, 2, 1]);
    assert_eq!(found(None, Some("tcp/8123")), [1]);
    assert_eq!(found(None, Some("tcp/9001")), [] as [u64; 0]);
    assert_eq!(found(None, Some("udp/65535")), [2]);
    assert_eq!(found(Some("203.0.113.9/32"), Some("tcp/8000")), [1]);
    assert_eq!(
        found(Some("203.0.113.9/32"), Some("tcp/22")),
        [] as [u64; 0]
    );
}

#[test]
fn several_users_hosts_and_kinds_answer_what_reading_all_events_would() {
    let connection = database();
    let all = log(&connection);
    while words::index(&connection, 100).unwrap() < words::newest(&connection).unwrap() {}
    let texts = |texts: [&str; 2]| texts.map(str::to_owned).to_vec();

    for bits in 0..1 << 5 {
        let asked = |bit: usize| bits & (1 << bit) != 0;
        let filter = EventFilter {
            users: if asked(0) {
                texts(["user-1", "nobody"])
            } else {
                Vec::new()
            },
            hosts: if asked(1) {
                texts(["web-2", "web-1"])
            } else {
                texts(["web-2", "none"])
            },
            kinds: match asked(2) {
                true => vec![EventKind::Refused.into(), EventKind::GrantOpened.into(), 77],
                false => Vec::new(),
            },
            port: asked(3).then(|| "tcp/22".parse().unwrap()),
            stanza: asked(4).then(|| "stanza-1".to_owned()),
            ..EventFilter::default()
        };
        let page = page(&connection, &filter, Cursor::NEWEST.into(), 1_000).unwrap();
        let found: Vec<u64> = page.rows.iter().map(|row| row.at_ms).collect();
        let mut expected: Vec<u64> = all
            .iter()
            .filter(|(host, event)| filter.matches(host, event))
            .map(|(_, event)| event.at_ms)
            .collect();
        expected.reverse();
        assert_eq!(found, expected, "{filter:?}");
    }
}

#[test]
fn several_of_one_kind_are_read_in_the_order_of_their_index() {
    let connection = database();
    let many = |count: i32| EventFilter {
        kinds: (1..=count).collect(),
        ..EventFilter::default()
    };
    let hosts = |count| Known {
        hosts: (1..=count).collect(),
        ..Known::default()
    };
    let port = EventFilter {
        port: "tcp/22".parse().ok(),
        ..EventFilter::default()
    };

    for (filter, known) in [
        (many(30), Known::default()),
        (EventFilter::default(), hosts(100)),
        (many(2), hosts(100)),
        (port, hosts(100)),
    ] {
        for driver in Driver::candidates(&filter, &known) {
            let plan = plan(&connection, &filter, &known, &driver);
            assert!(!plan.contains("TEMP B-TREE"), "{filter:?}\n{plan}");
        }
    }
}
