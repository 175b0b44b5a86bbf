//! What holds when the disk is full, wherever that happens.

use fleet::{EventKind, Role};
use prometheus_client::metrics::histogram::Histogram;
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::writer;
use super::{connection, members, meta, migrations, policies, rows, tokens};
use crate::store::error::StoreError;
use crate::store::fixture::{NOW_MS, event, invitation, new_member, new_policy};
use crate::store::health::Health;
use crate::store::jobs::{Job, Message, Together as _, Waiting};
use crate::store::model::{
    AfterRestore, ApplyOutcome, Cursor, EnrollOutcome, EventFilter, Joining, NewToken,
};
use crate::store::seal::SealKey;

const SECRET: [u8; 32] = [1; 32];

fn count_of_events(connection: &Connection) -> usize {
    let rows = super::search::page(
        connection,
        &EventFilter::default(),
        Cursor::NEWEST.into(),
        100,
    );
    rows.unwrap().rows.len()
}

/// A fleet with one token, in a database that can grow by so many pages.
fn database(dir: &TempDir, pages: i64) -> Connection {
    let mut connection = connection::writing(&dir.path().join("controller.db")).unwrap();
    migrations::apply(&mut connection).unwrap();
    rows::prove(&connection);
    meta::create(&connection, "e", 0).unwrap();
    let created = event(EventKind::Operator, "token");
    let token = NewToken {
        secret: SECRET,
        invitation: invitation(Role::Host),
        event: created,
    };
    Box::<NewToken>::all(&connection, &[Box::new(token)]).unwrap();
    let size: i64 = connection
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .unwrap();
    connection
        .pragma_update(None, "max_page_count", size + pages)
        .unwrap();
    connection
}

/// Joins a host and applies a policy in one transaction, and says which of them was answered so.
fn write(connection: &Connection) -> [bool; 2] {
    let (join, mut joined) = Job::new(|connection| {
        let mut member = new_member(Role::Host, "web-1");
        // Some pages, so that the disk can be full in the middle.
        member.labels.insert("long".to_owned(), "x".repeat(20_000));
        let joining = Box::new(Joining {
            secret: SECRET.to_vec(),
            member,
            event: event(EventKind::Enrolled, "joined"),
            now_ms: NOW_MS,
        });
        let mut joined = Box::<Joining>::all(connection, &[joining])?;
        joined.pop().ok_or(StoreError::Panicked)
    });
    let (apply, mut applied) = Job::new(|connection| {
        let policy = new_policy(&"# a remark\n".repeat(2_000));
        let base = (0, AfterRestore::No);
        policies::apply(connection, &SealKey::new(&[7; 32]), base, policy)
    });
    let (sender, mut queue) = mpsc::channel(2);
    for job in [join, apply] {
        sender
            .try_send(Message::Write(Waiting::Alone(job)))
            .unwrap();
    }
    drop(sender);
    let measured = (&Histogram::new([]), Health::default());
    writer::run(connection, &mut queue, measured);
    let (joined, applied) = (joined.try_recv().unwrap(), applied.try_recv().unwrap());
    for error in [joined.as_ref().err(), applied.as_ref().err()] {
        let is_full =
            |error| matches!(error, &StoreError::Engine(_) | &StoreError::NotCommitted(_));
        assert!(error.is_none_or(is_full), "{error:?}");
    }
    [
        matches!(joined, Ok(EnrollOutcome::Enrolled(_))),
        matches!(applied, Ok(ApplyOutcome::Applied { generation: 1 })),
    ]
}

#[test]
fn when_the_disk_is_full_an_operation_is_done_whole_or_not_at_all() {
    let mut failed = 0;
    for pages in 0.. {
        let dir = TempDir::new().unwrap();
        let connection = database(&dir, pages);

        let [joined, applied] = write(&connection);

        let member = members::find(&connection, Role::Host, "web-1").unwrap();
        let token = tokens::find(&connection, &SECRET).unwrap().unwrap();
        let generation = policies::current(&connection).unwrap();
        assert_eq!(member.is_some(), joined, "{pages} pages");
        assert_eq!(token.redemption.is_some(), joined, "{pages} pages");
        assert_eq!(generation, u64::from(applied), "{pages} pages");
        let events = 1 + usize::from(joined) + usize::from(applied);
        assert_eq!(count_of_events(&connection), events, "{pages} pages");
        if joined && applied {
            break;
        }
        failed += 1;
    }
    assert!(failed > 5, "the disk was full in {failed} places only");
}
