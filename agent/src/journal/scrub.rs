//! Keys of policies that were replaced leave the disk.
//!
//! SQLite leaves what was deleted where it lay until something else needs the place: pages of the
//! database, and records of the write-ahead log. So a policy is replaced with `secure_delete`, which
//! writes zeros over the old one, and afterwards the log is moved into the database, emptied and filled
//! with zeros. Only then: everything else that is deleted here is no secret, and zeros over that would
//! cost each commit of the gate.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _};

use super::error::{JournalError, cannot};
use super::preallocate;

/// Says in a journal that nothing of it was ever deleted without zeros over it: "PstZ".
const SCRUBBED: i32 = 0x5073_745a;

/// How lines with keys begin.
const KEY_LINES: [&str; 4] = ["KEY", "HMAC_KEY", "MORE_KEYS", "GPG_DECRYPT_PW"];

/// Whether a policy's text has keys in it that others hold, too.
pub(super) fn holds_keys(text: &str) -> bool {
    text.lines()
        .map(str::trim_start)
        .any(|line| KEY_LINES.iter().any(|begin| line.starts_with(begin)))
}

/// Whether the policy that is saved has keys in it.
pub(super) fn saved_keys(connection: &Connection) -> rusqlite::Result<bool> {
    let text: Option<String> = connection
        .query_row("SELECT text FROM policy", [], |row| row.get(0))
        .optional()?;
    Ok(text
        .map(zeroize::Zeroizing::new)
        .is_some_and(|text| holds_keys(&text)))
}

/// What is deleted from now on is, or is not, written over.
pub(super) fn write_over(connection: &Connection, on: bool) -> rusqlite::Result<()> {
    connection.pragma_update(None, "secure_delete", on)
}

/// Empties the log of the journal in `dir`, of which nothing is left then. False, and the log is as it
/// was, while somebody reads it; nobody is waited for.
pub(super) fn empty_log(connection: &Connection, dir: &Path) -> rusqlite::Result<bool> {
    let busy_timeout: i64 = connection.query_row("PRAGMA busy_timeout", [], |row| row.get(0))?;
    connection.pragma_update(None, "busy_timeout", 0)?;
    let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
        row.get::<_, bool>(0)
    });
    connection.pragma_update(None, "busy_timeout", busy_timeout)?;
    if busy? {
        return Ok(false);
    }
    if let Err(cause) = preallocate::log(dir) {
        tracing::debug!(error = %program::one_line(&cause), "no room for the whole log: commits will have to make it grow");
    }
    Ok(true)
}

