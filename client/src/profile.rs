//! The profile: one membership, the signed directory as last seen, and the policy generation that
//! the operator saw last.

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use member::{FilesError, Membership};
use serde::{Deserialize, Serialize};

use crate::error::{CommandError, Result};
use crate::keyring;

/// A directory of a hundred thousand hosts has 20 MB; a larger file is not ours.
const FILE_BYTES_MAX: u64 = 256 << 20;

const DIRECTORY: &str = "directory.bin";
const BASE: &str = "policy-base";
const SEEN: &str = "seen.json";
const NAMES: &str = "names.json";
const AUDIT_CHECKPOINT: &str = "audit-checkpoint";
const AUDIT_KEY: &str = "audit-key";

/// A profile directory.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    dir: PathBuf,
}

/// Names for completions.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct SeenNames {
    #[serde(default)]
    pub(crate) hosts: Vec<String>,
    #[serde(default)]
    pub(crate) users: Vec<String>,
    /// As `role=web`.
    #[serde(default)]
    pub(crate) labels: Vec<String>,
    /// All members, as `ROLE/NAME`.
    #[serde(default)]
    pub(crate) members: Vec<String>,
    /// Of the policy.
    #[serde(default)]
    pub(crate) stanzas: Vec<String>,
    /// Until then, in seconds since 1970, a completion is made of these and nobody is asked.
    #[serde(default)]
    pub(crate) ask_again_secs: u64,
}

// === impl Profile ===

