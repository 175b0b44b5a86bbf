//! Every policy there ever was. Generations are 1, 2, 3 and so on, without gaps.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use zeroize::Zeroizing;

use super::events;
use super::number::signed;
use crate::store::error::StoreError;
use crate::store::model::{ApplyOutcome, Generation, NewPolicy};
use crate::store::seal::SealKey;

const COLUMNS: &str = "generation, author, message, at_ms, rollback_of, stanzas";

/// See `Store::current_generation`.
pub(in crate::store) fn current(connection: &Connection) -> Result<u64, StoreError> {
    let current: Option<u64> = connection
        .prepare_cached("SELECT max(generation) FROM policies")?
        .query_row([], |row| row.get(0))?;
    Ok(current.unwrap_or(0))
}

/// See `Store::apply_policy`.
pub(in crate::store) fn apply(
    connection: &Connection,
    key: &SealKey,
    base: u64,
    policy: NewPolicy,
) -> Result<ApplyOutcome, StoreError> {
    let current = current(connection)?;
    if base != current {
        return Ok(ApplyOutcome::Stale { current });
    }
    let generation = insert(connection, key, current + 1, policy)?;
    Ok(ApplyOutcome::Applied { generation })
}

/// See `Store::rollback_policy`.
pub(in crate::store) fn rollback(
    connection: &Connection,
    key: &SealKey,
    policy: NewPolicy,
) -> Result<u64, StoreError> {
    let current = current(connection)?;
    insert(connection, key, current + 1, policy)
}

fn insert(
    connection: &Connection,
    key: &SealKey,
    generation: u64,
    policy: NewPolicy,
) -> Result<u64, StoreError> {
    let NewPolicy {
        text,
        author,
        message,
        at_ms,
        rollback_of,
        stanzas,
        mut event,
    } = policy;
    connection
        .prepare_cached(
            "INSERT INTO policies (generation, sealed_text, author, message, at_ms, rollback_of,
                                   stanzas)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            signed(generation),
            key.seal(&place(generation), &text)?,
            author,
            message,
            signed(at_ms),
            signed(rollback_of),
            stanzas,
        ])?;
    event.generation = generation;
    events::append_own(connection, event)?;
    Ok(generation)
}

/// See `Store::policy_text`.
pub(in crate::store) fn text(
    connection: &Connection,
    key: &SealKey,
    generation: u64,
) -> Result<Option<Zeroizing<String>>, StoreError> {
    let sealed: Option<Vec<u8>> = connection
        .prepare_cached("SELECT sealed_text FROM policies WHERE generation = ?1")?
        .query_row([signed(generation)], |row| row.get(0))
        .optional()?;
    let text = sealed.map(|sealed| key.open(&place(generation), &sealed));
    Ok(text.transpose()?)
}

/// See `Store::generation`.
pub(in crate::store) fn find(
    connection: &Connection,
    generation: u64,
) -> Result<Option<Generation>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM policies WHERE generation = ?1");
    let found = connection
        .prepare_cached(&sql)?
        .query_row([signed(generation)], read)
        .optional()?;
    Ok(found)
}

/// See `Store::policy_history`.
pub(in crate::store) fn history(
    connection: &Connection,
    limit: u32,
) -> Result<Vec<Generation>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM policies ORDER BY generation DESC LIMIT ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let generations = statement.query_map([limit], read)?;
    Ok(generations.collect::<Result<_, _>>()?)
}

fn read(row: &Row<'_>) -> Result<Generation, rusqlite::Error> {
    Ok(Generation {
        generation: row.get(0)?,
        author: row.get(1)?,
        message: row.get(2)?,
        at_ms: row.get(3)?,
        rollback_of: row.get(4)?,
        stanzas: row.get(5)?,
    })
}

/// What binds a sealed text to its row.
fn place(generation: u64) -> String {
    format!("policy {generation}")
}
