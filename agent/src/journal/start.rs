//! Opening the journal: is it ours, is it whole, and what may be believed?

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet::event::ChainVersion;
use nix::fcntl::{Flock, FlockArg};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::check::{self, Check};
use super::checkpoint::Checkpointer;
pub(super) use super::error::io;
use super::error::{JournalError, cannot};
use super::live_grants::{self, FoundGrant};
use super::place::Place;
use super::preallocate;
use super::reader::policy_of;
use super::replays::{Remembered, SeenBy};
use super::schema::{configure_writer, migrate};
use super::{FILE_NAME, Journal, Retention, Staged};
use crate::policies::PolicyText;

/// How the journal is to be kept.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// The state directory; made if it is not there, for this user only.
    pub state_dir: PathBuf,
    pub retention: Retention,
    /// For how long packets are recent; `None` when they do not age, and messages are remembered
    /// for ever.
    pub window: Option<Duration>,
}

/// What a start finds.
#[derive(Debug)]
pub struct Start {
    pub journal: Journal,
    pub floor: Floor,
    /// The policy last adopted from the controller.
    pub policy: Option<PolicyText>,
    /// Generation and digest of the access file last in force, for a host without controller.
    pub access_file: Option<(u64, [u8; 32])>,
    /// Grants whose closing has not been recorded.
    pub open_grants: Vec<FoundGrant>,
    /// Why the controller has locked this host; `None` when it has not.
    pub locked: Option<String>,
    /// Whether the last run ended tidily; a new journal counts as tidy.
    pub clean: bool,
}

/// Which packets must be refused because nobody knows whether they were granted before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Floor {
    /// Packets dated before this are refused, in seconds since the Unix epoch; 0 for none.
    pub not_before_secs: u64,
    pub why: FloorReason,
}

/// What this start found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FloorReason {
    /// The journal is whole: nothing new is refused.
    Known,
    /// A new journal and packets that do not age: nothing is known, and nothing is refused for it.
    Unguarded,
    /// The journal is new.
    New,
    /// The journal is new, or not the one it was; there had been one.
    Lost,
    /// Packets may now be older than before.
    Widened,
}

/// Beside the journal, so that its loss is noticed: holds the epoch.
const TRACE_NAME: &str = "journal.epoch";

// === impl Floor ===

impl Floor {
    fn find(evidence: &Evidence<'_>, meta: &Meta, options: &JournalOptions, now_secs: u64) -> Self {
        let same = evidence.trace == Some(meta.epoch.as_str());
        let unbroken = meta.clean || evidence.had_wal;
        let (why, secs) = if evidence.existed && same && unbroken {
            if wider(options.window, meta.window_secs) {
                (FloorReason::Widened, now_secs)
            } else {
                (FloorReason::Known, 0)
            }
        } else if evidence.existed || evidence.trace.is_some() {
            (FloorReason::Lost, now_secs + 1)
        } else if options.window.is_some() {
            (FloorReason::New, now_secs)
        } else {
            (FloorReason::Unguarded, 0)
        };
        Self {
            not_before_secs: secs.max(meta.not_before_secs),
            why,
        }
    }
}

/// Whether the window is now wider than when `window_secs` (0: no end) was written.
fn wider(window: Option<Duration>, window_secs: u64) -> bool {
    match window {
        Some(window) => window_secs != 0 && window.as_secs() > window_secs,
        None => window_secs != 0,
    }
}

/// What lay in the state directory before this start touched it.
struct Evidence<'a> {
    existed: bool,
    trace: Option<&'a str>,
    had_wal: bool,
}

// === impl Journal ===

impl Journal {
    /// Opens the journal in the state directory, or makes a new one.
    ///
    /// # Errors
    ///
    /// [`JournalError`] when it is damaged, in use, or cannot be read or written. Nothing has been
    /// changed then, but for files that were not there.
    pub fn open(options: &JournalOptions, now_secs: u64) -> Result<Start, JournalError> {
        let dir = &options.state_dir;
        let path = dir.join(FILE_NAME);
        make_dir(dir)?;
        let lock = lock(dir, &path)?;
        Self::open_locked(options, now_secs, lock)
    }

