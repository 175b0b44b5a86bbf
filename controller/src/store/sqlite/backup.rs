//! Copies of the database, and whether one is sound.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use fleet::EventRecord;
use fleet::event::Continuity;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::{connection, events, meta, policies, schema};
use crate::store::error::StoreError;
use crate::store::model::Examined;
use crate::store::seal::SealKey;

/// All pages in one step: one reading, so that the copy is of one moment and no writer can make it
/// begin again.
const ALL_PAGES: i32 = -1;
/// When the database cannot be read for a moment, it is tried again after this.
const PAUSE: Duration = Duration::from_millis(50);
const TRIES_MAX: u32 = 200;
/// Faults of pages and references that are named.
const FAULTS_MAX: usize = 10;

/// Copies the database at `from`, whether it is in use or not, into a file that is not there yet
/// (mode 0600). Gives the number of its schema.
pub(in crate::store) fn copy_file(from: &Path, to: &Path) -> Result<u32, StoreError> {
    let connection = connection::reading(from)?;
    let schema = schema::version(&connection)?;
    copy(&connection, to)?;
    Ok(schema)
}

/// The same, of an open database.
pub(super) fn copy(from: &Connection, to: &Path) -> Result<(), StoreError> {
    let failed = |source: io::Error| StoreError::Copy {
        path: to.to_owned(),
        source,
    };
    program::files::create(to, 0o600, b"").map_err(failed)?;
    let copied = fill(from, to);
    if copied.is_err() {
        // Half a copy is none.
        let _ = std::fs::remove_file(to);
    }
    copied
}

fn fill(from: &Connection, to: &Path) -> Result<(), StoreError> {
    let mut target = Connection::open(to)?;
    let backup = Backup::new(from, &mut target)?;
    let mut tries = 0;
    while backup.step(ALL_PAGES)? != StepResult::Done {
        tries += 1;
        if tries == TRIES_MAX {
            let source = io::Error::new(io::ErrorKind::TimedOut, "the database is always in use");
            return Err(StoreError::Copy {
                path: to.to_owned(),
                source,
            });
        }
        std::thread::sleep(PAUSE);
    }
    drop(backup);
    // One file, which readers put nothing beside.
    target.pragma_update(None, "journal_mode", "delete")?;
    Ok(())
}

/// Reads the whole database: pages, references, the chains of the log, and whether `seal` opens what
/// is sealed. Nothing is changed.
pub(in crate::store) fn examine(path: &Path, seal: &SealKey) -> Result<Examined, StoreError> {
    let connection = connection::reading(path)?;
    let mut examined = Examined {
        schema: schema::version(&connection)?,
        // What a later version keeps elsewhere is not known.
        written_by: meta::oldest_program(&connection)
            .ok()
            .flatten()
            .map_or_else(String::new, |(_, written_by)| written_by),
        ..Examined::default()
    };
    let pages = format!("PRAGMA integrity_check({FAULTS_MAX})");
    examined.damage = strings(&connection, &pages)?;
    examined.damage.retain(|line| line != "ok");
    let strays = "SELECT DISTINCT 'rows of ' || \"table\" || ' name what is not in ' || parent
                  FROM pragma_foreign_key_check";
    examined.damage.extend(strings(&connection, strays)?);
    if !examined.damage.is_empty() || examined.schema != schema::SCHEMA {
        return Ok(examined);
    }
    examined.run = meta::run(&connection)?;
    chains(&connection, &mut examined)?;
    examined.generation = policies::current(&connection)?;
    if examined.generation > 0
        && let Err(error) = policies::text(&connection, seal, examined.generation)
    {
        examined.unsealed = program::one_line(&error).to_string();
    }
    Ok(examined)
}

/// Computes every chain value anew.
fn chains(connection: &Connection, examined: &mut Examined) -> Result<(), StoreError> {
    // The chain is over the name that a host had then: the event's, not that of the journal, which
    // goes along when a host is renamed.
    let mut statement = connection.prepare(
        "SELECT e.id, e.journal, h.name, j.epoch, e.seq, e.body, e.chain, e.chain_version,
                e.stored_at_ms, e.log_chain, e.flaw IS NOT NULL
         FROM events e JOIN journals j ON j.id = e.journal JOIN event_hosts h ON h.id = e.host
         ORDER BY e.id",
    )?;
    let mut head = [0; 32];
    let mut ends: BTreeMap<i64, (u64, [u8; 32])> = BTreeMap::new();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, journal): (u64, i64) = (row.get(0)?, row.get(1)?);
        let (host, epoch): (String, String) = (row.get(2)?, row.get(3)?);
        let record = EventRecord {
            seq: row.get(4)?,
            body: row.get(5)?,
            chain: row.get(6)?,
            chain_version: row.get(7)?,
        };
        let chain: [u8; 32] = record.chain.as_slice().try_into().unwrap_or([0; 32]);
        head = events::link(&head, &host, &epoch, &chain, row.get(8)?);
        let stored: [u8; 32] = row.get(9)?;
        if head != stored {
            examined.fault(format!("record {id}: the log's chain is broken here"));
            // Each break is named once, and not by all that follows.
            head = stored;
        }
        let is_flawed: bool = row.get(10)?;
        let (last, previous) = ends.get(&journal).copied().unwrap_or((0, [0; 32]));
        let is_broken = record.seq == last + 1 && record.follows(&previous) == Continuity::Broken;
        if is_broken && !is_flawed {
            let seq = record.seq;
            examined.fault(format!("record {id}: not what {host} has as event {seq}"));
        }
        ends.insert(journal, (record.seq, chain));
        examined.records += 1;
    }
    examined.head = head;
    Ok(())
}

fn strings(connection: &Connection, sql: &str) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| row.get(0))?;
    let rows: Result<Vec<_>, _> = rows.take(FAULTS_MAX).collect();
    Ok(rows?)
}
