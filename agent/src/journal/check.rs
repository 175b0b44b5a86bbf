//! Whether a journal is whole, in a time that users can wait for.
//!
//! What is granted hangs on the small tables, and on the messages seen, which are all read at the
//! start anyway. Events may be millions: of a large journal their pages are checked beside the gate.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, named_params};

use super::error::{JournalError, cannot, io};

/// A journal up to this length is checked whole at the start: a tenth of a second.
const CHECKED_AT_START_BYTES: u64 = 16 * 1024 * 1024;
/// Tables that are read whole at the start, or checked beside the gate.
const READ_ANYWAY: [&str; 4] = ["event", "replay", "claimed", "seen"];
/// Events that are read at once, so that the log is not held for long.
const SLICE: u32 = 4_096;

/// Checks what a start depends on.
pub(super) fn at_start(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    if is_small(path) {
        return quick_check(connection, path, "PRAGMA quick_check(1)");
    }
    let tables: Vec<String> = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .and_then(|mut tables| tables.query_map([], |row| row.get(0))?.collect())
        .map_err(cannot(path, "check"))?;
    let small = tables
        .iter()
        .filter(|table| !READ_ANYWAY.contains(&table.as_str()));
    for table in small {
        quick_check(connection, path, &format!("PRAGMA quick_check('{table}')"))?;
    }
    Ok(())
}

fn is_small(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.len() <= CHECKED_AT_START_BYTES)
}

fn quick_check(connection: &Connection, path: &Path, pragma: &str) -> Result<(), JournalError> {
    let finding: String = connection
        .query_row(pragma, [], |row| row.get(0))
        .map_err(cannot(path, "check"))?;
    if finding == "ok" {
        Ok(())
    } else {
        Err(JournalError::Damaged {
            path: path.to_owned(),
            finding,
        })
    }
}

/// Reads every event of a large journal, on a thread of its own.
#[derive(Debug)]
pub(super) struct Check {
    stop: Arc<AtomicBool>,
    finding: Arc<Mutex<Option<String>>>,
    thread: Option<JoinHandle<()>>,
}

// === impl Check ===

impl Check {
    /// Begins, unless the start has checked everything.
    pub(super) fn start(path: &Path) -> Result<Self, JournalError> {
        let (stop, finding) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
        let mut check = Self {
            stop: Arc::clone(&stop),
            finding: Arc::clone(&finding),
            thread: None,
        };
        if is_small(path) {
            return Ok(check);
        }
        let name = path.to_owned();
        let read = move || {
            if let Err(cause) = read_events(&name, &stop) {
                let error = program::one_line(&cause);
                tracing::error!(path = %name.display(), %error, "the events of the journal cannot all be read");
                if let JournalError::Damaged { finding: found, .. } = cause {
                    *finding.lock() = Some(found);
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("journal-check".to_owned())
            .stack_size(256 * 1024)
            .spawn(read)
            .map_err(io(path, "start the check of"))?;
        check.thread = Some(thread);
        Ok(check)
    }

    /// What has been found, once.
    pub(super) fn finding(&mut self) -> Option<String> {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            self.thread = None;
            return self.finding.lock().take();
        }
        None
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read_events(path: &Path, stop: &AtomicBool) -> Result<(), JournalError> {
    let failed = || cannot(path, "read events of");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed())?;
    // Beyond what a page holds: a length alone would not be read from the pages that follow.
    let slice = "SELECT max(seq), sum(length(hex(substr(body, -1)))) FROM
        (SELECT seq, body FROM event WHERE seq > :seq ORDER BY seq LIMIT :slice)";
    let mut statement = connection.prepare(slice).map_err(failed())?;
    let mut seq: i64 = -1;
    while !stop.load(Ordering::Relaxed) {
        let parameters = named_params! { ":seq": seq, ":slice": SLICE };
        let last: Option<i64> = statement
            .query_row(parameters, |row| row.get(0))
            .map_err(failed())?;
        let Some(last) = last else { return Ok(()) };
        seq = last;
    }
    Ok(())
}
