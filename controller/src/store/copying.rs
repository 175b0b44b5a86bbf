//! A database copied to another place, whichever engine is at either.
//!
//! | file | what |
//! |---|---|
//! | `out` | into a file, while controllers serve: for backups |
//! | `tables` | every table of the schema, read and written whatever its columns are |
//!
//! The source is read in one snapshot. Rows go over in the order of their keys, some at a time, and how
//! far each table is stands in the target, in the same transaction: whoever is killed goes on there. As
//! long as that table (`db_copy`) is in a database, no controller serves from it. At the end every table
//! is read again on both sides, and the log is verified in the copy as `check` does it.

mod out;
mod tables;

use sha2::{Digest as _, Sha256};

pub(crate) use self::out::copy_out;
use self::tables::{Table, add, read, written};
use super::Place;
use super::alone::Alone;
use super::error::StoreError;
use super::model::Examined;
use super::seal::SealKey;
use super::sql::{Connection, Dialect, OptionalExtension as _, Value, params};
use super::sqlite::half_copy::is_half;
use super::sqlite::{backup, meta, rows};

/// Rows that are copied in one transaction, and read at once.
pub(crate) const ROWS: usize = 1_000;
/// Where it stands how far a copy is.
const POSITIONS: &str =
    "CREATE TABLE db_copy (name text PRIMARY KEY, position text NOT NULL, copied bigint NOT NULL)";
/// The name of what says which database is copied.
const SOURCE: &str = "";

/// What is to be copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copying<'a> {
    pub(crate) from: &'a Place,
    pub(crate) to: &'a Place,
    pub(crate) seal: &'a SealKey,
    pub(crate) fleet: &'a str,
    /// Rows in one transaction.
    pub(crate) rows: usize,
}

/// How far a copy is.
#[derive(Clone, Copy, Debug)]
pub struct CopyStep<'t> {
    /// `copied`, `compared` or `verified`.
    pub what: &'static str,
    /// Its name.
    pub table: &'t str,
    /// Rows so far.
    pub done: u64,
    /// All of them.
    pub all: u64,
}

/// What was copied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Copied {
    pub(crate) tables: usize,
    pub(crate) rows: u64,
    /// Of the log.
    pub(crate) records: u64,
    /// It went on where another was killed.
    pub(crate) is_resumed: bool,
}

/// Why a database was not copied; the controller's settings are as they were.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A database.
    #[error("cannot copy the database")]
    Store(#[from] StoreError),
    /// Nothing is copied over a fleet.
    #[error("the database at {0} is not empty; nothing in it was changed")]
    NotEmpty(String),
    /// Nor over half a copy of another.
    #[error("the database at {0} holds half a copy of another fleet; nothing in it was changed")]
    Foreign(String),
    /// There is nothing to copy.
    #[error("the database at {0} holds no fleet")]
    NoFleet(String),
    /// It was changed, or this is a defect.
    #[error("table {0} of the copy is not what was to be copied")]
    Differs(String),
    /// As `check` says it.
    #[error("the log in the copy is not sound: {0}")]
    Log(String),
}

/// Which database it is, and in which state.
#[derive(Debug, Eq, PartialEq)]
struct Identity {
    fleet: String,
    state: String,
}

type Progress<'p> = dyn FnMut(&CopyStep<'_>) + 'p;

/// Copies, or goes on with a copy; not in a task.
pub(crate) fn copy(of: Copying<'_>, progress: &mut Progress<'_>) -> Result<Copied, CopyError> {
    let tables = tables::all()?;
    let source = Alone::open(of.from, of.seal)?;
    source.freeze()?;
    let from = source.sql();
    let Some(identity) = identity(from)? else {
        return Err(CopyError::NoFleet(of.from.to_string()));
    };
    // What is not ours would be ours in a copy.
    if from.proves_rows()
        && let Some((table, row)) = rows::altered(from)?.into_iter().next()
    {
        return Err(StoreError::Altered { table, row }.into());
    }
    let target = Alone::open(of.to, of.seal)?;
    let to = target.sql();
    let is_whole = !is_half(to)? && self::identity(to)?.as_ref() == Some(&identity);
    let mut is_resumed = is_whole;
    if !is_whole {
        is_resumed = begin(&target, &tables, (&identity, of.to))?;
        for table in &tables {
            copy_table(&source, &target, table, (of.rows, progress))?;
        }
    }
    let copied = compare(from, to, &tables, (of.rows, progress))?;
    let records = verify(to, of, progress)?;
    // Whoever was there without our knowing has written something.
    source.is_alone(of.from)?;
    target.is_alone(of.to)?;
    if !is_whole {
        target.within(|to| {
            tables::carry_last_ids(from, to)?;
            if to.dialect() == Dialect::Postgres {
                meta::set_rows_proven(to)?;
            }
            Ok(to.execute_batch("DROP TABLE db_copy")?)
        })?;
        if to.dialect() == Dialect::Postgres {
            to.execute_batch("ANALYZE").map_err(StoreError::from)?;
        }
    }
    Ok(Copied {
        tables: tables.len(),
        rows: copied,
        records,
        is_resumed,
    })
}