    /// As [`Journal::open`], by whoever has the directory for itself already.
    pub(super) fn open_locked(
        options: &JournalOptions,
        now_secs: u64,
        lock: Flock<File>,
    ) -> Result<Start, JournalError> {
        let dir = &options.state_dir;
        let path = dir.join(FILE_NAME);
        let trace = read_trace(dir)?;
        let wal = dir.join(format!("{FILE_NAME}-wal"));
        let had_wal = fs::metadata(&wal).is_ok_and(|wal| wal.len() > 0);
        let existed = existed(&path, trace.as_deref())?;

        let mut connection = open_writer(&path)?;
        if existed {
            check::at_start(&connection, &path)?;
        }
        migrate(&mut connection, &path)?;
        let meta = read_or_make_meta(&connection, &path)?;
        let evidence = Evidence {
            existed,
            trace: trace.as_deref(),
            had_wal,
        };
        let floor = Floor::find(&evidence, &meta, options, now_secs);
        write_floor(&connection, floor, options.window).map_err(cannot(&path, "write to"))?;
        write_trace(dir, &meta.epoch)?;
        if let Err(cause) = preallocate::log(dir) {
            tracing::debug!(error = %program::one_line(&cause), "no room for the whole log: commits will have to make it grow");
        }
        let clean = meta.clean || !existed;
        let mut journal = Self::assemble(options, path, connection, meta, lock)?;
        if matches!(options.retention, Retention::Days(_)) {
            // Nobody but this program reads it.
            journal.use_chain_version(ChainVersion::V2);
        }
        Ok(Start {
            policy: policy_of(&journal.connection, &journal.path)?,
            access_file: access_file(&journal.connection).map_err(cannot(&journal.path, "read"))?,
            locked: locked(&journal.connection).map_err(cannot(&journal.path, "read"))?,
            open_grants: live_grants::all(&journal.connection)
                .map_err(cannot(&journal.path, "read the grants of"))?,
            journal,
            floor,
            clean,
        })
    }

    fn assemble(
        options: &JournalOptions,
        path: PathBuf,
        connection: Connection,
        meta: Meta,
        lock: Flock<File>,
    ) -> Result<Self, JournalError> {
        if options.window.is_none() {
            // Whatever was to be forgotten some day is now to be remembered for ever.
            connection
                .execute_batch(
                    "INSERT OR IGNORE INTO replay SELECT 0, digest FROM replay
                        WHERE forget_after_secs > 0;
                     DELETE FROM replay WHERE forget_after_secs > 0;",
                )
                .map_err(cannot(&path, "write to"))?;
        }
        let (last_seq, chain) = last_event(&connection, &path)?;
        let (remembered, any_forever) = load_digests(&connection).map_err(cannot(&path, "read"))?;
        Ok(Self {
            place: Place::of(&options.state_dir).map_err(io(&path, "look at"))?,
            options: options.clone(),
            damage: None,
            is_lost: false,
            is_losing: false,
            fault: None,
            check: Check::start(&path)?,
            checkpointer: Checkpointer::start(&path)?,
            epoch: meta.epoch,
            last_seq,
            chain,
            chain_version: meta.chain_version,
            remembered,
            any_forever: any_forever || options.window.is_none(),
            forgotten_secs: meta.forgotten_secs,
            staged: Staged::default(),
            retention: options.retention,
            #[cfg(test)]
            fails_commits: false,
            path,
            connection,
            lock: Some(lock),
        })
    }
}

struct Meta {
    epoch: String,
    clean: bool,
    forgotten_secs: u64,
    not_before_secs: u64,
    window_secs: u64,
    chain_version: ChainVersion,
}

pub(super) fn make_dir(dir: &Path) -> Result<(), JournalError> {
    let mut builder = fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(io(dir, "make the state directory"))
}

pub(super) fn lock_path(dir: &Path) -> PathBuf {
    dir.join("journal.lock")
}

pub(super) fn lock(dir: &Path, journal: &Path) -> Result<Flock<File>, JournalError> {
    let path = lock_path(dir);
    let file = private_file(&path).map_err(io(&path, "make"))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| JournalError::InUse {
        path: journal.to_owned(),
    })
}

pub(super) fn private_file(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.open(path)
}

/// Whether there is a journal. An empty file is one that was made and never written, unless the
/// trace says otherwise.
fn existed(path: &Path, trace: Option<&str>) -> Result<bool, JournalError> {
    match fs::metadata(path) {
        Ok(found) if found.len() > 0 => Ok(true),
        Ok(_) if trace.is_some() => Err(JournalError::Damaged {
            path: path.to_owned(),
            finding: "the file is empty, and was not".to_owned(),
        }),
        Ok(_) => Ok(false),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(io(path, "look at")(cause)),
    }
}

