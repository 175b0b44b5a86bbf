//! Moves the write-ahead log into the database, away from the gate thread.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use rusqlite::{Connection, OpenFlags};

use super::error::{JournalError, cannot};
use super::schema::keep_log;

/// After so many commits a checkpoint is due. One commit is a few pages of 4 KiB.
const COMMITS_PER_CHECKPOINT: u32 = 256;

/// A thread that checkpoints when it is nudged.
#[derive(Debug)]
pub(super) struct Checkpointer {
    nudges: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    commits: u32,
}

// === impl Checkpointer ===

impl Checkpointer {
    pub(super) fn start(path: &Path) -> Result<Self, JournalError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(path, flags).map_err(cannot(path, "checkpoint"))?;
        keep_log(&connection).map_err(cannot(path, "checkpoint"))?;
        let (nudges, nudged) = sync_channel(1);
        let name = path.to_owned();
        let thread = std::thread::Builder::new()
            .name("checkpointer".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || run(&name, &connection, &nudged))
            .map_err(|cause| JournalError::Io {
                doing: "start the checkpointer of",
                path: path.to_owned(),
                cause,
            })?;
        Ok(Self {
            nudges: Some(nudges),
            thread: Some(thread),
            commits: 0,
        })
    }

    /// To be told of every commit; costs nothing but a count.
    pub(super) fn committed(&mut self) {
        self.commits += 1;
        if self.commits < COMMITS_PER_CHECKPOINT {
            return;
        }
        match self.nudges.as_ref().map(|nudges| nudges.try_send(())) {
            // One is under way; the next commit asks again.
            Some(Err(TrySendError::Full(()))) => {}
            Some(Ok(()) | Err(TrySendError::Disconnected(()))) | None => self.commits = 0,
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

#[expect(clippy::ptr_arg, reason = "owned by the thread")]
fn run(path: &PathBuf, connection: &Connection, nudged: &Receiver<()>) {
    while nudged.recv().is_ok() {
        // PASSIVE waits for nobody and makes nobody wait.
        let done = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(cause) = done {
            tracing::warn!(path = %path.display(), error = %program::one_line(&cause), "cannot checkpoint the journal");
        }
    }
}
