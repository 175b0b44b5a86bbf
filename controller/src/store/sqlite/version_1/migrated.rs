//! A database of version 1 with something in it, opened by the store of today.

use std::path::{Path, PathBuf};

use fleet::{EventKind, EventRecord, Role};
use tempfile::TempDir;

use super::*;
use crate::store::Store;
use crate::store::model::{Cursor, EventFilter, LogRow, Origin};
use crate::store::seal::SealKey;

const FLEET_1: &str = include_str!("../../../../tests/data/fleet-1.sql");
/// When the first event happened.
const T: u64 = 1_764_000_000_000;
const CONTROLLERS: &str = "c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0";
const HOSTS: &str = "0123456789abcdef0123456789abcdef";

/// What of a row no version may change: its place, its time of arrival, and both chains.
type Fixed = (i64, i64, i64, i64, Vec<u8>, i64, Vec<u8>);

fn old_database(dir: &TempDir) -> PathBuf {
    let path = dir.path().join("controller.db");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(FLEET_1).unwrap();
    path
}

fn open(path: &Path) -> Store {
    Store::open(&path.into(), SealKey::new(&[7; 32])).unwrap()
}

fn fixed(path: &Path) -> Vec<Fixed> {
    let connection = Connection::open(path).unwrap();
    let sql =
        "SELECT id, journal, host, seq, chain, stored_at_ms, log_chain FROM events ORDER BY id";
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| {
        Ok((
            row.get(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
            row.get(5)?,
            row.get(6)?,
        ))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// Rows that answer a question, by id.
async fn search(store: &Store, filter: EventFilter) -> Vec<LogRow> {
    let rows = store.search(filter, Cursor::NEWEST, 100).await;
    let mut rows = rows.unwrap();
    rows.sort_by_key(|row| row.id);
    rows
}

async fn ids(store: &Store, filter: EventFilter) -> Vec<u64> {
    let rows = search(store, filter).await;
    rows.into_iter().map(|row| row.id).collect()
}

fn event(seq: u64, at_ms: u64, kind: EventKind) -> Event {
    Event {
        seq,
        ..Event::new(kind, at_ms)
    }
}

/// What the file says, in the words of today.
fn events() -> Vec<Event> {
    let text = str::to_owned;
    let ports = |ports: &[&str]| ports.iter().copied().map(text).collect();
    let mistake = |line| format!("access.conf, line {line}: KEY is missing\n");
    vec![
        Event {
            user: text("postern-controller init"),
            reason: text("token for operator"),
            ..event(1, T, EventKind::Operator)
        },
        Event {
            user: text("root"),
            reason: text("host web-1 joined"),
            source: text("192.0.2.7"),
            ..event(2, T + 1, EventKind::Enrolled)
        },
        Event {
            user: text("alice"),
            key: text("k1"),
            stanza: text("ssh"),
            generation: 3,
            source: text("192.0.2.4"),
            opened: text("192.0.2.4"),
            ports: ports(&["tcp/22", "udp/53"]),
            until_ms: T + 31_000,
            replay_digest: "ab".repeat(32),
            ..event(1, T + 1_000, EventKind::GrantOpened)
        },
        Event {
            user: text("bob"),
            key: text("k2"),
            stanza: text("ssh"),
            generation: 3,
            source: text("2001:db8::7"),
            opened: text("2001:db8::8"),
            ports: ports(&["tcp/22"]),
            until_ms: T + 32_000,
            replay_digest: "00".repeat(32),
            ..event(2, T + 2_000, EventKind::GrantOpened)
        },
        Event {
            source: text("192.0.2.04"),
            replay_digest: text("ABCD"),
            reason: text("too old"),
            ..event(3, T + 3_000, EventKind::Refused)
        },
        Event {
            reason: (1..=479).map(mistake).collect(),
            ..event(4, T + 4_000, EventKind::PolicyRejected)
        },
        Event {
            user: text("alice"),
            stanza: text("ssh"),
            opened: text("192.0.2.4"),
            ports: ports(&["tcp/22", "udp/53"]),
            ..event(5, T + 5_000, EventKind::GrantClosed)
        },
        Event {
            source: text("somewhere"),
            count: 12,
            ..event(6, T + 6_000, EventKind::Refused)
        },
    ]
}

#[tokio::test]
async fn every_event_of_version_1_keeps_its_place_and_chains_and_reads_as_it_was() {
    let dir = TempDir::new().unwrap();
    let path = old_database(&dir);
    let before = fixed(&path);

    let store = open(&path);

    assert_eq!(before.len(), 8);
    assert_eq!(fixed(&path), before);
    let rows = search(&store, EventFilter::default()).await;
    let read: Vec<_> = rows.iter().map(|row| row.event.event().unwrap()).collect();
    assert_eq!(read, events());
    let versions = rows.iter().map(|row| row.event.chain_version);
    assert!(versions.into_iter().all(|version| version == 1));
    let journals: Vec<_> = rows.iter().map(|row| row.epoch.as_str()).collect();
    assert_eq!(journals, [&[CONTROLLERS; 2][..], &[HOSTS; 6]].concat());
    // It was accepted whole then, but is longer than events of today.
    let long = rows.iter().filter(|row| !row.flaw.is_empty());
    let long: Vec<_> = long.map(|row| (row.id, row.flaw.as_str())).collect();
    assert_eq!(long, [(6, "longer than 8192 bytes")]);
    store.close().await;
}

#[tokio::test]
async fn what_was_searched_in_version_1_is_found_after_the_migration() {
    let dir = TempDir::new().unwrap();
    let store = open(&old_database(&dir));
    let any = EventFilter::default;

    for (filter, expected) in [
        (
            EventFilter {
                port: "tcp/22".parse().ok(),
                ..any()
            },
            vec![3, 4, 7],
        ),
        (
            EventFilter {
                port: "udp/53".parse().ok(),
                hosts: vec!["web-1".to_owned()],
                ..any()
            },
            vec![3, 7],
        ),
        (
            EventFilter {
                address: "192.0.2.4/32".parse().ok(),
                ..any()
            },
            vec![3, 7],
        ),
        (
            EventFilter {
                address: "2001:db8::/64".parse().ok(),
                ..any()
            },
            vec![4],
        ),
        (
            EventFilter {
                users: vec!["alice".to_owned()],
                ..any()
            },
            vec![3, 7],
        ),
        (
            EventFilter {
                kinds: vec![EventKind::Refused.into()],
                ..any()
            },
            vec![5, 8],
        ),
    ] {
        assert_eq!(ids(&store, filter.clone()).await, expected, "{filter:?}");
    }
    store.close().await;
}

#[tokio::test]
async fn a_journal_of_version_1_goes_on_after_the_migration_and_is_not_called_broken() {
    let dir = TempDir::new().unwrap();
    let path = old_database(&dir);
    let end = fixed(&path).pop().unwrap();
    let store = open(&path);
    let chain = end.4.as_slice().try_into().unwrap();
    let next = EventRecord::after(6, &chain, Event::new(EventKind::Refused, T + 7_000));

    let host = (2, "web-1".to_owned());
    let found = Origin::controller("0".repeat(32));
    let pushed = store.push_events(host, HOSTS.to_owned(), vec![next], found, T + 8_000);
    let pushed = pushed.await.unwrap();

    assert_eq!((pushed.acknowledged_seq, pushed.broken_at), (7, None));
    let rows = search(&store, EventFilter::default()).await;
    let newest = rows.last().unwrap();
    assert_eq!((newest.id, newest.flaw.as_str()), (9, ""));
    store.close().await;
}

#[tokio::test]
async fn members_and_their_states_of_version_1_are_there_after_the_migration() {
    let dir = TempDir::new().unwrap();
    let store = open(&old_database(&dir));

    let (hosts, states) = store.hosts().await.unwrap();

    let [host] = hosts.as_slice() else {
        panic!("{hosts:?}");
    };
    assert_eq!((host.name.as_str(), host.role), ("web-1", Role::Host));
    assert_eq!(host.labels.get("role").map(String::as_str), Some("web"));
    let state = &states[&host.id];
    assert_eq!(state.agent_version, "0.1.0");
    assert_eq!(state.audit_fault, "");
    store.close().await;
}

#[tokio::test]
async fn certificates_of_version_1_stay_their_members_and_new_keys_have_ids_above_theirs() {
    let dir = TempDir::new().unwrap();
    let path = old_database(&dir);
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "INSERT INTO members VALUES (9, 'host', 'gone', zeroblob(32), NULL, '', 0, '{}', 1, NULL);
             DELETE FROM members WHERE id = 9;
             UPDATE members SET banned_at_ms = 5 WHERE name = 'web-1';
             INSERT INTO tokens VALUES (zeroblob(32), 'user', 'alice', '{}', 'root', 1, 2, NULL, NULL,
                                        NULL);",
        )
        .unwrap();
    drop(connection);

    let store = open(&path);
    let members = store.members().await.unwrap();
    let new = crate::store::fixture::join(&store, Role::User, "alice").await;

    // A certificate of version 1 carries the id of its member.
    let ids: Vec<_> = members
        .iter()
        .map(|member| (member.id, member.keys[0].id))
        .collect();
    assert_eq!(ids, [(2, 2), (1, 1)]);
    assert_eq!(members[0].keys[0].identity_key, [2; 32]);
    assert_eq!(members[0].exchange_key(), Some([3; 32]));
    let lock = members[0].lock.as_ref().unwrap();
    assert_eq!((lock.at_ms, lock.reason.as_str()), (5, "banned"));
    assert!(new.id > 9 && new.keys[0].id > 9, "{new:?}");
    let tokens = store.tokens(1_000).await.unwrap();
    let alices = tokens.iter().find(|token| token.invitation.name == "alice");
    let alices = &alices.unwrap().invitation;
    assert_eq!((alices.creator, alices.id.len()), (Some(1), 12));
    store.close().await;
}
