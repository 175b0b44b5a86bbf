//! Root who works in somebody's directory does it as that one: what is made there can be used by whom
//! it is for, and a program that need not be root is not.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use nix::unistd::{Gid, Uid, User, setgid, setgroups, setuid};

/// Becomes the owner of a directory, for good, if this process is root and the directory is there and
/// somebody else's. Otherwise nothing happens.
///
/// To be called before files are made and threads are started.
///
/// # Errors
///
/// When the directory cannot be looked at, or the kernel refuses the change.
pub fn become_owner_of(dir: &Path) -> io::Result<()> {
    if !Uid::effective().is_root() {
        return Ok(());
    }
    let metadata = match fs::metadata(dir) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if metadata.uid() == 0 {
        return Ok(());
    }
    setgroups(&[])?;
    setgid(Gid::from_raw(metadata.gid()))?;
    setuid(Uid::from_raw(metadata.uid()))?;
    // Which the change has undone.
    crate::keep_memory_private();
    Ok(())
}

/// The name of the user whose a directory is, where this machine knows one.
#[must_use]
pub fn name_of_owner(dir: &Path) -> Option<String> {
    let owner = Uid::from_raw(fs::metadata(dir).ok()?.uid());
    Some(User::from_uid(owner).ok()??.name)
}

/// Makes a directory that nobody but this user may look into, if this process is root and the directory
/// is not there yet. Answers whether it is that user's now: not where this machine does not know her.
///
/// # Errors
///
/// What the system says; then there is no directory.
pub fn make_for(user: &str, dir: &Path) -> io::Result<bool> {
    if !Uid::effective().is_root() || fs::exists(dir)? {
        return Ok(false);
    }
    let Some(user) = User::from_name(user)? else {
        return Ok(false);
    };
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::DirBuilder::new().mode(0o700).create(dir)?;
    let given = std::os::unix::fs::chown(dir, Some(user.uid.as_raw()), Some(user.gid.as_raw()));
    given.inspect_err(|_| {
        let _ = fs::remove_dir(dir);
    })?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn root_makes_a_directory_for_somebody_and_nobody_else_does() {
        let there = tempfile::tempdir().unwrap();
        let dir = there.path().join("a/b");

        assert!(!make_for("no-such-user", &dir).unwrap());
        assert!(!make_for("nobody", there.path()).unwrap());
        let is_made = make_for("nobody", &dir).unwrap();

        assert_eq!(is_made, Uid::effective().is_root());
        if is_made {
            assert_eq!(name_of_owner(&dir).as_deref(), Some("nobody"));
            let mode = fs::metadata(&dir).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
            assert_eq!(name_of_owner(there.path()).as_deref(), Some("root"));
        }
    }

    #[test]
    fn nobody_is_changed_by_a_directory_of_ones_own_or_by_none() {
        let before = (Uid::effective(), Gid::effective());
        let dir = tempfile::tempdir().unwrap();

        become_owner_of(dir.path()).unwrap();
        become_owner_of(&dir.path().join("none")).unwrap();

        assert_eq!((Uid::effective(), Gid::effective()), before);
    }
}
