//! Leaving a fleet: its journal is archived, because the next fleet counts its generations anew and
//! has no business with the old one's audit. So is what was heard of the fleet, which lies beside it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;
use rusqlite::Connection;

use super::FILE_NAME;
use super::error::io;
use super::error::{JournalError, cannot};
use super::lock::lock;
use super::reader::policy_of;
use super::scrub;

/// What a host has heard of its fleet, in the state directory: the link writes and reads it.
pub(crate) const FLEET_MEMORY_NAME: &str = "fleet-memory.json";
/// Of a memory that stands alone, without the journal whose epoch would name it.
const WITHOUT_EPOCH: &str = "before";

/// The journal of a fleet, which no agent uses and none can begin to use while this lives, and what
/// was heard of that fleet.
#[derive(Debug)]
pub struct FleetJournal {
    dir: PathBuf,
    /// `None` when there is no journal, only what was heard.
    epoch: Option<String>,
    has_memory: bool,
    _lock: Flock<File>,
}

// === impl FleetJournal ===

impl FleetJournal {
    /// Takes hold of what is in `dir`; `None` when there is nothing of a fleet: no journal that ever
    /// had a policy from a controller, and nothing that was heard of one.
    ///
    /// # Errors
    ///
    /// [`JournalError::InUse`] while an agent runs; others when the journal cannot be read.
    pub fn hold(dir: &Path) -> Result<Option<Self>, JournalError> {
        let path = dir.join(FILE_NAME);
        let has_memory = dir.join(FLEET_MEMORY_NAME).exists();
        let has_journal = path.exists();
        if !has_journal && !has_memory {
            return Ok(None);
        }
        let lock = lock(dir, &path)?;
        let epoch = if has_journal {
            let epoch = settled_epoch(&path, has_memory)?;
            if epoch.is_none() {
                return Ok(None);
            }
            epoch
        } else {
            None
        };
        Ok(Some(Self {
            dir: dir.to_owned(),
            epoch,
            has_memory,
            _lock: lock,
        }))
    }

    /// Renames it. The next start finds that there was a journal, and refuses packets dated before
    /// it. Answers where the old one is now.
    ///
    /// What was heard goes first: with it a new journal would tell another fleet of the numbers of
    /// this one, while a journal without it only costs an alarm.
    ///
    /// # Errors
    ///
    /// [`JournalError`] when one of both cannot be renamed.
    pub fn archive(self) -> Result<PathBuf, JournalError> {
        let suffix = self.epoch.as_deref().unwrap_or(WITHOUT_EPOCH);
        let mut aside = self.dir.clone();
        if self.has_memory {
            aside = set_aside(&self.dir, FLEET_MEMORY_NAME, suffix)?;
        }
        if self.epoch.is_some() {
            aside = set_aside(&self.dir, FILE_NAME, suffix)?;
        }
        Ok(aside)
    }
}

/// The epoch of the journal, all of which is then in the one file that is to be moved; `None` when it
/// belongs to no fleet.
fn settled_epoch(path: &Path, has_memory: bool) -> Result<Option<String>, JournalError> {
    let connection = Connection::open(path).map_err(cannot(path, "open"))?;
    if !has_memory && policy_of(&connection, path)?.is_none() {
        return Ok(None);
    }
    let epoch = connection
        .query_row("SELECT epoch FROM meta", [], |row| row.get(0))
        .map_err(cannot(path, "read the epoch of"))?;
    // Nobody opens anything by an archived policy any more, and its keys may be in use elsewhere.
    scrub::write_over(&connection, true).map_err(cannot(path, "write to"))?;
    connection
        .execute("UPDATE policy SET text = ''", [])
        .map_err(cannot(path, "write to"))?;
    // Closing then removes the log.
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .map_err(cannot(path, "write to"))?;
    connection
        .close()
        .map_err(|(_, cause)| cannot(path, "close")(cause))?;
    Ok(Some(epoch))
}

fn set_aside(dir: &Path, name: &str, suffix: &str) -> Result<PathBuf, JournalError> {
    let path = dir.join(name);
    let aside = dir.join(format!("{name}.{suffix}"));
    fs::rename(&path, &aside)
        .and_then(|()| File::open(dir)?.sync_all())
        .map_err(io(&path, "rename"))?;
    Ok(aside)
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
            text: "SOURCE ANY\nKEY of-the-fleet\n".to_owned().into(),
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
    fn what_was_heard_of_a_fleet_is_told_to_no_other() {
        for with_journal in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            if with_journal {
                // It never had a policy, and was a fleet's all the same.
                open(dir.path()).journal.close().unwrap();
            }
            let memory = dir.path().join(FLEET_MEMORY_NAME);
            fs::write(&memory, "{}").unwrap();

            let held = FleetJournal::hold(dir.path()).unwrap().unwrap();
            let archived = held.archive().unwrap();

            assert!(archived.exists());
            assert!(!memory.exists());
            assert!(!dir.path().join(FILE_NAME).exists());
            assert!(FleetJournal::hold(dir.path()).unwrap().is_none());
        }
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

        // What it opened by is gone, as everywhere.
        let bytes = fs::read(&archived).unwrap();
        assert!(!bytes.windows(12).any(|found| found == b"of-the-fleet"));
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
