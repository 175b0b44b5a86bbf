//! What is known once for the whole fleet.

use rusqlite::{Connection, OptionalExtension as _};

use super::{StoreError, signed};
use crate::error::Error;

const REPLAY_FLOOR: &str = "replay_floor_secs";
const RUN: &str = "run";
const JOURNAL_EPOCH: &str = "journal_epoch";

/// Facts that `init` writes: the controller's own journal, and the replay list's beginning.
pub(crate) fn create(
    connection: &Connection,
    journal_epoch: &str,
    now_secs: u64,
) -> Result<(), Error> {
    set(connection, JOURNAL_EPOCH, journal_epoch)?;
    set(connection, REPLAY_FLOOR, signed(now_secs))
}

/// Names the controller's own journal in the fleet's log.
pub(crate) fn journal_epoch(connection: &Connection) -> Result<String, Error> {
    value(connection, JOURNAL_EPOCH)?.ok_or_else(|| damaged(JOURNAL_EPOCH))
}

/// Packets dated before this cannot be claimed: the list does not know what was granted until then.
pub(crate) fn replay_floor_secs(connection: &Connection) -> Result<u64, Error> {
    value(connection, REPLAY_FLOOR)?.ok_or_else(|| damaged(REPLAY_FLOOR))
}

/// Raises the floor after a loss of the list; it never falls.
pub(crate) fn raise_replay_floor(connection: &Connection, secs: u64) -> Result<(), Error> {
    let floor = replay_floor_secs(connection)?;
    set(connection, REPLAY_FLOOR, signed(floor.max(secs)))
}

/// The name of the last run that used this database.
pub(crate) fn run(connection: &Connection) -> Result<Option<String>, Error> {
    value(connection, RUN)
}

pub(crate) fn set_run(connection: &Connection, run: &str) -> Result<(), Error> {
    set(connection, RUN, run)
}

fn value<T: rusqlite::types::FromSql>(
    connection: &Connection,
    key: &str,
) -> Result<Option<T>, Error> {
    let value = connection
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    Ok(value)
}

fn set(connection: &Connection, key: &str, value: impl rusqlite::ToSql) -> Result<(), Error> {
    connection
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )?
        .execute(rusqlite::params![key, value])?;
    Ok(())
}

fn damaged(what: &'static str) -> Error {
    StoreError::Damaged { what }.into()
}
