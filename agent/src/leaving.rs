//! Becoming another host with the state of the one before. The membership is replaced first and the journal
//! is archived after it, so a note says in between whose the journal is: whoever comes next finishes.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use member::{FilesError, Membership};
use sha2::{Digest as _, Sha256};

use crate::journal::{FleetJournal, JournalError};

/// Whose the journal is, in the state directory while somebody joins.
const NOTE: &str = "journal-of";
/// Of a journal whose host cannot be told any more: it is no host's that joins.
const NOBODY: &str = "nobody";

/// Notes whose the journal is: that of the membership before.
///
/// # Errors
///
/// What the disk says; nothing has happened then.
pub(crate) fn begin(state: &Path, before: Option<&Membership>) -> Result<(), JournalError> {
    note(state, before.map(host_of).as_deref())
}

/// If a join has come between, archives the journal unless it is that of the host that this machine is
/// now. Answers where it is then. `journal` is held already, or is taken hold of here.
///
/// # Errors
///
/// What the disk says: the note stays, and the next who comes tries again.
pub(crate) fn settle(
    state: &Path,
    journal: Option<FleetJournal>,
) -> Result<Option<PathBuf>, JournalError> {
    let host = match Membership::load(state) {
        Ok(member) => Some(host_of(&member)),
        Err(FilesError::NotMember { .. }) => None,
        // Nobody can say yet who this is, and nobody runs by it.
        Err(
            FilesError::Io { .. }
            | FilesError::Damaged { .. }
            | FilesError::Exposed { .. }
            | FilesError::Keyring(_),
        ) => return Ok(None),
    };
    settled(state, host.as_deref(), journal)
}

/// Fleet and name: under another name it has another policy and another history.
fn host_of(member: &Membership) -> String {
    hex::encode(Sha256::digest(
        [member.ca_der(), member.name.as_bytes()].concat(),
    ))
}

fn note(state: &Path, host: Option<&str>) -> Result<(), JournalError> {
    let path = state.join(NOTE);
    let text = host.unwrap_or(NOBODY);
    program::files::replace(&path, 0o600, text.as_bytes())
        .map_err(|cause| failed("write", &path, cause))
}

fn settled(
    state: &Path,
    host: Option<&str>,
    journal: Option<FleetJournal>,
) -> Result<Option<PathBuf>, JournalError> {
    let path = state.join(NOTE);
    let of = match fs::read_to_string(&path) {
        Ok(of) => of,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(failed("read", &path, cause)),
    };
    let is_another = host.is_some_and(|host| host != of.trim());
    let journal = match (is_another, journal) {
        (false, _) => None,
        (true, Some(held)) => Some(held),
        (true, None) => FleetJournal::hold(state)?,
    };
    let kept = journal.map(FleetJournal::archive).transpose()?;
    fs::remove_file(&path).map_err(|cause| failed("remove", &path, cause))?;
    Ok(kept)
}

fn failed(doing: &'static str, path: &Path, cause: io::Error) -> JournalError {
    let path = path.to_owned();
    JournalError::Io { doing, path, cause }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const MEMORY: &str = "fleet-memory.json";

    /// With what was heard of a fleet, and the note that this host is about to become another.
    fn about_to_join(before: Option<&str>) -> TempDir {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join(MEMORY), "{}").unwrap();
        note(dir.path(), before).unwrap();
        dir
    }

    #[test]
    fn a_join_that_was_killed_leaves_nothing_of_the_host_before_to_the_one_that_it_became() {
        for before in [Some("web-1"), None] {
            let dir = about_to_join(before);

            let kept = settled(dir.path(), Some("web-2"), None).unwrap().unwrap();
            let again = settled(dir.path(), Some("web-2"), None).unwrap();

            assert_eq!(fs::read_to_string(kept).unwrap(), "{}");
            assert!(!dir.path().join(MEMORY).exists());
            assert_eq!(again, None);
        }
    }

    #[test]
    fn a_join_that_came_to_nothing_and_one_as_the_same_host_leave_the_journal_as_it_is() {
        for now in [Some("web-1"), None] {
            let dir = about_to_join(Some("web-1"));

            assert_eq!(settled(dir.path(), now, None).unwrap(), None);

            assert!(dir.path().join(MEMORY).exists());
            assert!(!dir.path().join(NOTE).exists());
            let later = settled(dir.path(), Some("web-2"), None).unwrap();
            assert_eq!(later, None, "that is another join's business");
        }
    }

    #[test]
    fn a_membership_that_nobody_can_read_yet_leaves_the_note_for_later() {
        let dir = about_to_join(Some("web-1"));
        fs::write(dir.path().join("membership.json"), "{").unwrap();

        assert_eq!(settle(dir.path(), None).unwrap(), None);

        assert!(dir.path().join(NOTE).exists());
        assert!(dir.path().join(MEMORY).exists());
    }
}