/// Once for a journal of a version that did not write over what it deleted: it is written anew, whole.
pub(super) fn of_an_earlier_version(
    connection: &Connection,
    existed: bool,
    path: &Path,
) -> Result<(), JournalError> {
    let mark = |row: &rusqlite::Row<'_>| row.get::<_, i32>(0);
    let known = connection.query_row("PRAGMA application_id", [], mark);
    if known.map_err(cannot(path, "read"))? == SCRUBBED {
        return Ok(());
    }
    if existed {
        connection
            .execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")
            .map_err(cannot(path, "write anew"))?;
    }
    connection
        .pragma_update(None, "application_id", SCRUBBED)
        .map_err(cannot(path, "write to"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use tempfile::TempDir;

    use super::super::{Journal, JournalOptions, Retention};
    use super::*;
    use crate::policies::{PolicyText, PolicyVersion};

    const NOW_SECS: u64 = 1_795_430_000;

    fn options(dir: &Path) -> JournalOptions {
        JournalOptions {
            state_dir: dir.to_owned(),
            retention: Retention::UntilAcknowledged,
            window: Some(Duration::from_secs(120)),
            max_future: Duration::from_secs(120),
            witness_dir: None,
        }
    }

    fn policy(generation: u64, text: &str) -> PolicyText {
        PolicyText {
            version: PolicyVersion {
                generation,
                ..PolicyVersion::default()
            },
            text: text.to_owned().into(),
        }
    }

    /// Files of the directory in which these bytes stand.
    fn found(dir: &Path, bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let all = fs::read(&path).unwrap();
            if all.windows(bytes.len()).any(|window| window == bytes) {
                found.push(path.display().to_string());
            }
        }
        found
    }

    const OLD_KEY: &str = "aW4tdGhlLW9sZC1wb2xpY3ktb25seS0hISEhISEhISE=";

    /// A policy of some pages, as one of a hundred stanzas has.
    fn long(key: &str) -> String {
        format!("SOURCE ANY\nKEY_BASE64 {key}\nOPEN_PORTS tcp/22\n\n").repeat(100)
    }

    #[test]
    fn after_a_policy_is_replaced_no_byte_of_its_keys_is_in_the_state_directory() {
        let dir = TempDir::new().unwrap();
        let mut journal = Journal::open(&options(dir.path()), NOW_SECS)
            .unwrap()
            .journal;
        journal.stage_policy(policy(1, &long(OLD_KEY)));
        journal.commit().unwrap();
        assert!(!found(dir.path(), OLD_KEY.as_bytes()).is_empty());

        journal.stage_policy(policy(2, "SOURCE ANY\nUSER_PUBLIC_KEY x\n"));
        journal.commit().unwrap();

        assert_eq!(found(dir.path(), OLD_KEY.as_bytes()), Vec::<String>::new());
        assert_eq!(journal.place.look(), None, "our own doing is no loss");
        // It goes on, and a start after a crash finds it whole.
        journal.stage_lock(Some("x".to_owned()));
        journal.commit().unwrap();
        let crashed = TempDir::new().unwrap();
        for entry in fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, crashed.path().join(path.file_name().unwrap())).unwrap();
        }
        let start = Journal::open(&options(crashed.path()), NOW_SECS).unwrap();
        assert_eq!(start.policy.unwrap().version.generation, 2);
        assert_eq!(start.locked.as_deref(), Some("x"));
    }

    #[test]
    fn beside_a_reader_the_keys_go_as_soon_as_it_has_ended() {
        let dir = TempDir::new().unwrap();
        let mut journal = Journal::open(&options(dir.path()), NOW_SECS)
            .unwrap()
            .journal;
        journal.stage_policy(policy(1, &long(OLD_KEY)));
        journal.commit().unwrap();
        let reader = Connection::open(dir.path().join("journal.db")).unwrap();
        reader.execute_batch("BEGIN; SELECT * FROM meta;").unwrap();

        journal.stage_policy(policy(2, "SOURCE ANY\n"));
        journal.commit().unwrap();
        assert!(!found(dir.path(), OLD_KEY.as_bytes()).is_empty());
        reader.execute_batch("COMMIT").unwrap();
        journal.tidy(
            gate::Now {
                wall_secs: NOW_SECS,
                ..gate::Now::default()
            },
            false,
        );

        assert_eq!(found(dir.path(), OLD_KEY.as_bytes()), Vec::<String>::new());
    }

    #[test]
    fn what_an_earlier_version_left_in_free_pages_goes_at_the_first_start() {
        let dir = TempDir::new().unwrap();
        let mut journal = Journal::open(&options(dir.path()), NOW_SECS)
            .unwrap()
            .journal;
        journal.stage_policy(policy(1, &long(OLD_KEY)));
        journal.commit().unwrap();
        journal.close().unwrap();
        // As it did: without zeros, and without the mark.
        let before = Connection::open(dir.path().join("journal.db")).unwrap();
        before
            .execute_batch(
                "PRAGMA secure_delete = OFF; UPDATE policy SET text = 'SOURCE ANY';
                            PRAGMA application_id = 0; PRAGMA wal_checkpoint(TRUNCATE);",
            )
            .unwrap();
        drop(before);
        assert!(!found(dir.path(), OLD_KEY.as_bytes()).is_empty());

        let start = Journal::open(&options(dir.path()), NOW_SECS).unwrap();

        assert_eq!(found(dir.path(), OLD_KEY.as_bytes()), Vec::<String>::new());
        assert_eq!(&*start.policy.unwrap().text, "SOURCE ANY");
    }

    #[test]
    fn lines_with_keys_are_told_from_those_of_users_whose_keys_nobody_else_has() {
        for (text, expected) in [
            ("SOURCE ANY\nKEY x\n", true),
            ("SOURCE ANY\n  KEY_BASE64 x\n", true),
            ("HMAC_KEY_BASE64 x\n", true),
            ("MORE_KEYS_BASE64 x\n", true),
            ("GPG_DECRYPT_PW x\n", true),
            ("SOURCE ANY\nUSER_PUBLIC_KEY x\n", false),
            ("", false),
        ] {
            assert_eq!(holds_keys(text), expected, "{text}");
        }
    }
}
