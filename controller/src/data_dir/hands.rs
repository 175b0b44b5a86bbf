//! Whose the controller's directory and its files are, and who else could read or change them.

use std::fs;
use std::path::Path;

use program::trusted;

use super::DataDirError;

/// What nobody else may read, by the end of the file's name.
const SECRETS: [&str; 5] = ["-key.pem", ".key", ".key.new", "-key", "authority.json"];
/// What nobody else may change. The directory keeps others from reading it.
const OURS: [&str; 4] = ["controller.toml", "controller.db", "-wal", "-shm"];

/// Refuses a directory that others may enter or change, and files in it that others may change, or read
/// where they are secret.
///
/// # Errors
///
/// [`DataDirError::Exposed`] with the command that mends it.
pub(super) fn check(dir: &Path) -> Result<(), DataDirError> {
    let failed = |error| DataDirError::file(dir, error);
    looked_at(dir, trusted::check_secret(dir))?;
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ends = |with: &&str| name.ends_with(*with);
        if SECRETS.iter().any(&ends) {
            looked_at(&path, trusted::check_secret(&path))?;
        } else if OURS.iter().any(ends) {
            looked_at(&path, trusted::check(&path))?;
        }
    }
    Ok(())
}

/// Files that others may read, where the directory alone keeps them from it, each with the command that mends
/// it: the database, and settings where these may hold secrets.
pub(super) fn readable(dir: &Path) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !OURS.iter().any(|end| name.ends_with(end)) {
            continue;
        }
        let mode = fs::metadata(&path).map_or(0, |file| file.permissions().mode() & 0o777);
        if mode & 0o044 != 0 {
            let path = path.display();
            found.push(format!(
                "{path} may be read by others (mode {mode:o}), whom only the directory keeps out: `chmod go-rwx {path}`"
            ));
        }
    }
    found.sort_unstable();
    found
}

/// What was found, but for a file that went meanwhile, as those beside a database do.
pub(super) fn looked_at(path: &Path, found: std::io::Result<()>) -> Result<(), DataDirError> {
    match found {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) if source.kind() == std::io::ErrorKind::InvalidInput => {
            Err(DataDirError::Exposed {
                path: path.to_owned(),
                source,
            })
        }
        Err(error) => Err(DataDirError::file(path, error)),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn made() -> (TempDir, Vec<PathBuf>) {
        let dir = TempDir::new().unwrap();
        chmod(dir.path(), 0o700);
        let names = [
            "authority.json",
            "ca-key.pem",
            "server-key.pem",
            "seal.key",
            "seal.key.new",
        ];
        let paths: Vec<_> = names.iter().map(|name| dir.path().join(name)).collect();
        for path in &paths {
            fs::write(path, "secret").unwrap();
            chmod(path, 0o600);
        }
        (dir, paths)
    }

    #[test]
    fn a_directory_or_key_file_that_others_could_read_is_refused_with_the_command_that_mends_it() {
        let (dir, paths) = made();
        assert!(check(dir.path()).is_ok());
        for path in paths.iter().chain([&dir.path().to_owned()]) {
            let whole = if path == dir.path() { 0o700 } else { 0o600 };
            for more in [0o040, 0o004, 0o020] {
                chmod(path, whole | more);
                let refused = program::one_line(&check(dir.path()).unwrap_err()).to_string();
                assert!(refused.contains("`chmod go"), "{refused}");
                assert!(refused.contains(&*path.to_string_lossy()), "{refused}");
            }
            chmod(path, whole);
        }
        assert!(check(dir.path()).is_ok());
    }

    #[test]
    fn a_database_and_settings_that_others_could_read_are_named_with_the_command_that_mends_it() {
        let (dir, _) = made();
        for name in ["controller.toml", "controller.db", "ca.pem"] {
            fs::write(dir.path().join(name), "").unwrap();
            chmod(&dir.path().join(name), 0o644);
        }
        let found = readable(dir.path());
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].contains("controller.db may be read") && found[0].contains("`chmod go-rwx")
        );
        for name in ["controller.toml", "controller.db"] {
            chmod(&dir.path().join(name), 0o600);
        }
        assert!(readable(dir.path()).is_empty());
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        let (dir, paths) = made();
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        for path in &paths {
            std::os::unix::fs::chown(path, Some(12_345), None).unwrap();
            let refused = program::one_line(&check(dir.path()).unwrap_err()).to_string();
            assert!(refused.contains("`chown root "), "{refused}");
            std::os::unix::fs::chown(path, Some(0), None).unwrap();
        }
    }

    #[test]
    fn a_database_and_settings_that_others_could_change_are_refused_and_what_is_public_is_not_looked_at()
     {
        let (dir, _) = made();
        for name in ["controller.toml", "controller.db", "ca.pem"] {
            let path = dir.path().join(name);
            fs::write(&path, "").unwrap();
            chmod(&path, 0o644);
            assert!(check(dir.path()).is_ok(), "{name}");
            chmod(&path, 0o664);
            assert_eq!(check(dir.path()).is_ok(), name == "ca.pem", "{name}");
            chmod(&path, 0o644);
        }
    }
}
