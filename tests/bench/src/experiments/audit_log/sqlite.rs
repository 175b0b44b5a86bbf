//! The same in a file of SQLite's, in one transaction without syncing.

use std::path::Path;

use anyhow::Context as _;
use rusqlite::{Connection, Statement, params};

use super::{Event, HOSTS, OLDER, PORTS};

const EVENT: &str = "INSERT INTO events (journal, host, seq, body, chain, chain_version, \
     stored_at_ms, log_chain, at_ms, kind, user, key, stanza, generation, source, opened, \
     replay_digest, grant_id) VALUES (?1, ?2, ?3, ?4, ?5, 2, ?6, ?5, ?6, ?7, ?8, ?9, ?10, 1, ?11, \
     ?11, ?5, ?12)";

/// Adds `events` events of the weeks before `now_ms`.
pub(crate) fn fill(database: &Path, events: u64, now_ms: u64) -> anyhow::Result<()> {
    let connection = Connection::open(database)?;
    for (pragma, value) in [
        ("synchronous", "off"),
        ("journal_mode", "off"),
        ("locking_mode", "exclusive"),
        ("cache_size", "-1000000"),
        ("threads", "2"),
    ] {
        // Some of them answer with the new value.
        connection
            .pragma_update_and_check(None, pragma, value, |_| Ok(()))
            .ok();
    }
    let indexes = drop_indexes(&connection)?;
    let last: i64 = connection.query_row("SELECT ifnull(max(id), 0) FROM events", [], |row| {
        row.get(0)
    })?;
    connection.execute(OLDER, [])?;
    connection.execute_batch("BEGIN")?;
    let first = add_hosts(&connection)?;
    let mut insert = connection.prepare(EVENT)?;
    for event in super::events(events, now_ms) {
        add(&mut insert, first, &event?)?;
    }
    drop(insert);
    connection.execute(PORTS, [last])?;
    connection.execute_batch("COMMIT")?;
    for index in indexes {
        connection.execute_batch(&index)?;
    }
    // As the controller left it.
    connection.pragma_update(None, "journal_mode", "wal")?;
    Ok(())
}

/// Gives the definitions of the event indexes.
fn drop_indexes(connection: &Connection) -> anyhow::Result<Vec<String>> {
    let mut statement = connection.prepare(
        "SELECT name, sql FROM sqlite_schema \
         WHERE type = 'index' AND tbl_name = 'events' AND sql IS NOT NULL",
    )?;
    let indexes: Vec<(String, String)> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (name, _) in &indexes {
        connection.execute_batch(&format!("DROP INDEX {name}"))?;
    }
    Ok(indexes.into_iter().map(|(_, sql)| sql).collect())
}

/// The ids of the first host and of its journal; the others follow.
#[derive(Clone, Copy)]
struct First {
    host: i64,
    journal: i64,
}

/// The hosts `web-1`, `web-2` and so on, with a journal each.
fn add_hosts(connection: &Connection) -> anyhow::Result<First> {
    let mut host = connection.prepare("INSERT INTO event_hosts (name) VALUES (?1)")?;
    let mut journal = connection.prepare(
        "INSERT INTO journals (host, epoch, last_seq, chain) VALUES (?1, ?2, ?3, zeroblob(32))",
    )?;
    let mut first = None;
    for number in 1..=HOSTS {
        let host = host.insert([format!("web-{number}")])?;
        let journal = journal.insert(params![host, format!("{number:032x}"), i64::MAX])?;
        first = first.or(Some(First { host, journal }));
    }
    first.context("no hosts")
}

fn add(insert: &mut Statement<'_>, first: First, event: &Event) -> anyhow::Result<()> {
    let named = event.named.as_ref();
    insert
        .execute(params![
            first.journal + event.place,
            first.host + event.place,
            event.number,
            event.body,
            event.digest,
            event.at_ms,
            event.kind,
            named.map(|named| &named.user),
            named.map(|named| &named.key),
            named.map(|named| named.stanza),
            event.source,
            named.map(|_| event.grant()),
        ])
        .context("inserting an event")?;
    Ok(())
}