impl Profile {
    /// The profile that was named, or the one of the XDG configuration directory.
    pub(crate) fn new(named: Option<PathBuf>) -> Self {
        let dir = named.unwrap_or_else(|| {
            env::var_os("XDG_CONFIG_HOME")
                .map(PathBuf::from)
                .filter(|dir| dir.is_absolute())
                .unwrap_or_else(|| home().join(".config"))
                .join("postern")
        });
        Self { dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Who we are.
    ///
    /// # Errors
    ///
    /// Exit code 1 when nobody has joined here.
    pub(crate) fn membership(&self) -> Result<Membership> {
        Ok(self.load()?)
    }

    /// Who we are, if we are a member at all.
    ///
    /// # Errors
    ///
    /// Exit code 1 when there is a membership that cannot be used.
    pub(crate) fn membership_if_any(&self) -> Result<Option<Membership>> {
        match self.load() {
            Ok(membership) => Ok(Some(membership)),
            Err(FilesError::NotMember { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Where the keys are in a keyring, that is asked when they are needed.
    fn load(&self) -> Result<Membership, FilesError> {
        Membership::load_with(&self.dir, keyring::of_desktop())
    }

    /// The signed directory as it was stored.
    pub(crate) fn read_directory(&self) -> Result<Option<Vec<u8>>> {
        self.read(DIRECTORY)
    }

    pub(crate) fn write_directory(&self, bytes: &[u8]) -> Result {
        self.write(DIRECTORY, bytes)
    }

    /// What the controller last said about the address that we come from.
    pub(crate) fn read_seen(&self) -> Result<Option<Vec<u8>>> {
        self.read(SEEN)
    }

    pub(crate) fn write_seen(&self, bytes: &[u8]) -> Result {
        self.write(SEEN, bytes)
    }

    /// Names that the controller listed when it was asked last: for completions.
    pub(crate) fn seen_names(&self) -> SeenNames {
        let bytes = self.read(NAMES).ok().flatten().unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Keeps names that were listed. A profile that cannot be written completes fewer.
    pub(crate) fn saw_names(&self, change: impl FnOnce(&mut SeenNames)) {
        let mut names = self.seen_names();
        change(&mut names);
        let _ = serde_json::to_vec(&names).map(|bytes| self.write(NAMES, &bytes));
    }

    /// The policy generation that the operator saw last.
    pub(crate) fn seen_generation(&self) -> Result<Option<u64>> {
        let text = self.read(BASE)?;
        Ok(text
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .and_then(|text| text.trim().parse().ok()))
    }

    /// Remembers what the operator saw, and says whether it could. Nothing that was done depends on it:
    /// in a profile that cannot be written, such as one that is mounted read-only, the next apply is
    /// based on `--base`, or on what is in force.
    pub(crate) fn saw_generation(&self, generation: u64) -> bool {
        self.write(BASE, format!("{generation}\n").as_bytes())
            .is_ok()
    }

    /// The last checkpoint of the log that was verified here, a signed note.
    pub(crate) fn audit_checkpoint(&self) -> Result<Option<String>> {
        self.read_text(AUDIT_CHECKPOINT)
    }

    /// The key that signs the log, as it was heard first.
    pub(crate) fn audit_key(&self) -> Result<Option<String>> {
        self.read_text(AUDIT_KEY)
    }

    pub(crate) fn keep_audit_key(&self, key: &str) -> Result {
        self.write(AUDIT_KEY, format!("{key}\n").as_bytes())
    }

    /// Keeps what was verified, and the key that signed it.
    pub(crate) fn keep_audit(&self, key: &str, note: &str) -> Result {
        self.keep_audit_key(key)?;
        self.write(AUDIT_CHECKPOINT, note.as_bytes())
    }

    /// Where the last checkpoint and the key are kept.
    pub(crate) fn audit_files(&self) -> (PathBuf, PathBuf) {
        (self.dir.join(AUDIT_CHECKPOINT), self.dir.join(AUDIT_KEY))
    }

    /// What is no text is nothing that was written here, and says nothing.
    fn read_text(&self, name: &str) -> Result<Option<String>> {
        let bytes = self.read(name)?;
        Ok(bytes.map(|bytes| String::from_utf8(bytes).unwrap_or_default()))
    }

    /// Forgets what belonged to the membership before, if any. The log is the fleet's: what was verified of it stays
    /// where somebody joins once more in the same fleet, with the same keys or with others.
    ///
    /// # Errors
    ///
    /// When a file cannot be removed.
    pub(crate) fn joined(&self, before: Option<&Membership>, now: &Membership) -> Result {
        self.forget(&[DIRECTORY, BASE, SEEN, NAMES])?;
        let is_same_fleet = |before: &Membership| {
            let believed = now.authorities();
            let mut of_before = before.authorities().into_iter();
            before.ca_der() == now.ca_der() || of_before.any(|ca| believed.contains(&ca))
        };
        if before.is_some_and(is_same_fleet) {
            return Ok(());
        }
        self.forget(&[AUDIT_CHECKPOINT, AUDIT_KEY])
    }

    fn forget(&self, names: &[&str]) -> Result {
        for name in names {
            let path = self.dir.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(CommandError::failed(
                        format!("cannot remove {}", path.display()),
                        error,
                    ));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.dir.join(name);
        match program::files::read_bytes(&path, FILE_BYTES_MAX) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CommandError::unreadable(&path, error)),
        }
    }

    /// Replaces a file whole.
    fn write(&self, name: &str, bytes: &[u8]) -> Result {
        let path = self.dir.join(name);
        program::files::replace(&path, 0o600, bytes).map_err(|cause| {
            CommandError::failed(format!("cannot write {}", path.display()), cause)
        })
    }
}

/// The home directory; the root directory when there is none, where nothing of ours lies.
pub(crate) fn home() -> PathBuf {
    env::var_os("HOME")
        .map(PathBuf::from)
        .filter(|home| !home.as_os_str().is_empty())
        .or_else(|| {
            let user = nix::unistd::User::from_uid(nix::unistd::getuid());
            user.ok().flatten().map(|user| user.dir)
        })
        .unwrap_or_else(|| PathBuf::from("/"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The certificate of an authority that openssl makes, base64.
    fn authority() -> String {
        let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null \
                     -subj /CN=ca -days 30";
        let made = Command::new("openssl")
            .args(words.split_whitespace())
            .output()
            .unwrap();
        let pem = String::from_utf8(made.stdout).unwrap();
        pem.lines()
            .filter(|line| !line.starts_with("---"))
            .collect()
    }

    fn member(profile: &Profile, identity_key: &str, ca: &str) -> Membership {
        let file = serde_json::json!({
            "version": 1, "role": "auditor", "name": "otto", "fleet": "demo",
            "address": "127.0.0.1:1", "ca": ca, "identity_key": identity_key,
        });
        let file = file.to_string();
        profile.write("membership.json", file.as_bytes()).unwrap();
        profile.membership().unwrap()
    }

    #[test]
    fn a_join_that_is_done_again_or_in_the_same_fleet_forgets_nothing_that_was_verified() {
        let dir = tempfile::tempdir().unwrap();
        let profile = Profile::new(Some(dir.path().to_owned()));
        let key = "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=";
        let newer = "BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ=";
        let (ca, of_another_fleet) = (authority(), authority());
        let before = member(&profile, key, &ca);
        let kept_after = |before: Option<&Membership>, key: &str, ca: &str| {
            profile.keep_audit("key", "note").unwrap();
            profile.write_directory(b"hosts").unwrap();
            let now = member(&profile, key, ca);
            profile.joined(before, &now).unwrap();
            assert_eq!(profile.read_directory().unwrap(), None);
            let kept = profile.audit_checkpoint().unwrap();
            assert_eq!(kept.is_some(), profile.audit_key().unwrap().is_some());
            kept.is_some()
        };

        assert!(kept_after(Some(&before), key, &ca), "done again");
        assert!(kept_after(Some(&before), newer, &ca), "with other keys");
        assert!(
            !kept_after(Some(&before), newer, &of_another_fleet),
            "in another fleet"
        );
        assert!(!kept_after(None, key, &ca), "for the first time");
    }
}
