//! Root who works in somebody's directory does it as that one: what is made there can be used by whom
//! it is for, and a program that need not be root is not.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};

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
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_changed_by_a_directory_of_ones_own_or_by_none() {
        let before = (Uid::effective(), Gid::effective());
        let dir = tempfile::tempdir().unwrap();

        become_owner_of(dir.path()).unwrap();
        become_owner_of(&dir.path().join("none")).unwrap();

        assert_eq!((Uid::effective(), Gid::effective()), before);
    }
}
