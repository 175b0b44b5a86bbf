//! A journal that is damaged, or was taken away under the running agent: what can be saved is saved,
//! what is in the way is set aside and kept, and the host stays reachable for its owner.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use fleet::{Event, EventKind};
use nix::fcntl::Flock;
use rusqlite::{Connection, OpenFlags};
use sha2::{Digest as _, Sha256};

use super::error::{JournalError, io};
use super::live_grants::{self, FoundGrant};
use super::place::Loss;
use super::reader::policy_of;
use super::{FILE_NAME, Journal, JournalOptions, Start};
use crate::policies::PolicyText;

/// The files of a journal.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];
/// Where a journal is written that was taken away, until it is whole.
const RESCUED_NAME: &str = "journal.db.rescued";

/// What could be read of a damaged journal. None of it decides what was seen.
#[derive(Debug, Default)]
struct Salvage {
    policy: Option<PolicyText>,
    open_grants: Vec<FoundGrant>,
    locked: Option<String>,
}

// === impl Journal ===

impl Journal {
    /// As [`Journal::open`]; a damaged journal is set aside, and a new one begins. What might have
    /// been granted by the old one is refused, as after every loss. The policy in force and the
    /// grants that are open are taken over as far as they can be read.
    ///
    /// # Errors
    ///
    /// As [`Journal::open`], but for damage.
    pub fn open_or_begin_anew(
        options: &JournalOptions,
        now_secs: u64,
    ) -> Result<Start, JournalError> {
        let damage = match Self::open(options, now_secs) {
            Err(damage @ JournalError::Damaged { .. }) => damage,
            other => return other,
        };
        let dir = &options.state_dir;
        let path = dir.join(FILE_NAME);
        let salvage = Salvage::of(&path);
        let aside = set_aside(dir, now_secs)?;
        let error = program::one_line(&damage).to_string();
        tracing::error!(
            error,
            aside = %aside.display(),
            "the journal is set aside, and a new one begins; events in it that the controller does not have are lost to the audit"
        );
        let mut start = Self::open(options, now_secs)?;
        let reason = format!("{error}; it was set aside as {}", aside.display());
        start.journal.stage(lost_records(reason, now_secs));
        if let Some(policy) = &salvage.policy {
            start.journal.stage_policy(policy.clone());
        }
        if let Some(reason) = &salvage.locked {
            start.journal.stage_lock(Some(reason.clone()));
        }
        start.locked = start.locked.or(salvage.locked);
        start.policy = start.policy.or(salvage.policy);
        // What closes them is known to nobody else, if this run is killed as well.
        for cycle in salvage.open_grants.iter().filter(|it| it.cycle.is_some()) {
            live_grants::restore_cycle(&start.journal.connection, cycle)
                .map_err(super::error::cannot(&path, "write to"))?;
        }
        start.open_grants.extend(salvage.open_grants);
        start.clean = false;
        Ok(start)
    }

    /// Looks whether the journal is still where it was, and if not, writes it anew: from the files
    /// that are still open if they are whole, else as a new journal. To be called before a commit;
    /// costs three system calls.
    ///
    /// # Errors
    ///
    /// [`JournalError`] when it is lost and cannot be written anew now: nothing can be recorded, and
    /// what is staged stays so. To be tried again.
    pub fn mend(&mut self, now_secs: u64) -> Result<(), JournalError> {
        let loss = self.damage.clone().or_else(|| self.place.look());
        let Some(loss) = loss else { return Ok(()) };
        if !loss.is_open_file_whole() {
            // Also when the next look finds it set aside.
            self.damage = Some(loss.clone());
        }
        self.is_lost = true;
        match self.write_anew(&loss, now_secs) {
            Ok(what) => {
                let reason = format!("{loss} under the running agent; {what}");
                tracing::error!("{reason}");
                self.staged.events.insert(0, lost_records(reason, now_secs));
                Ok(())
            }
            Err(cause) => {
                if !std::mem::replace(&mut self.is_losing, true) {
                    let error = program::one_line(&cause);
                    tracing::error!(%error, "{loss} under the running agent, and cannot be written anew yet; nothing opens");
                }
                Err(self.failed(cause))
            }
        }
    }

    /// Answers what has become of the records.
    fn write_anew(&mut self, loss: &Loss, now_secs: u64) -> Result<String, JournalError> {
        let options = self.options.clone();
        let dir = &options.state_dir;
        super::start::make_dir(dir)?;
        let path = dir.join(FILE_NAME);
        let rescued = dir.join(RESCUED_NAME);
        let is_rescued = loss.is_open_file_whole() && self.copy_to(&rescued)?;
        if is_rescued {
            super::start::write_trace(dir, &self.epoch)?;
        }
        let is_ours = self.place.is_ours();
        let lock = self.take_lock(dir, &path)?;
        let aside = set_aside(dir, now_secs)?;
        if is_rescued {
            fs::rename(&rescued, &path)
                .and_then(|()| File::open(dir)?.sync_all())
                .map_err(io(&rescued, "rename"))?;
        }
        let start = Self::open_locked(&options, now_secs, lock)?;
        let what = match (is_rescued, is_ours) {
            (true, true) => {
                // The same records are in the new files.
                remove_aside(&aside);
                "it is written anew, and no record is lost".to_owned()
            }
            (true, false) => "it is written anew, and no record is lost".to_owned(),
            (false, _) => format!(
                "a new one begins, without the records of the old one, of which {} is what is left",
                aside.display()
            ),
        };
        let staged = std::mem::take(&mut self.staged);
        *self = Self {
            staged,
            ..start.journal
        };
        self.take_over_staged(now_secs);
        Ok(what)
    }

