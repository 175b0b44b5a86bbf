//! Whether what an agent remembers can only have been written by trusted hands: it says who this host is,
//! and what was granted.
//!
//! The rules are those of access files. A gate that has given up the rights of root cannot even read
//! what belongs to others, so this is asked before there are several processes.

use std::error::Error;
use std::io;
use std::iter::once;
use std::path::Path;

use program::files::ReadError;
use program::trusted::{self, Untrusted};

use crate::journal::FILE_NAME;

/// What the state directory holds beside the journal, whoever has made it.
const KEPT: [&str; 11] = [
    "journal.db-wal",
    "journal.db-shm",
    "journal.epoch",
    "membership.json",
    "certificate.json",
    "trust.json",
    "joining.json",
    "rotating.json",
    "former.json",
    "fleet-memory.json",
    crate::protection::FILE_NAME,
];

/// Looks at the directory and at what it holds. What is not there, or cannot be looked at, is for whoever
/// needs it.
///
/// # Errors
///
/// [`ReadError`] names the first that others could have written, and the command that mends it.
pub(crate) fn check(state_dir: &Path) -> Result<(), ReadError> {
    let kept = once(FILE_NAME).chain(KEPT);
    let kept = kept.map(|name| state_dir.join(name));
    for path in once(state_dir.to_owned()).chain(kept) {
        match trusted::check(&path) {
            Err(cause) if untrusted(&cause).is_some() => return Err(ReadError::of(&path, cause)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// What others could have written, where that is why something is not read.
pub(crate) fn found(error: &ReadError) -> Option<&Untrusted> {
    let cause = error.source()?.downcast_ref::<io::Error>()?;
    untrusted(cause)
}

fn untrusted(cause: &io::Error) -> Option<&Untrusted> {
    cause.get_ref()?.downcast_ref::<Untrusted>()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use program::{Exit, Failure as _};

    use super::*;
    use crate::run::RunError;

    #[test]
    fn state_in_the_hands_of_another_user_is_refused_with_64_and_the_command_that_mends_it() {
        let dir = tempfile::tempdir().unwrap();
        assert!(check(&dir.path().join("not yet")).is_ok());
        for name in once(FILE_NAME).chain(KEPT) {
            let path = dir.path().join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        }
        assert!(check(dir.path()).is_ok());

        let open = dir.path().join("membership.json");
        fs::set_permissions(&open, Permissions::from_mode(0o666)).unwrap();
        assert_eq!(mend(dir.path()), format!("chmod go-w {}", open.display()));
        fs::set_permissions(&open, Permissions::from_mode(0o600)).unwrap();
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        for path in [dir.path().join(FILE_NAME), open, dir.path().to_owned()] {
            chown(&path, Some(12_345), None).unwrap();
            assert_eq!(mend(dir.path()), format!("chown root {}", path.display()));
            let refused = RunError::State(check(dir.path()).unwrap_err());
            assert_eq!(refused.exit(), Exit::Invalid);
            chown(&path, Some(0), None).unwrap();
        }
        assert!(check(dir.path()).is_ok());
    }

    fn mend(dir: &Path) -> String {
        found(&check(dir).unwrap_err()).unwrap().mend()
    }
}
