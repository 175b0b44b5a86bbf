//! How a connection is opened.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

/// Another process (`postern-controller token`) may hold the write lock for this long.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// What the write-ahead log is cut to when it is begun anew, in bytes: see `journal_size_limit`.
pub(super) const LOG_BYTES_KEPT: u64 = 64 * 1024 * 1024;
/// Statements kept prepared on each connection.
const STATEMENTS_MAX: usize = 128;

/// The writer's; makes the database when there is none.
pub(super) fn writing(path: &Path) -> Result<Connection, rusqlite::Error> {
    make_private(path);
    let connection = open(path, OpenFlags::default())?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // 64 MB of pages: the busy ends of the event indexes stay in memory.
    connection.pragma_update(None, "cache_size", -65_536)?;
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT.cast_signed())?;
    Ok(connection)
}

/// A database that is new is its owner's alone; the engine would let others read it, as the umask says. What
/// keeps it from being made is said by the engine.
fn make_private(path: &Path) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let _ = options.write(true).create_new(true).mode(0o600).open(path);
}

/// A reader's.
pub(in crate::store) fn reading(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = open(path, flags)?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    connection.pragma_update(None, "mmap_size", 1_073_741_824_i64)?;
    Ok(connection)
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "temp_store", "memory")?;
    Ok(connection)
}
