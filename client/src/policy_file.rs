//! Policy files on this machine: reading them with their includes, telling their mistakes, and making
//! one text of them.

use std::fs;
use std::path::{Path, PathBuf};

use policy::{Policy, ReadError, Source};
use zeroize::Zeroizing;

use crate::error::{CommandError, Result};

/// A policy file that has no mistakes.
pub(crate) struct PolicyFile {
    /// As it was named.
    pub(crate) name: String,
    pub(crate) policy: Policy,
    text: Zeroizing<String>,
}

/// Includes come from the disk.
struct Disk;

/// As the agent reads them at most.
const FILE_BYTES_MAX: u64 = 64 << 20;

// === impl PolicyFile ===

impl PolicyFile {
    /// Reads and checks a file; `-` is standard input.
    ///
    /// # Errors
    ///
    /// Exit code 1 when it cannot be read, 64 with every mistake in it.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let name = if path.as_os_str() == "-" {
            "standard input".to_owned()
        } else {
            path.display().to_string()
        };
        let text = program::files::read_named(path, FILE_BYTES_MAX)
            .and_then(program::files::text)
            .map(Zeroizing::new)
            .map_err(|cause| CommandError::unreadable(Path::new(&name), cause))?;
        let policy = match policy::parse(&name, &text, &Disk) {
            Ok(policy) => policy,
            Err(mistakes) => read_without_keys(&name, &text)
                .ok_or_else(|| CommandError::invalid(format!("{name} is invalid\n{mistakes}")))?,
        };
        Ok(Self { name, policy, text })
    }

    /// What is to be said of keys that the file does not have.
    pub(crate) fn says_of_keys(&self) -> Option<String> {
        let keys = match policy::keys_left_out(&self.text) {
            0 => return None,
            1 => "1 key is".to_owned(),
            keys => format!("{keys} keys are"),
        };
        Some(format!(
            "{keys} left out of {}: the controller puts them back where a stanza is otherwise as it is in \
             force.",
            self.name
        ))
    }

    /// One text without includes, for the controller, which says where each stanza of several files was
    /// written. With keys, if there are any.
    pub(crate) fn whole_text(&self) -> Zeroizing<String> {
        if self.policy.included.is_empty() {
            self.text.clone()
        } else {
            Zeroizing::new(self.policy.print_with_places())
        }
    }

    /// "3 stanzas"
    pub(crate) fn stanzas(&self) -> String {
        match self.policy.stanzas.len() {
            1 => "1 stanza".to_owned(),
            count => format!("{count} stanzas"),
        }
    }
}

/// A file as it was shown, without its keys: the controller has them. Of several files one text is made
/// here, which needs them.
fn read_without_keys(name: &str, text: &str) -> Option<Policy> {
    if policy::keys_left_out(text) == 0 {
        return None;
    }
    let stand_ins = Zeroizing::new(policy::with_stand_ins(text));
    let policy = policy::parse(name, &stand_ins, &Disk).ok();
    policy.filter(|policy| policy.included.is_empty())
}

// === impl Disk ===

impl Source for Disk {
    fn read(&self, path: &Path) -> Result<Zeroizing<String>, ReadError> {
        let bytes = program::files::read_bytes(path, FILE_BYTES_MAX)?;
        Ok(program::files::text(bytes).map(Zeroizing::new)?)
    }

    fn list_conf(&self, dir: &Path) -> Result<Vec<PathBuf>, ReadError> {
        let mut files = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "conf") {
                files.push(path);
            }
        }
        Ok(files)
    }
}