/// Makes the target one that this source may be copied to; says whether half of it is there.
fn begin(
    target: &Alone,
    tables: &[Table],
    (identity, place): (&Identity, &Place),
) -> Result<bool, CopyError> {
    let to = target.sql();
    let is_begun = is_half(to)?;
    if is_begun {
        let known: String = to
            .prepare("SELECT position FROM db_copy WHERE name = ?1")
            .and_then(|mut it| it.query_row([SOURCE], |row| row.get(0)))
            .map_err(StoreError::from)?;
        let (fleet, state) = known.split_once(' ').unwrap_or_default();
        if fleet != identity.fleet {
            return Err(CopyError::Foreign(place.to_string()));
        }
        if state == identity.state {
            return Ok(true);
        }
    } else {
        for table in tables {
            // What a new schema has.
            let is_seeded = ["meta", "event_words_end"].contains(&table.name.as_str());
            if !is_seeded && table.count(to)? > 0 {
                return Err(CopyError::NotEmpty(place.to_string()));
            }
        }
        if self::identity(to)?.is_some() {
            return Err(CopyError::NotEmpty(place.to_string()));
        }
    }
    // Half a copy of this fleet as it was before it served again is begun anew.
    target.within(|to| {
        if is_begun {
            to.execute_batch("DROP TABLE db_copy")?;
        }
        to.execute_batch(POSITIONS)?;
        for table in tables.iter().rev() {
            table.clear(to)?;
        }
        let known = format!("{} {}", identity.fleet, identity.state);
        note(to, SOURCE, (&known, 0))
    })?;
    Ok(false)
}

fn note(to: &Connection, name: &str, (position, copied): (&str, u64)) -> Result<(), StoreError> {
    to.prepare_cached(
        "INSERT INTO db_copy (name, position, copied) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET position = excluded.position, copied = excluded.copied",
    )?
    .execute(params![name, position, copied.cast_signed()])?;
    Ok(())
}

fn copy_table(
    source: &Alone,
    target: &Alone,
    table: &Table,
    (rows, progress): (usize, &mut Progress<'_>),
) -> Result<(), StoreError> {
    let (from, to) = (source.sql(), target.sql());
    let known: Option<(String, i64)> = to
        .prepare("SELECT position, copied FROM db_copy WHERE name = ?1")?
        .query_row([table.name.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (position, copied) = known.unwrap_or_default();
    let mut after = read(&position).ok_or(StoreError::Damaged { what: "db_copy" })?;
    let mut done = copied.cast_unsigned();
    let all = table.count(from)?;
    loop {
        let mut page = table.page(from, &after, rows)?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = table.key(last);
        if to.dialect() == Dialect::Postgres {
            page.iter_mut().for_each(|row| table.fit(row));
        }
        done += page.len() as u64;
        target.within(|to| {
            table.insert(to, &page)?;
            note(to, &table.name, (&written(&after), done))?;
            progress(&CopyStep {
                what: "copied",
                table: &table.name,
                done,
                all,
            });
            Ok(())
        })?;
    }
}

/// Compares every table; gives how many rows there are.
fn compare(
    from: &Connection,
    to: &Connection,
    tables: &[Table],
    (rows, progress): (usize, &mut Progress<'_>),
) -> Result<u64, CopyError> {
    let mut count = 0;
    let is_to_fit = to.dialect() == Dialect::Postgres;
    for table in tables {
        let all = table.count(from)?;
        if table.digest(from, (rows, is_to_fit))? != table.digest(to, (rows, false))? {
            return Err(CopyError::Differs(table.name.clone()));
        }
        count += all;
        progress(&CopyStep {
            what: "compared",
            table: &table.name,
            done: all,
            all,
        });
    }
    Ok(count)
}

/// Reads the log of the copy as `check` does; gives how many records it has.
fn verify(to: &Connection, of: Copying<'_>, progress: &mut Progress<'_>) -> Result<u64, CopyError> {
    let mut examined = Examined::default();
    let mut said = |done, all| {
        progress(&CopyStep {
            what: "verified",
            table: "events",
            done,
            all,
        });
    };
    backup::chains(to, of.seal, of.fleet, (&mut examined, &mut said))?;
    let faults = examined.log.faults.iter();
    let fault = faults
        .map(|fault| format!("record {}: {}", fault.record, fault.words))
        .chain([examined.audit_key_fault, examined.search_fault])
        .find(|fault| !fault.is_empty());
    match fault {
        Some(fault) => Err(CopyError::Log(fault)),
        None => Ok(examined.log.records),
    }
}

/// Which database it is; `None` of one without a fleet.
fn identity(connection: &Connection) -> Result<Option<Identity>, StoreError> {
    let mut state = Sha256::new();
    let mut fleet = None;
    let mut statement = connection.prepare("SELECT key, value FROM meta ORDER BY key")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (key, value): (String, Value) = (row.get(0)?, row.get(1)?);
        if meta::OF_PROGRAM.contains(&key.as_str()) {
            continue;
        }
        if let (meta::JOURNAL_EPOCH, Value::Text(epoch)) = (key.as_str(), &value) {
            fleet = Some(epoch.clone());
        }
        add(&mut state, &Value::Text(key));
        add(&mut state, &value);
    }
    // Whoever writes beside a controller records it.
    let mut statement =
        connection.prepare("SELECT id, log_chain FROM events ORDER BY id DESC LIMIT 1")?;
    let mut rows = statement.query([])?;
    if let Some(row) = rows.next()? {
        add(&mut state, &row.get(0)?);
        add(&mut state, &row.get(1)?);
    }
    let state = hex::encode(state.finalize());
    Ok(fleet.map(|fleet| Identity { fleet, state }))
}

#[cfg(test)]
mod tests;