fn open_writer(path: &Path) -> Result<Connection, JournalError> {
    // Made by us first, so that it is never readable for others.
    private_file(path).map_err(io(path, "open"))?;
    let connection = Connection::open(path).map_err(cannot(path, "open"))?;
    connection
        .busy_timeout(Duration::from_secs(5))
        .map_err(cannot(path, "open"))?;
    configure_writer(&connection).map_err(cannot(path, "open"))?;
    Ok(connection)
}

fn read_or_make_meta(connection: &Connection, path: &Path) -> Result<Meta, JournalError> {
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let boot_id = boot_id.trim();
    let found = connection
        .query_row("SELECT * FROM meta", [], |row| {
            let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
            Ok(Meta {
                epoch: row.get("epoch")?,
                clean: row.get("clean")?,
                forgotten_secs: number("forgotten_secs")?,
                not_before_secs: number("not_before_secs")?,
                window_secs: number("window_secs")?,
                chain_version: ChainVersion::of_number(row.get("chain_version")?)
                    .unwrap_or_default(),
            })
        })
        .optional()
        .map_err(cannot(path, "read"))?;
    if let Some(meta) = found {
        connection
            .execute("UPDATE meta SET clean = 0, boot_id = ?1", [boot_id])
            .map_err(cannot(path, "write to"))?;
        return Ok(meta);
    }
    let epoch = connection
        .query_row(
            "INSERT INTO meta VALUES (1, lower(hex(randomblob(16))), ?1, 0, 0, 0, 0, 0, 1)
             RETURNING epoch",
            params![boot_id],
            |row| row.get(0),
        )
        .map_err(cannot(path, "write to"))?;
    Ok(Meta {
        epoch,
        clean: true,
        forgotten_secs: 0,
        not_before_secs: 0,
        window_secs: 0,
        chain_version: ChainVersion::V1,
    })
}

fn write_floor(
    connection: &Connection,
    floor: Floor,
    window: Option<Duration>,
) -> rusqlite::Result<()> {
    let window_secs = window.map_or(0, |window| window.as_secs());
    connection.execute(
        "UPDATE meta SET not_before_secs = ?1, window_secs = ?2",
        params![
            floor.not_before_secs.cast_signed(),
            window_secs.cast_signed()
        ],
    )?;
    Ok(())
}

fn last_event(connection: &Connection, path: &Path) -> Result<(u64, [u8; 32]), JournalError> {
    let last = connection
        .query_row(
            "SELECT seq, chain FROM event ORDER BY seq DESC LIMIT 1",
            [],
            |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?)),
        )
        .optional()
        .map_err(cannot(path, "read events of"))?;
    Ok(last.unwrap_or((0, [0; 32])))
}

fn load_digests(connection: &Connection) -> rusqlite::Result<(Remembered, bool)> {
    let mut remembered = Remembered::default();
    let mut statement = connection
        .prepare("SELECT digest, forget_after_secs FROM replay WHERE forget_after_secs > 0")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let forget_after_secs = row.get::<_, i64>(1)?.cast_unsigned();
        remembered.insert(&row.get(0)?, SeenBy::Us, forget_after_secs);
    }
    let any_forever = connection
        .prepare("SELECT 1 FROM replay WHERE forget_after_secs = 0 LIMIT 1")?
        .exists([])?;
    Ok((remembered, any_forever))
}

fn locked(connection: &Connection) -> rusqlite::Result<Option<String>> {
    connection
        .query_row("SELECT reason FROM lock", [], |row| row.get(0))
        .optional()
}

fn access_file(connection: &Connection) -> rusqlite::Result<Option<(u64, [u8; 32])>> {
    connection
        .query_row("SELECT generation, digest FROM access_file", [], |row| {
            Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?))
        })
        .optional()
}

fn read_trace(dir: &Path) -> Result<Option<String>, JournalError> {
    let path = dir.join(TRACE_NAME);
    match fs::read_to_string(&path) {
        Ok(epoch) => Ok(Some(epoch.trim().to_owned())),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(io(&path, "read")(cause)),
    }
}

pub(super) fn write_trace(dir: &Path, epoch: &str) -> Result<(), JournalError> {
    let path = dir.join(TRACE_NAME);
    program::files::replace(&path, 0o600, format!("{epoch}\n").as_bytes())
        .map_err(io(&path, "write"))
}
