//! What is known once for the whole fleet.

use rusqlite::{Connection, OptionalExtension as _};

use super::number::signed;
use crate::store::error::StoreError;
use crate::store::model::RunBegun;

const REPLAY_FLOOR: &str = "replay_floor_secs";
const RUN: &str = "run";
const JOURNAL_EPOCH: &str = "journal_epoch";

/// Facts that `init` writes: the controller's own journal, and the replay list's beginning.
pub(in crate::store) fn create(
    connection: &Connection,
    journal_epoch: &str,
    now_secs: u64,
) -> Result<(), StoreError> {
    set(connection, JOURNAL_EPOCH, journal_epoch)?;
    set(connection, REPLAY_FLOOR, signed(now_secs))
}

/// Names the controller's own journal in the fleet's log.
pub(super) fn journal_epoch(connection: &Connection) -> Result<String, StoreError> {
    value(connection, JOURNAL_EPOCH)?.ok_or_else(|| damaged(JOURNAL_EPOCH))
}

/// Packets dated before this cannot be claimed: the list does not know what was granted until
/// then.
fn replay_floor_secs(connection: &Connection) -> Result<u64, StoreError> {
    value(connection, REPLAY_FLOOR)?.ok_or_else(|| damaged(REPLAY_FLOOR))
}

/// See `Store::begin_run`.
pub(in crate::store) fn begin_run(
    connection: &Connection,
    previous: Option<&str>,
    run: &str,
    now_secs: u64,
) -> Result<RunBegun, StoreError> {
    let known: Option<String> = value(connection, RUN)?;
    let restored = known.as_deref() != previous;
    let floor = replay_floor_secs(connection)?;
    let raised = if restored { floor.max(now_secs) } else { floor };
    set(connection, REPLAY_FLOOR, signed(raised))?;
    set(connection, RUN, run)?;
    Ok(RunBegun {
        replay_floor_secs: raised,
        restored,
    })
}

fn value<T: rusqlite::types::FromSql>(
    connection: &Connection,
    key: &str,
) -> Result<Option<T>, StoreError> {
    let value = connection
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    Ok(value)
}

fn set(connection: &Connection, key: &str, value: impl rusqlite::ToSql) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )?
        .execute(rusqlite::params![key, value])?;
    Ok(())
}

fn damaged(what: &'static str) -> StoreError {
    StoreError::Damaged { what }
}
