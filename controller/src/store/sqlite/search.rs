//! Who opened what: reading the fleet's log.
//!
//! Newest first by the hosts' own time, a page at a time: the next page begins after the last row
//! of the one before (keyset paging), so that no reading holds the database for long. Each
//! question is driven by the one index that narrows it most, chosen here and not by the planner,
//! whose guess changes with the data: digest, grant, request, address, port, user, key, stanza, actor,
//! reason, host, generation, kind, time (`search/driver.rs`). What no index narrows enough ends at the question's allowance.

mod conditions;
mod driver;
mod known;
mod statement;

use fleet::EventRecord;
use rusqlite::{Connection, OptionalExtension as _, Row};

use self::known::Known;
use self::statement::Statement;
use super::cost::is_interrupted;
use super::reasons;
use crate::store::error::StoreError;
use crate::store::model::{Cursor, EventFilter, LogRow, Page};

/// Reasons that are looked for by their index; more are looked for among all events.
const REASONS_MAX: usize = 16;

/// See `Store::page`.
pub(in crate::store) fn page(
    connection: &Connection,
    filter: &EventFilter,
    after: Cursor,
    limit: usize,
) -> Result<Page, StoreError> {
    let Some(known) = known(connection, filter)? else {
        return Ok(Page::default());
    };
    let Statement { sql, values } = Statement::new(filter, known, after, limit);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut page = Page::default();
    for row in statement.query_map(rusqlite::params_from_iter(values), read)? {
        match row {
            Ok(row) => page.rows.push(row),
            Err(error) if is_interrupted(&error) => {
                page.cut = true;
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(page)
}

/// How the database goes about a question, for tests.
#[cfg(test)]
fn plan(connection: &Connection, filter: &EventFilter, known: Known) -> String {
    let Statement { sql, values } = Statement::new(filter, known, Cursor::NEWEST, 100);
    let mut statement = connection
        .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
        .unwrap();
    let values = rusqlite::params_from_iter(values);
    let lines = statement.query_map(values, |row| row.get::<_, String>(3));
    let lines: Vec<String> = lines.unwrap().map(Result::unwrap).collect();
    lines.join("\n")
}

/// What of a question must be looked up first; `None` when nothing can match.
fn known(connection: &Connection, filter: &EventFilter) -> Result<Option<Known>, StoreError> {
    let mut known = Known::default();
    for name in &filter.hosts {
        known.hosts.extend(host_id(connection, name)?);
    }
    if known.hosts.is_empty() && !filter.hosts.is_empty() {
        return Ok(None);
    }
    let mut former = Vec::new();
    for name in &filter.hosts {
        former.extend(former_ids(connection, name)?);
    }
    if !former.is_empty() {
        known.asked.clone_from(&known.hosts);
        known.hosts.extend(former);
        known.hosts.sort_unstable();
        known.hosts.dedup();
    }
    if let Some(text) = &filter.reason {
        let found = reasons::beginning_with(connection, text, REASONS_MAX + 1)?;
        if found.is_empty() {
            return Ok(None);
        }
        known.reasons = (found.len() <= REASONS_MAX).then_some(found);
    }
    if filter.address.is_some() || filter.port.is_some() {
        known.has_blocks = connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM event_blocks)")?
            .query_row([], |row| row.get(0))?;
    }
    Ok(Some(known))
}

fn host_id(connection: &Connection, name: &str) -> Result<Option<i64>, StoreError> {
    let id = connection
        .prepare_cached("SELECT id FROM event_hosts WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    Ok(id)
}

/// Names under which events of the host of this name were stored before it was renamed.
fn former_ids(connection: &Connection, name: &str) -> Result<Vec<i64>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT DISTINCT h.id FROM members m JOIN member_keys k ON k.member = m.id
         JOIN former_names f ON f.key = k.id AND f.role = 'host'
         JOIN event_hosts h ON h.name = f.name
         WHERE m.role = 'host' AND m.name = ?1",
    )?;
    let ids = statement.query_map([name], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

fn read(row: &Row<'_>) -> Result<LogRow, rusqlite::Error> {
    let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    Ok(LogRow {
        id: number(0)?,
        host: row.get(1)?,
        epoch: row.get(2)?,
        at_ms: number(4)?,
        event: EventRecord {
            seq: number(3)?,
            body: row.get(5)?,
            chain: row.get(6)?,
            chain_version: row.get(7)?,
        },
        stored_at_ms: number(8)?,
        flaw: row.get::<_, Option<String>>(9)?.unwrap_or_default(),
        called_now: row.get(10)?,
    })
}

#[cfg(test)]
mod tests;
