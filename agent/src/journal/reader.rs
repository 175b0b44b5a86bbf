//! Reading the journal beside the gate thread, on a connection of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use fleet::wire::JournalEnd;
use fleet::{Event, EventKind, EventRecord};
use program::files::ReadError;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, named_params};

use super::error::{JournalError, cannot};
use super::live_grants::{self, FoundGrant};
use super::lock::lock;
use super::schema::keep_log;
use super::{FILE_NAME, floors, records};
use crate::policies::{PolicyText, PolicyVersion};
use crate::report::JournalReport;

/// Reads events and the saved policy of a journal that the gate thread writes.
///
/// SQLite's write-ahead log lets readers work beside the writer; neither waits for the other.
#[derive(Debug)]
pub struct JournalReader {
    path: PathBuf,
    connection: Connection,
    epoch: String,
    /// Device and inode of the file that is open.
    name: Option<(u64, u64)>,
}

// === impl JournalReader ===

impl JournalReader {
    /// Opens the journal at `path`, which the writer must have opened before.
    ///
    /// # Errors
    ///
    /// [`JournalError`] names the file and what failed.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        Self::open_as(path, path.as_os_str(), OpenFlags::empty())
    }

    /// The same for whoever looks from outside, whether or not an agent runs. SQLite makes files of its own beside
    /// a journal that has none; where none are, nobody writes it, and it is read without making any.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn look(path: &Path) -> Result<Self, JournalError> {
        let beside = ["-wal", "-shm"].map(|end| {
            let mut name = path.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        });
        if beside.iter().any(|file| file.exists()) {
            return Self::open(path);
        }
        let named = uri_of_what_nobody_writes(path);
        Self::open_as(path, named.as_ref(), OpenFlags::SQLITE_OPEN_URI)
    }

    fn open_as(path: &Path, named: &OsStr, more: OpenFlags) -> Result<Self, JournalError> {
        // SQLite does not say why it cannot open a file.
        std::fs::File::open(path).map_err(|cause| ReadError::of(path, cause))?;
        let name = name_of(path);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
        let connection =
            Connection::open_with_flags(named, flags).map_err(cannot(path, "open for reading"))?;
        let epoch = connection
            .query_row("SELECT epoch FROM meta", [], |row| row.get(0))
            .map_err(cannot(path, "read the epoch of"))?;
        Ok(Self {
            path: path.to_owned(),
            connection,
            epoch,
            name,
        })
    }

    /// Opens the file anew if the one that was read is no longer at its path: the writer has written
    /// the journal anew, perhaps under another epoch.
    ///
    /// # Errors
    ///
    /// [`JournalError`] when it cannot be read.
    pub fn follow(&mut self) -> Result<(), JournalError> {
        if name_of(&self.path) != self.name {
            *self = Self::open(&self.path)?;
        }
        Ok(())
    }

    /// Names this journal: 16 bytes as lower-case hexadecimal. A new journal has a new epoch.
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// The state directory.
    pub fn dir(&self) -> &Path {
        self.path.parent().unwrap_or_else(|| Path::new("."))
    }

    /// Where the journal ends now, under the name that it has now. As its oldest event counts the first
    /// that a controller may still be sent: what was acknowledged is never sent again.
    ///
    /// # Errors
    ///
    /// [`JournalError`] when the journal cannot be read.
    pub fn end(&self) -> Result<JournalEnd, JournalError> {
        self.connection
            .query_row(
                "SELECT epoch, ifnull(last.seq, 0), ifnull(last.chain, x''),
                        max(ifnull((SELECT min(seq) FROM event), 0),
                            min(ifnull(last.seq, 0), acknowledged_seq + 1))
                 FROM meta LEFT JOIN (SELECT seq, chain FROM event ORDER BY seq DESC LIMIT 1) last",
                [],
                |row| {
                    Ok(JournalEnd {
                        epoch: row.get(0)?,
                        seq: row.get::<_, i64>(1)?.cast_unsigned(),
                        chain: row.get(2)?,
                        oldest_seq: row.get::<_, i64>(3)?.cast_unsigned(),
                    })
                },
            )
            .map_err(cannot(&self.path, "read the end of"))
    }

    /// Position up to which the controller has acknowledged: where to go on pushing after a start.
    /// Of the events before it, only some are still here.
    ///
    /// # Errors
    ///
    /// [`JournalError`] when the journal cannot be read.
    pub fn acknowledged(&self) -> Result<u64, JournalError> {
        self.connection
            .query_row("SELECT acknowledged_seq FROM meta", [], |row| {
                row.get::<_, i64>(0).map(i64::cast_unsigned)
            })
            .map_err(cannot(&self.path, "read"))
    }

    /// The oldest event that is here, also when the controller has it: its place, and its time in
    /// milliseconds since the Unix epoch.
    ///
    /// # Errors
    ///
    /// [`JournalError`] when the journal cannot be read.
    pub fn oldest(&self) -> Result<Option<(u64, u64)>, JournalError> {
        let oldest = "SELECT seq, at_ms FROM event ORDER BY seq LIMIT 1";
        self.connection
            .query_row(oldest, [], |row| {
                let (seq, at_ms): (i64, i64) = (row.get(0)?, row.get(1)?);
                Ok((seq.cast_unsigned(), at_ms.cast_unsigned()))
            })
            .optional()
            .map_err(cannot(&self.path, "read the oldest event of"))
    }

    /// At most `limit` events after `seq`, oldest first.
    ///
    /// # Errors
    ///
    /// [`JournalError`] when the journal cannot be read.
    pub fn events_after(&self, seq: u64, limit: u32) -> Result<Vec<EventRecord>, JournalError> {
        let failed = || cannot(&self.path, "read events of");
        let mut statement = self
            .connection
            .prepare_cached("SELECT * FROM event WHERE seq > :seq ORDER BY seq LIMIT :limit")
            .map_err(failed())?;
        let parameters = named_params! { ":seq": seq.cast_signed(), ":limit": limit };
        let events = statement
            .query_map(parameters, records::of_row)
            .map_err(failed())?
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed())?;
        Ok(events)
    }

    /// The starts of commands that messages asked for, of which no end follows, among the newest events: whoever was
    /// to record it was killed.
    ///
    /// # Errors
    ///
    /// [`JournalError`] when the journal cannot be read.
    pub fn unfinished_commands(&self) -> Result<Vec<Event>, JournalError> {
        /// A command ends within its time limit, and what repeats is counted: a start lies no further back.
        const LOOKED_AT: u32 = 4_096;
        let newest = "SELECT max(seq) FROM event";
        let newest: Option<i64> = self
            .connection
            .query_row(newest, [], |row| row.get(0))
            .map_err(cannot(&self.path, "read events of"))?;
        let newest = newest.unwrap_or_default().cast_unsigned();
        let records = self.events_after(newest.saturating_sub(LOOKED_AT.into()), LOOKED_AT)?;
        Ok(unfinished(
            records.iter().filter_map(|record| record.event().ok()),
        ))
    }

    /// What it holds, at this moment in milliseconds since the Unix epoch; `is_pushed` where a
    /// controller is to have its events.
    ///
    /// # Errors
    ///
    /// [`JournalError`] when the journal cannot be read.
    pub fn report(&self, now_ms: u64, is_pushed: bool) -> Result<JournalReport, JournalError> {
        let (bytes, free_bytes) = (self.bytes(), program::disk::free_bytes(&self.path));
        let report = JournalReport {
            bytes,
            free_bytes: free_bytes.unwrap_or(0),
            ..JournalReport::default()
        };
        if !is_pushed {
            return Ok(report);
        }
        let waiting = "SELECT count(*), ifnull(min(at_ms), 0) FROM event
                       WHERE seq > (SELECT acknowledged_seq FROM meta)";
        self.connection
            .prepare_cached(waiting)
            .and_then(|mut waiting| {
                waiting.query_row([], |row| {
                    let oldest_ms = row.get::<_, i64>(1)?.cast_unsigned();
                    let waits = if oldest_ms == 0 { now_ms } else { oldest_ms };
                    Ok(JournalReport {
                        unacknowledged: row.get::<_, i64>(0)?.cast_unsigned(),
                        oldest_unacknowledged_secs: now_ms.saturating_sub(waits) / 1_000,
                        ..report
                    })
                })
            })
            .map_err(cannot(&self.path, "count the events of"))
    }

    /// The files, as far as they are there.
    fn bytes(&self) -> u64 {
        let log = |suffix: &str| {
            let mut name = self.path.clone().into_os_string();
            name.push(suffix);
            PathBuf::from(name)
        };
        let files = [self.path.clone(), log("-wal"), log("-shm")];
        let sizes = files.iter().filter_map(|file| std::fs::metadata(file).ok());
        sizes.map(|found| found.len()).sum()
    }

    /// How many grants are open at this moment, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    ///
    /// [`JournalError`] when the journal cannot be read.
    pub fn open_grants_count(&self, now_ms: u64) -> Result<u32, JournalError> {
        self.connection
            .query_row(
                "SELECT count(*) FROM live_grant WHERE is_closed & 1 = 0 AND until_ms > ?1",
                [now_ms.cast_signed()],
                |row| row.get(0),
            )
            .map_err(cannot(&self.path, "count the grants of"))
    }

    /// Grants whose closing is not recorded: open, or living on in connections.
    ///
    /// # Errors
    ///
    /// [`JournalError`] when the journal cannot be read.
    pub fn live_grants(&self) -> Result<Vec<FoundGrant>, JournalError> {
        live_grants::all(&self.connection).map_err(cannot(&self.path, "read the grants of"))
    }

    /// Generation and digest of the access file that is in force, where one is.
    ///
    /// # Errors
    ///
    /// [`JournalError`] when the journal cannot be read.
    pub fn access_file(&self) -> Result<Option<(u64, [u8; 32])>, JournalError> {
        access_file_of(&self.connection).map_err(cannot(
            &self.path,
            "read the generation of the access file of",
        ))
    }

    /// The policy that was last adopted, if one was saved.
    ///
    /// # Errors
    ///
    /// [`JournalError`] when the journal cannot be read.
    pub fn policy(&self) -> Result<Option<PolicyText>, JournalError> {
        policy_of(&self.connection, &self.path)
    }
}

