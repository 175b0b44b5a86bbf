//! Every policy there ever was. Generations are 1, 2, 3 and so on, without gaps.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use zeroize::Zeroizing;

use super::signed;
use crate::error::Error;
use crate::seal::SealKey;

/// A policy to be stored.
#[derive(Debug)]
pub(crate) struct Proposal<'a> {
    pub(crate) text: &'a str,
    pub(crate) author: &'a str,
    pub(crate) message: &'a str,
    pub(crate) at_ms: u64,
    /// 0 unless it restores an older generation.
    pub(crate) rollback_of: u64,
    pub(crate) stanzas: u32,
}

/// What is known of one generation, without its text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Generation {
    pub(crate) generation: u64,
    pub(crate) author: String,
    pub(crate) message: String,
    pub(crate) at_ms: u64,
    pub(crate) rollback_of: u64,
    pub(crate) stanzas: u32,
}

const COLUMNS: &str = "generation, author, message, at_ms, rollback_of, stanzas";

/// The generation in force; 0 before the first.
pub(crate) fn current(connection: &Connection) -> Result<u64, Error> {
    let current: Option<u64> = connection
        .prepare_cached("SELECT max(generation) FROM policies")?
        .query_row([], |row| row.get(0))?;
    Ok(current.unwrap_or(0))
}

/// Stores the next generation, when `base` is still the current one.
pub(crate) fn insert(
    connection: &Connection,
    key: &SealKey,
    base: u64,
    proposal: &Proposal<'_>,
) -> Result<u64, Error> {
    let current = current(connection)?;
    if base != current {
        return Err(Error::StaleBase { base, current });
    }
    let generation = current + 1;
    connection
        .prepare_cached(
            "INSERT INTO policies (generation, sealed_text, author, message, at_ms, rollback_of,
                                   stanzas)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            signed(generation),
            key.seal(&place(generation), proposal.text)?,
            proposal.author,
            proposal.message,
            signed(proposal.at_ms),
            signed(proposal.rollback_of),
            proposal.stanzas,
        ])?;
    Ok(generation)
}

/// A generation and its text in clear.
pub(crate) fn text(
    connection: &Connection,
    key: &SealKey,
    generation: u64,
) -> Result<Option<Zeroizing<String>>, Error> {
    let sealed: Option<Vec<u8>> = connection
        .prepare_cached("SELECT sealed_text FROM policies WHERE generation = ?1")?
        .query_row([signed(generation)], |row| row.get(0))
        .optional()?;
    let text = sealed.map(|sealed| key.open(&place(generation), &sealed));
    Ok(text.transpose()?)
}

pub(crate) fn find(connection: &Connection, generation: u64) -> Result<Option<Generation>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM policies WHERE generation = ?1");
    let found = connection
        .prepare_cached(&sql)?
        .query_row([signed(generation)], read)
        .optional()?;
    Ok(found)
}

/// Newest first.
pub(crate) fn history(connection: &Connection, limit: u32) -> Result<Vec<Generation>, Error> {
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

fn place(generation: u64) -> String {
    format!("policy {generation}")
}
