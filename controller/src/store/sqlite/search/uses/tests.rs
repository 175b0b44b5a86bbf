use std::time::Duration;

use fleet::{Event, EventRecord};

use super::super::super::{events, meta, migrations};
use super::super::pace::Effort;
use super::*;
use crate::store::postgres::trial::Trial;

fn database() -> rusqlite::Connection {
    let mut connection = rusqlite::Connection::open_in_memory().unwrap();
    migrations::apply(&mut connection).unwrap();
    connection
}

fn asked(user: &str, hosts: &[&str]) -> UsesAsked {
    UsesAsked {
        user: user.to_owned(),
        hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
        since_ms: 20,
        until_ms: 2_000,
    }
}

/// All that can be asked for.
fn questions() -> [UsesAsked; 6] {
    [
        asked("", &[]),
        asked("alice", &[]),
        asked("alice", &["web-1", "none"]),
        asked("", &["web-1"]),
        asked("", &["web-2", "web-1"]),
        asked("", &["none"]),
    ]
}

/// Five of one time each: some are of others, or were refused.
fn log(connection: &Connection) -> Vec<(String, Event)> {
    meta::create(connection, "e", 0).unwrap();
    let mut all = Vec::new();
    for number in 1..=2_400_u64 {
        let kind = match number % 5 {
            0 => EventKind::Refused,
            _ => EventKind::GrantOpened,
        };
        let mut event = Event::new(kind, number / 5 * 5);
        event.user = ["alice", "bob", "carol"][usize::try_from(number % 3).unwrap()].to_owned();
        event.key = format!("key-{}", number % 2);
        event.stanza = format!("stanza-{}", number % 4);
        let host = format!("web-{}", 1 + number % 7 / 3);
        let record = EventRecord::after(0, &[0; 32], event.clone());
        let journal = format!("{number:032x}");
        events::append(connection, (&host, &journal), None, &[record], 5).unwrap();
        all.push((host, event));
    }
    all
}

#[test]
fn what_is_counted_in_many_turns_is_the_whole_count() {
    let connection = database();
    let all = log(&connection);
    let turn = Turn {
        effort: Effort {
            first: 1,
            most: 1,
            time: Duration::from_millis(20),
        },
        taken: &|| Duration::from_millis(1),
    };

    for asked in questions() {
        let (mut counted, mut turns) = (Counted::default(), 0);
        let mut onward = Some(Onward::from(Cursor::NEWEST));
        while let Some(from) = onward {
            let of_turn = count_with(&connection, &asked, from, &turn).unwrap();
            assert!(!of_turn.cut);
            counted.extend(of_turn.uses);
            onward = of_turn.onward;
            turns += 1;
            let served = onward.map_or(Duration::ZERO, |onward| onward.course.served);
            assert!(onward.is_none() || served == Duration::from_millis(turns));
        }

        let mut expected = Counted::default();
        let is_asked = |(host, event): &&(String, Event)| {
            event.kind() == EventKind::GrantOpened
                && (asked.user.is_empty() || event.user == asked.user)
                && (asked.hosts.is_empty() || asked.hosts.contains(host))
                && (asked.since_ms..=asked.until_ms).contains(&event.at_ms)
        };
        for (host, event) in all.iter().filter(is_asked) {
            expected.add(Use {
                user: event.user.clone(),
                key: event.key.clone(),
                host: UsedOn {
                    member: None,
                    called_now: host.clone(),
                },
                stanza: event.stanza.clone(),
                count: 1,
                last_ms: event.at_ms,
            });
        }
        let expected = expected.into_uses();
        assert_eq!(counted.into_uses(), expected, "{asked:?}");
        assert!(turns > 5 || expected.is_empty(), "{asked:?}: {turns}");
        assert_eq!(expected.is_empty(), asked.hosts == ["none"]);
    }
}

/// Each question's first statement, with the index that is to give it.
fn statements(dialect: Dialect) -> Vec<(&'static str, String, Vec<Value>)> {
    let window = Window {
        after: Cursor::NEWEST,
        floor_ms: Some(7),
    };
    let of = |user: &str, hosts: Vec<i64>, index| {
        let question = Question::of(&asked(user, &[]), hosts);
        let arms = question.driver.arms(&question.filter, &question.known);
        let (sql, values) = question.statement(dialect, (arms.first().unwrap(), window));
        (index, sql, values)
    };
    vec![
        of("", vec![], "events_by_kind"),
        of("alice", vec![], "events_by_user"),
        of("alice", vec![1, 2], "events_by_user"),
        of("", vec![1, 2, 3], "events_by_host"),
    ]
}

#[test]
fn uses_are_counted_by_an_index_and_no_table_is_read_as_a_whole() {
    let connection = database();
    for (index, sql, values) in statements(Dialect::Sqlite) {
        let mut statement = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        let values = rusqlite::params_from_iter(values);
        let lines = statement.query_map(values, |row| row.get::<_, String>(3));
        let lines: Vec<String> = lines.unwrap().map(Result::unwrap).collect();
        let plan = lines.join("\n");
        assert!(plan.contains(index), "{plan}");
        assert!(!plan.contains("SCAN"), "{plan}");
    }
}

#[test]
fn over_postgresql_uses_are_counted_by_the_same_index() {
    let trial = Trial::start("fsync = off\nsynchronous_commit = off\nfull_page_writes = off");
    trial.ask(|connection| {
        for (index, sql, values) in statements(connection.dialect()) {
            let explain = format!("EXPLAIN (COSTS OFF) {sql}");
            let mut statement = connection.prepare(&explain).unwrap();
            let values = params_from_iter(values);
            let lines = statement.query_map(values, |row| row.get::<_, String>(0));
            let lines: Vec<String> = lines.unwrap().map(Result::unwrap).collect();
            let plan = lines.join("\n");
            assert!(plan.contains(&format!("using {index}")), "{sql}\n{plan}");
            assert!(!plan.contains("Seq Scan on events"), "{plan}");
        }
    });
}