    /// What is staged was staged for the memory before. This one has been read from the disk: what was
    /// let through since has to get into it, and what was forgotten since it knows again.
    fn take_over_staged(&mut self, now_secs: u64) {
        self.staged.forget_through_secs = None;
        let digests = std::mem::take(&mut self.staged.digests);
        let mut forgotten = None;
        for (digest, dated_secs) in &digests {
            self.newest_secs = self.newest_secs.max(*dated_secs);
            self.let_through.add_date(*dated_secs);
            if !self.keeps_forever {
                forgotten = forgotten.max(self.memory.restore(digest, *dated_secs, now_secs));
            }
        }
        self.staged.digests = digests;
        // Under places that are free in what was read.
        self.staged.unclaim_through = None;
        for (_, digest, forget_after_secs) in std::mem::take(&mut self.staged.claimed) {
            self.remember_claimed(digest, forget_after_secs);
        }
        self.stage_spent(forgotten);
        self.stage_floors();
    }

    /// Keeps the directory for us: by the lock that we have, if its file is still there.
    fn take_lock(&mut self, dir: &Path, path: &Path) -> Result<Flock<File>, JournalError> {
        let name = |found: fs::Metadata| (found.dev(), found.ino());
        let there = fs::metadata(super::lock::lock_path(dir)).map(name);
        let held = self.lock.take();
        match held {
            Some(held) if held.metadata().map(name).ok() == there.ok() => Ok(held),
            Some(_) | None => super::lock::lock(dir, path),
        }
    }

    /// Copies all that is recorded, out of the files that are open; whether it could be read.
    fn copy_to(&self, rescued: &Path) -> Result<bool, JournalError> {
        match fs::remove_file(rescued) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                return Err(io(rescued, "remove")(cause));
            }
            Ok(()) | Err(_) => {}
        }
        super::lock::private_file(rescued).map_err(io(rescued, "make"))?;
        let copied = self
            .connection
            .backup("main", rescued, None)
            .and_then(|()| mark_whole(rescued))
            .map_err(super::error::cannot(rescued, "write"));
        if copied.is_err() {
            let _ = fs::remove_file(rescued);
        }
        match copied {
            Ok(()) => Ok(true),
            // What is open cannot be read either.
            Err(JournalError::Damaged { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }
}

/// There is no log beside this copy, and none is missing. Leaves one file.
fn mark_whole(rescued: &Path) -> rusqlite::Result<()> {
    let copy = Connection::open(rescued)?;
    copy.pragma_update(None, "journal_mode", "DELETE")?;
    copy.execute("UPDATE meta SET clean = 1", [])?;
    copy.close().map_err(|(_, cause)| cause)
}

// === impl Salvage ===

impl Salvage {
    fn of(path: &Path) -> Self {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let Ok(connection) = Connection::open_with_flags(path, flags) else {
            return Self::default();
        };
        let policy = policy_of(&connection, path).ok().flatten();
        let is_whole = |policy: &PolicyText| {
            policy.version.digest == <[u8; 32]>::from(Sha256::digest(&policy.text))
        };
        Self {
            policy: policy.filter(is_whole),
            open_grants: live_grants::all(&connection).unwrap_or_default(),
            locked: super::start::locked(&connection).ok().flatten(),
        }
    }
}

/// Renames the journal in `dir`, whatever is there of it. Answers its new name.
fn set_aside(dir: &Path, now_secs: u64) -> Result<PathBuf, JournalError> {
    let name_of = |number: u32| match number {
        0 => dir.join(format!("{FILE_NAME}.aside-{now_secs}")),
        _ => dir.join(format!("{FILE_NAME}.aside-{now_secs}-{number}")),
    };
    let free = (0..).map(name_of).find(|name| !name.exists());
    let aside = free.unwrap_or_else(|| name_of(0));
    for suffix in SUFFIXES {
        let path = dir.join(format!("{FILE_NAME}{suffix}"));
        match fs::rename(&path, with_suffix(&aside, suffix)) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                return Err(io(&path, "set aside")(cause));
            }
            Ok(()) | Err(_) => {}
        }
    }
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(io(dir, "set aside the journal in"))?;
    Ok(aside)
}

fn remove_aside(aside: &Path) {
    for suffix in SUFFIXES {
        let _ = fs::remove_file(with_suffix(aside, suffix));
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// What the audit is told.
fn lost_records(reason: String, now_secs: u64) -> Event {
    let mut event = Event::new(EventKind::AuditGap, now_secs.saturating_mul(1_000));
    event.reason = reason;
    event
}