fn name_of(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// Commands that have started and not ended; those of cycles are grants, and looked after as such. Pure.
fn unfinished(events: impl Iterator<Item = Event>) -> Vec<Event> {
    let (mut started, mut grants) = (BTreeMap::new(), BTreeSet::new());
    for event in events.filter(|event| !event.grant_id.is_empty()) {
        let id = event.grant_id.clone();
        if event.kind() != EventKind::CommandRun {
            started.remove(&id);
            grants.insert(id);
        } else if event.reason.starts_with(engine::COMMAND_STARTS) && !grants.contains(&id) {
            started.insert(id, event);
        } else {
            started.remove(&id);
        }
    }
    started.into_values().collect()
}

/// Which dates the journal in `state_dir` refuses; an agent may be writing it.
///
/// # Errors
///
/// [`JournalError`] when there is none, or it cannot be read.
pub fn floors_of(state_dir: &Path) -> Result<gate::Floors, JournalError> {
    let path = state_dir.join(FILE_NAME);
    let reader = JournalReader::open(&path)?;
    floors::read(&reader.connection).map_err(cannot(&path, "read the floors of"))
}

/// An operator says that the clock is right, of a journal that no agent uses: see
/// [`Journal::reset_floor`](super::Journal::reset_floor). Answers the floor as it is then.
///
/// # Errors
///
/// [`JournalError::InUse`] while an agent runs; others when the journal cannot be read or written.
pub fn reset_floors_of(state_dir: &Path, now_secs: u64) -> Result<gate::Floor, JournalError> {
    let path = state_dir.join(FILE_NAME);
    let floors = floors_of(state_dir)?;
    let _lock = lock(state_dir, &path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection =
        Connection::open_with_flags(&path, flags).map_err(cannot(&path, "open"))?;
    keep_log(&connection).map_err(cannot(&path, "open"))?;
    let mut memory = gate::Memory::new(gate::Capacity::default(), floors);
    memory.reset(now_secs, gate::AGEING_DEFAULT.as_secs());
    let mut write = || {
        let transaction = connection.transaction()?;
        floors::write(&transaction, memory.floors())?;
        transaction.commit()
    };
    write().map_err(cannot(&path, "write to"))?;
    Ok(memory.floors().highest())
}

pub(super) fn access_file_of(connection: &Connection) -> rusqlite::Result<Option<(u64, [u8; 32])>> {
    connection
        .query_row("SELECT generation, digest FROM access_file", [], |row| {
            Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?))
        })
        .optional()
}

