//! Moves the write-ahead log into the database, and keeps the log short whatever is written.
//!
//! SQLite begins its log anew only when all of it has been moved, and beside a writer that never
//! rests the move never gets all of it. So two work together: a thread moves most of the log beside
//! the writer, and then the writer itself, between two of its commits, moves the little that has
//! come meanwhile. The next commit begins the log anew.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};

use super::error::{JournalError, cannot, io};
use super::schema::keep_log;
use super::scrub;

/// After so many pages of 4 KiB a checkpoint is due: some 200 commits of one packet each.
const PAGES_PER_CHECKPOINT: u32 = 1_024;
/// A log that is shorter than this is not worth the writer's time: it fits into the room that was
/// made for it, twice.
const WORTH_FINISHING: u32 = 512;
/// Pages of a commit that changes nothing.
const PAGES_OF_A_COMMIT: u64 = 2;
/// At this length (32 MiB) the writer waits for the thread and moves all of it. With one commit
/// more, the log stays below 64 MiB.
const PAGES_MAX: u32 = 8_192;
/// When the log cannot be begun anew, because somebody reads it: pages until the next attempt.
const RETRY_PAGES: u32 = 2_048;

/// The log as it is, in pages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Log {
    /// In the log.
    pages: u32,
    /// Of them in the database.
    moved: u32,
}

/// A thread that checkpoints when it is nudged, and the writer's part of its work.
#[derive(Debug)]
pub(super) struct Checkpointer {
    path: PathBuf,
    nudges: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Whether the thread has made a pass that the writer has not seen yet. Locked during a pass.
    passed: Arc<Mutex<bool>>,
    length: LogLength,
    /// Rows that the writer has changed up to its last commit.
    changes: u64,
    /// Somebody who keeps the log from being begun anew has been spoken of.
    said: bool,
}

/// How long the log is at most, by what has been written to it; and when to do something about it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct LogLength {
    pages: u32,
    since_nudge: u32,
    /// No attempt to empty it before it is so long.
    not_before: u32,
}

/// What is to be done about the log after a commit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Due {
    Nothing,
    /// The thread is to move it.
    Nudge,
    /// The writer is to move all that is left, and to wait for the thread for that.
    Empty,
}

// === impl LogLength ===

impl LogLength {
    /// So many pages more, at most.
    fn grow(&mut self, pages: u32) -> Due {
        self.pages = self.pages.saturating_add(pages);
        self.since_nudge = self.since_nudge.saturating_add(pages);
        if self.pages >= PAGES_MAX && self.pages >= self.not_before {
            Due::Empty
        } else if self.since_nudge >= PAGES_PER_CHECKPOINT {
            Due::Nudge
        } else {
            Due::Nothing
        }
    }

    /// This is how it is after a pass of the thread; whether the writer should move the rest now.
    fn seen(&mut self, log: Log) -> bool {
        let worth = log.moved < log.pages && log.pages >= WORTH_FINISHING;
        self.pages = log.pages;
        worth && log.pages >= self.not_before
    }

    /// The writer has moved what it could.
    fn finished(&mut self, log: Log) {
        *self = if log.moved >= log.pages {
            Self::default()
        } else {
            Self {
                pages: log.pages,
                since_nudge: 0,
                not_before: log.pages.saturating_add(RETRY_PAGES),
            }
        };
    }

    /// The disk did not take it. Not tried again at once.
    fn failed(&mut self) {
        self.not_before = self.pages.saturating_add(RETRY_PAGES);
    }
}

// === impl Checkpointer ===

