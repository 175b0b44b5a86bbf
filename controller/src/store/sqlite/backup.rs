//! Copies of the database, and whether one is sound.

use std::io;
use std::path::Path;
use std::time::Duration;

use fleet::audit::{AuditSigner, KeyChain, Verifier};
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::{checkpoints, connection, meta, policies, proof, rows, schema, searched, served};
use crate::store::authorities;
use crate::store::error::StoreError;
use crate::store::model::{Examined, Whose};
use crate::store::seal::SealKey;

/// All pages in one step: one reading, so that the copy is of one moment and no writer can make it
/// begin again.
const ALL_PAGES: i32 = -1;
/// When the database cannot be read for a moment, it is tried again after this.
const PAUSE: Duration = Duration::from_millis(50);
const TRIES_MAX: u32 = 200;
/// Rows of the log that are read at once, and the bytes that these may have.
const ROWS: (u32, usize) = (1_000, 1 << 20);
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
    close_copy(target)
}

/// Makes of a copy one file, which readers put nothing beside.
pub(in crate::store) fn close_copy(copy: Connection) -> Result<(), StoreError> {
    copy.pragma_update(None, "journal_mode", "delete")?;
    Ok(copy.close().map_err(|(_, error)| error)?)
}

/// Reads the whole database in a file: pages, references, the chains of the log, and whether `seal` opens what
/// is sealed. Nothing is changed.
pub(in crate::store) fn examine(
    path: &Path,
    seal: &SealKey,
    whose: Whose<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Examined, StoreError> {
    let connection = connection::reading(path)?;
    rows::reading(&connection, &seal.row_key())?;
    let mut examined = Examined {
        schema: schema::version(&connection)?,
        ..Examined::default()
    };
    let pages = format!("PRAGMA integrity_check({FAULTS_MAX})");
    examined.damage = strings(&connection, &pages)?;
    examined.damage.retain(|line| line != "ok");
    let strays = "SELECT DISTINCT 'rows of ' || \"table\" || ' name what is not in ' || parent
                  FROM pragma_foreign_key_check";
    examined.damage.extend(strings(&connection, strays)?);
    look_over((&connection, seal), whose, (&mut examined, progress))?;
    Ok(examined)
}

/// Reads what is in it, whichever engine it is of, where nothing was found damaged and the schema is ours.
pub(in crate::store) fn look_over(
    (connection, seal): (&crate::store::sql::Connection, &SealKey),
    whose: Whose<'_>,
    (examined, progress): (&mut Examined, &mut dyn FnMut(u64, u64)),
) -> Result<(), StoreError> {
    // What a later version keeps elsewhere is not known.
    examined.written_by = meta::oldest_program(connection)
        .ok()
        .flatten()
        .map_or_else(String::new, |(_, written_by)| written_by);
    if !examined.damage.is_empty() || examined.schema != schema::SCHEMA {
        return Ok(());
    }
    let run_key = meta::run_key(whose.controller);
    examined.run = meta::run(connection, &run_key)?;
    examined.authority_states = rows::unless_altered(meta::authority_states(connection, &run_key))?;
    match authorities::shared(connection, seal) {
        Ok(shared) => {
            examined.shared_authorities = shared.map(|it| it.states.clone()).unwrap_or_default();
        }
        Err(StoreError::Seal(_)) => {}
        Err(error) => return Err(error),
    }
    examined.is_of_another_key = rows::are_of_another_key(connection)?;
    if !examined.is_of_another_key {
        examined.unserved = served::look(connection, seal)?;
    }
    chains(connection, seal, whose.fleet, (examined, progress))?;
    examined.generation = policies::current(connection)?;
    if examined.generation > 0
        && let Err(error) = policies::text(connection, seal, examined.generation)
    {
        examined.unsealed = program::one_line(&error).to_string();
    }
    Ok(())
}

/// Computes every chain value anew, and compares it with what was signed.
pub(in crate::store) fn chains(
    connection: &crate::store::sql::Connection,
    seal: &SealKey,
    fleet: &str,
    (examined, progress): (&mut Examined, &mut dyn FnMut(u64, u64)),
) -> Result<(), StoreError> {
    let key = checkpoints::known_key(connection)?;
    match checkpoints::known_signer(connection, seal, fleet) {
        Ok(signer) if signer.as_ref().map(AuditSigner::public) == key => {}
        Ok(_) => examined.audit_key_fault = "it is another than the one that signs".to_owned(),
        // The row is named already.
        Err(StoreError::Altered { .. }) => {}
        Err(error) => examined.audit_key_fault = program::one_line(&error).to_string(),
    }
    examined.audit_key = key.as_ref().map(ToString::to_string).unwrap_or_default();
    let keys = match key {
        None => None,
        Some(key) => match checkpoints::chain(connection, key.clone())? {
            Ok(keys) => Some(keys),
            Err(broken) => {
                examined.audit_key_fault = broken.to_string();
                Some(key.into())
            }
        },
    };
    let former = keys.iter().flat_map(KeyChain::successions);
    examined.audit_keys_former = former.map(|it| it.from.to_string()).collect();
    let mut verifier = Verifier::with_keys(keys);
    let mut last = 0;
    let newest = checkpoints::end(connection)?.size;
    loop {
        let rows = proof::after(connection, (last, u64::MAX), ROWS)?;
        let Some(end) = rows.last().map(|row| row.id) else {
            break;
        };
        let notes = checkpoints::between(connection, last, end)?;
        let mut notes = notes.into_iter().peekable();
        for row in &rows {
            verifier.row(row);
            while let Some((_, note)) = notes.next_if(|(size, _)| *size <= row.id) {
                verifier.checkpoint("the log keeps", &note);
            }
        }
        last = end;
        progress(last, newest);
    }
    examined.search_fault = searched::end_fault(connection)?.unwrap_or_default();
    for note in checkpoints::beyond(connection)? {
        verifier.checkpoint("the log keeps", &note);
    }
    examined.log = verifier.finish();
    Ok(())
}

fn strings(connection: &Connection, sql: &str) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| row.get(0))?;
    let rows: Result<Vec<_>, _> = rows.take(FAULTS_MAX).collect();
    Ok(rows?)
}