pub(super) fn policy_of(
    connection: &Connection,
    path: &Path,
) -> Result<Option<PolicyText>, JournalError> {
    connection
        .query_row("SELECT * FROM policy", [], |row| {
            let version = PolicyVersion {
                generation: row.get::<_, i64>("generation")?.cast_unsigned(),
                digest: row.get("digest")?,
                not_after_secs: row.get::<_, i64>("not_after_secs")?.cast_unsigned(),
                replay_floor_secs: row.get::<_, i64>("replay_floor_secs")?.cast_unsigned(),
            };
            Ok(PolicyText {
                version,
                text: row.get::<_, String>("text")?.into(),
            })
        })
        .optional()
        .map_err(cannot(path, "read the saved policy of"))
}

/// The name by which SQLite opens a file that does not change while it is read (https://sqlite.org/uri.html).
fn uri_of_what_nobody_writes(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._~-".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri + "?immutable=1"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_looks_at_a_journal_that_nobody_writes_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state ?#%25 ä");
        std::fs::create_dir(&state).unwrap();
        let path = state.join(FILE_NAME);
        let written = Connection::open(&path).unwrap();
        written
            .execute_batch(
                "PRAGMA journal_mode = WAL; CREATE TABLE meta (epoch); INSERT INTO meta VALUES ('e');",
            )
            .unwrap();
        drop(written);
        let names = || -> Vec<_> {
            let all = std::fs::read_dir(&state).unwrap();
            all.map(|entry| entry.unwrap().file_name()).collect()
        };
        assert_eq!(names(), [FILE_NAME]);

        let reader = JournalReader::look(&path).unwrap();

        assert_eq!(reader.epoch(), "e");
        assert_eq!(names(), [FILE_NAME]);
        drop(reader);
        assert_eq!(names(), [FILE_NAME]);
    }

    #[test]
    fn a_command_is_unfinished_until_its_end_and_one_of_a_cycle_is_its_grants() {
        let event = |kind, id: &str, reason: &str| Event {
            grant_id: id.to_owned(),
            reason: reason.to_owned(),
            ..Event::new(kind, 1)
        };
        let (run, opened) = (EventKind::CommandRun, EventKind::GrantOpened);
        let all = [
            event(run, "a", "start: id"),
            event(run, "b", "start: start: me"),
            event(run, "a", "exit code 0"),
            event(opened, "c", "CMD_CYCLE_OPEN: x"),
            event(run, "c", "start: close"),
            event(opened, "", "start: nothing"),
        ];

        let left = unfinished(all.into_iter());

        let ids: Vec<_> = left.iter().map(|event| event.grant_id.as_str()).collect();
        assert_eq!(ids, ["b"]);
    }
}