impl Checkpointer {
    pub(super) fn start(path: &Path) -> Result<Self, JournalError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(path, flags).map_err(cannot(path, "checkpoint"))?;
        keep_log(&connection).map_err(cannot(path, "checkpoint"))?;
        let (nudges, nudged) = sync_channel(1);
        let passed = Arc::new(Mutex::new(false));
        let (name, shared) = (path.to_owned(), Arc::clone(&passed));
        let thread = std::thread::Builder::new()
            .name("checkpointer".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || run(&name, &connection, &nudged, &shared))
            .map_err(io(path, "start the checkpointer of"))?;
        Ok(Self {
            path: path.to_owned(),
            nudges: Some(nudges),
            thread: Some(thread),
            passed,
            length: LogLength::default(),
            changes: 0,
            said: false,
        })
    }

    /// To be told by the writer of every commit. Costs nothing but a count, unless the log is to be
    /// begun anew.
    pub(super) fn committed(&mut self, writer: &Connection) {
        let pages = self.pages_at_most(writer);
        let due = self.length.grow(pages);
        // A pass that is under way is seen after it has ended.
        let passed = self
            .passed
            .try_lock()
            .is_some_and(|mut p| std::mem::take(&mut *p));
        if passed && self.is_worth_finishing(writer) {
            self.finish(writer);
            return;
        }
        match due {
            Due::Nothing => {}
            Due::Nudge => self.nudge(),
            Due::Empty => {
                let passed = Arc::clone(&self.passed);
                let _none_under_way = passed.lock();
                self.finish(writer);
            }
        }
    }

    fn is_worth_finishing(&mut self, writer: &Connection) -> bool {
        match look(writer, "PRAGMA wal_checkpoint(NOOP)") {
            Ok(Some(log)) => self.length.seen(log),
            Ok(None) | Err(_) => false,
        }
    }

    /// How many pages of the log the last commit has taken at most: one for each row.
    fn pages_at_most(&mut self, writer: &Connection) -> u32 {
        let changes = writer.total_changes();
        let before = std::mem::replace(&mut self.changes, changes);
        let pages = PAGES_OF_A_COMMIT + changes.saturating_sub(before);
        u32::try_from(pages).unwrap_or(u32::MAX)
    }

    fn nudge(&mut self) {
        match self.nudges.as_ref().map(|nudges| nudges.try_send(())) {
            // One is under way; the next commit asks again.
            Some(Err(TrySendError::Full(()))) => {}
            Some(Ok(()) | Err(TrySendError::Disconnected(()))) | None => {
                self.length.since_nudge = 0
            }
        }
    }

    /// Moves all of the log into the database and leaves nothing in it; false while somebody reads it.
    pub(super) fn empty_log(&mut self, writer: &Connection, dir: &Path) -> rusqlite::Result<bool> {
        let passed = Arc::clone(&self.passed);
        let _none_under_way = passed.lock();
        let emptied = scrub::empty_log(writer, dir)?;
        if emptied {
            self.length = LogLength::default();
        }
        Ok(emptied)
    }

    /// Between two commits: what is left is little, and nothing comes meanwhile.
    fn finish(&mut self, writer: &Connection) {
        match checkpoint(writer) {
            Ok(Some(log)) => {
                self.length.finished(log);
                let held = log.moved < log.pages && log.pages >= PAGES_MAX;
                if held && !self.said {
                    let (path, log_mib) = (self.path.display(), log.pages / 256);
                    tracing::warn!(%path, log_mib, "somebody reads the journal and keeps its log from being emptied");
                }
                self.said = held;
            }
            // The thread has just begun a pass: what it leaves is seen to when it has ended.
            Ok(None) => {}
            Err(cause) => {
                self.length.failed();
                complain(&self.path, &cause);
            }
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.nudges = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(path: &Path, connection: &Connection, nudged: &Receiver<()>, passed: &Mutex<bool>) {
    while nudged.recv().is_ok() {
        let mut passed = passed.lock();
        match checkpoint(connection) {
            Ok(log) => *passed = log.is_some(),
            Err(cause) => complain(path, &cause),
        }
    }
}

/// Moves what can be moved now; `None` when another does. PASSIVE waits for nobody and makes nobody
/// wait.
fn checkpoint(connection: &Connection) -> rusqlite::Result<Option<Log>> {
    look(connection, "PRAGMA wal_checkpoint(PASSIVE)")
}

fn look(connection: &Connection, pragma: &str) -> rusqlite::Result<Option<Log>> {
    let mut statement = connection.prepare_cached(pragma)?;
    let (busy, log, moved): (bool, i64, i64) =
        statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let pages = |count| u32::try_from(count).unwrap_or(0);
    Ok((!busy).then(|| Log {
        pages: pages(log),
        moved: pages(moved),
    }))
}

fn complain(path: &Path, cause: &rusqlite::Error) {
    let error = program::one_line(cause);
    tracing::warn!(path = %path.display(), %error, "cannot checkpoint the journal");
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Log = log(900, 900);
    const MOST: Log = log(900, 700);

    const fn log(pages: u32, moved: u32) -> Log {
        Log { pages, moved }
    }

    #[test]
    fn a_quiet_log_is_moved_by_the_thread_alone() {
        let mut length = LogLength::default();

        let due: Vec<Due> = (0..256).map(|_| length.grow(4)).collect();

        assert!(due.iter().rev().skip(1).all(|due| *due == Due::Nothing));
        assert_eq!(due.last(), Some(&Due::Nudge));
        assert!(!length.seen(ALL));
        assert!(!length.seen(log(100, 7)));
    }

    #[test]
    fn what_a_pass_left_is_moved_by_the_writer() {
        let mut length = LogLength::default();
        length.grow(900);

        assert!(length.seen(MOST));
        length.finished(ALL);

        assert_eq!(length, LogLength::default());
    }

    #[test]
    fn a_log_that_no_pass_shortens_is_emptied_at_its_bound_by_the_writer() {
        let mut length = LogLength::default();

        let mut pages = 0;
        while length.grow(200) != Due::Empty {
            pages += 200;
        }

        assert!(pages < PAGES_MAX, "{pages}");
    }

    #[test]
    fn a_log_that_somebody_holds_is_not_tried_at_every_commit() {
        let mut length = LogLength::default();
        while length.grow(200) != Due::Empty {}

        length.finished(log(9_000, 10));

        let quiet = (0..).take_while(|_| length.grow(200) != Due::Empty).count();
        assert_eq!(quiet, 10);
        assert!(!length.seen(MOST));
    }
}
