//! Leaving a fleet: its journal is archived, because the next fleet counts its generations anew and
//! has no business with the old one's audit.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;
use rusqlite::Connection;

use super::FILE_NAME;
use super::error::io;
use super::error::{JournalError, cannot};
use super::lock::lock;
use super::reader::policy_of;

/// The journal of a fleet, which no agent uses and none can begin to use while this lives.
#[derive(Debug)]
pub struct FleetJournal {
    dir: PathBuf,
    epoch: String,
    _lock: Flock<File>,
}

// === impl FleetJournal ===

impl FleetJournal {
    /// Takes hold of the journal in `dir`; `None` when there is none, or one that never had a policy
    /// from a controller and so belongs to no fleet.
    ///
    /// # Errors
    ///
    /// [`JournalError::InUse`] while an agent runs; others when the journal cannot be read.
    pub fn hold(dir: &Path) -> Result<Option<Self>, JournalError> {
        let path = dir.join(FILE_NAME);
        if !path.exists() {
            return Ok(None);
        }
        let lock = lock(dir, &path)?;
        let connection = Connection::open(&path).map_err(cannot(&path, "open"))?;
        if policy_of(&connection, &path)?.is_none() {
            return Ok(None);
        }
        let epoch = connection
            .query_row("SELECT epoch FROM meta", [], |row| row.get(0))
            .map_err(cannot(&path, "read the epoch of"))?;
        // All of it into the one file that is to be moved; closing then removes the log.
        connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(cannot(&path, "write to"))?;
        connection
            .close()
            .map_err(|(_, cause)| cannot(&path, "close")(cause))?;
        Ok(Some(Self {
            dir: dir.to_owned(),
            epoch,
            _lock: lock,
        }))
    }

    /// Renames it. The next start finds that there was a journal, and refuses packets dated before
    /// it. Answers where the old one is now.
    ///
    /// # Errors
    ///
    /// [`JournalError`] when it cannot be renamed.
    pub fn archive(self) -> Result<PathBuf, JournalError> {
        let path = self.dir.join(FILE_NAME);
        let archived = self.dir.join(format!("{FILE_NAME}.{}", self.epoch));
        fs::rename(&path, &archived)
            .and_then(|()| File::open(&self.dir)?.sync_all())
            .map_err(io(&path, "rename"))?;
        Ok(archived)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::journal::{FloorReason, Journal, JournalOptions, Retention, Start};
    use crate::policies::{PolicyText, PolicyVersion};

    const NOW_SECS: u64 = 1_795_430_000;

    fn open(dir: &Path) -> Start {
        let options = JournalOptions {
            state_dir: dir.to_owned(),
            retention: Retention::UntilAcknowledged,
            window: Some(Duration::from_secs(120)),
            max_future: Duration::from_secs(120),
            witness_dir: None,
        };
        Journal::open(&options, NOW_SECS).unwrap()
    }

    fn of_a_fleet(dir: &Path) -> Journal {
        let mut journal = open(dir).journal;
        journal.stage_policy(PolicyText {
            version: PolicyVersion {
                generation: 57,
                ..PolicyVersion::default()
            },
            text: String::new(),
        });
        journal.commit().unwrap();
        journal
    }

    #[test]
    fn the_next_fleet_begins_with_no_policy_and_refuses_what_the_old_journal_may_have_seen() {
        let dir = tempfile::tempdir().unwrap();
        of_a_fleet(dir.path()).close().unwrap();

        let held = FleetJournal::hold(dir.path()).unwrap().unwrap();
        let archived = held.archive().unwrap();

        assert!(archived.exists());
        let start = open(dir.path());
        assert_eq!(start.policy, None);
        assert_eq!(start.floor.why, FloorReason::Lost);
        assert_eq!(start.floor.not_before_secs, NOW_SECS + 121);
    }

    #[test]
    fn what_was_not_written_back_yet_is_archived_too() {
        let dir = tempfile::tempdir().unwrap();
        let live = of_a_fleet(dir.path());
        let crashed = tempfile::tempdir().unwrap();
        for name in ["journal.db", "journal.db-wal", "journal.epoch"] {
            fs::copy(dir.path().join(name), crashed.path().join(name)).unwrap();
        }
        drop(live);

        let held = FleetJournal::hold(crashed.path()).unwrap().unwrap();
        let archived = held.archive().unwrap();

        let old = Connection::open(&archived).unwrap();
        assert_eq!(
            policy_of(&old, &archived)
                .unwrap()
                .unwrap()
                .version
                .generation,
            57
        );
        assert!(!crashed.path().join("journal.db-wal").exists());
    }

    #[test]
    fn a_journal_that_an_agent_uses_cannot_be_held() {
        let dir = tempfile::tempdir().unwrap();
        let _running = of_a_fleet(dir.path());

        let held = FleetJournal::hold(dir.path());

        assert!(matches!(held, Err(JournalError::InUse { .. })));
    }

    #[test]
    fn a_journal_of_no_fleet_stays() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).journal.close().unwrap();

        assert!(FleetJournal::hold(dir.path()).unwrap().is_none());
    }
}
