//! Without a controller: the policy is an access.conf on this host.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gate::{CompileError, CompiledPolicy, Now, SharedKeys};
use parking_lot::Mutex;
use policy::{Dialect, InvalidPolicy, Policy, PortSet, Secrets};
use program::files::ReadError;
use sha2::{Digest as _, Sha256};
use spa::Service;

use super::files::{self, Seen};
use super::{AdoptedPolicy, Origin, PolicyVersion};
use crate::accounts;
use crate::gpg::GnupgHomes;

/// Warnings of a file that are logged one by one; a file of thousands of stanzas may have thousands.
const WARNINGS_SHOWN: usize = 20;

/// The access file, and which version of it was read last.
#[derive(Debug)]
pub struct AccessFile {
    path: PathBuf,
    gnupg: GnupgHomes,
    /// Whether commands run here, so that their users and groups must exist.
    runs_commands: bool,
    /// What was read last.
    last: Mutex<Last>,
    /// What the last attempt to read it saw on the disk; `None` when that led to nothing.
    seen: Mutex<Option<Seen>>,
    /// Why what was read last is not used; nothing once it is.
    told: Mutex<Vec<String>>,
}

/// What the file said.
#[derive(Debug, Default)]
struct Last {
    generation: u64,
    digest: [u8; 32],
    /// Whether there was a stanza.
    any_stanza: bool,
    /// What it hid.
    protected: PortSet,
}

/// What reading the file once more has come to.
#[derive(Debug)]
pub enum Reread {
    /// The file and all that it includes are as they were, byte for byte: there is nothing to do.
    Unchanged,
    /// To be enforced, also where it says the same in other words.
    Policy(Box<AdoptedPolicy>),
}

/// An access file that cannot be used; nothing of it is.
#[derive(Debug, thiserror::Error)]
pub enum InvalidAccessFile {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// It has mistakes: all of them.
    #[error("the access file is invalid; nothing of it is used\n{0}")]
    Policy(InvalidPolicy),
    /// It is empty, or cut off before its first stanza, and was not.
    #[error(
        "there is no stanza in {} any more, as if it were cut off; to let nobody in and hide nothing, \
         stop the agent",
        path.display()
    )]
    NoStanza {
        /// The file.
        path: PathBuf,
    },
    /// It needs what this host does not have.
    #[error("{} cannot be used on this host", path.display())]
    CompiledPolicy {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: CompileError,
    },
}

// === impl AccessFile ===

impl AccessFile {
    /// Where it lies, wherever whoever asks is.
    pub fn path(&self) -> PathBuf {
        std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone())
    }

    /// Reads the file for the first time, before anything on the host is touched.
    ///
    /// # Errors
    ///
    /// [`InvalidAccessFile`] with every mistake.
    pub fn open(
        path: PathBuf,
        gnupg: GnupgHomes,
    ) -> Result<(Self, Arc<Policy>), InvalidAccessFile> {
        let seen = Seen::new(&gnupg.of_host);
        let policy = read(&path, &seen)?;
        warn_of_exposed(&seen);
        let file = Self {
            path,
            gnupg,
            runs_commands: false,
            last: Mutex::new(Last::default()),
            seen: Mutex::new(Some(seen)),
            told: Mutex::default(),
        };
        Ok((file, policy))
    }

    /// Whether it is there and may be believed, without reading it.
    ///
    /// # Errors
    ///
    /// [`InvalidAccessFile::Unreadable`] when it is not there, or others may write it.
    pub fn look(path: &Path) -> Result<(), InvalidAccessFile> {
        if path.is_dir() {
            return Ok(());
        }
        let looked = program::trusted::check(path).map_err(|cause| ReadError::of(path, cause));
        Ok(looked?)
    }

    /// Commands run on this host: from now on a file is refused that names users or groups for them
    /// which the host does not have, and so is this one.
    ///
    /// # Errors
    ///
    /// [`InvalidAccessFile`] with a mistake for each line.
    pub fn run_commands(&mut self, policy: &Policy) -> Result<(), InvalidAccessFile> {
        self.runs_commands = true;
        self.check_accounts(policy)
    }

    fn check_accounts(&self, policy: &Policy) -> Result<(), InvalidAccessFile> {
        if !self.runs_commands {
            return Ok(());
        }
        policy
            .require_accounts(accounts::exists)
            .map_err(InvalidAccessFile::Policy)
    }

    /// The policy to begin with; `before` is what an earlier run enforced.
    ///
    /// # Errors
    ///
    /// [`InvalidAccessFile`] when the policy needs what this host does not have.
    pub fn first(
        &self,
        policy: Arc<Policy>,
        before: Option<(u64, [u8; 32])>,
        now: Now,
    ) -> Result<AdoptedPolicy, InvalidAccessFile> {
        if let Some((generation, digest)) = before {
            *self.last.lock() = Last {
                generation,
                digest,
                // It can have been empty before only if it is as it was.
                any_stanza: digest != digest_of(&policy),
                ..Last::default()
            };
        }
        self.number(policy, now)
    }

    /// Reads the file again. Its generation grows exactly when it says something else than before.
    /// What is on the disk as it was when it was last put in force is neither parsed nor compiled. What
    /// failed is read again each time: whoever asks is told what is wrong, however often.
    ///
    /// # Errors
    ///
    /// [`InvalidAccessFile`] with every mistake.
    pub fn read(&self, now: Now) -> Result<Reread, InvalidAccessFile> {
        let mut last_seen = self.seen.lock();
        if last_seen.as_ref().is_some_and(Seen::is_unchanged) {
            return Ok(Reread::Unchanged);
        }
        *last_seen = None;
        let seen = Seen::new(&self.gnupg.of_host);
        let policy = read(&self.path, &seen);
        warn_of_exposed(&seen);
        let policy = policy?;
        self.check_accounts(&policy)?;
        let policy = self.number(policy, now)?;
        *last_seen = Some(seen);
        self.told.lock().clear();
        Ok(Reread::Policy(Box::new(policy)))
    }

    /// Whether these reasons for which it is not used are others than those of the last time: what stays
    /// as it is, is recorded once, however often it is read.
    pub fn is_news(&self, reasons: &[String]) -> bool {
        let mut told = self.told.lock();
        let is_news = *told != reasons;
        reasons.clone_into(&mut told);
        is_news
    }

    /// Nobody has heard of what was read last: it is to be read again.
    pub fn forget_read(&self) {
        *self.seen.lock() = None;
        self.told.lock().clear();
    }

    fn number(&self, policy: Arc<Policy>, now: Now) -> Result<AdoptedPolicy, InvalidAccessFile> {
        warn(&policy);
        let digest = digest_of(&policy);
        let mut last = self.last.lock();
        if policy.stanzas.is_empty() && last.any_stanza {
            return Err(InvalidAccessFile::NoStanza {
                path: self.path.clone(),
            });
        }
        let is_new = last.digest != digest || last.generation == 0;
        let generation = last.generation + u64::from(is_new);
        let compiled = compile(&self.path, &policy, &self.gnupg, generation, now)?;
        let protected = policy.protected_ports();
        let public = public(&last.protected, &protected);
        if !public.is_empty() {
            tracing::warn!(
                ports = public.join(", "),
                "the access file hides these ports no more: they become public, but for those that \
                 the configuration hides"
            );
        }
        *last = Last {
            generation,
            digest,
            any_stanza: !policy.stanzas.is_empty(),
            protected,
        };
        Ok(AdoptedPolicy {
            version: PolicyVersion {
                generation,
                digest,
                ..PolicyVersion::default()
            },
            origin: Origin::AccessFile,
            compiled,
        })
    }

    /// The generation that a file that cannot be used would have had.
    pub fn next_generation(&self) -> u64 {
        self.last.lock().generation + 1
    }
}

/// The files, folders and keyrings that an access file names, itself among them, as far as it can be
/// read. `gpg_home` is the keyring of stanzas that name none.
#[must_use]
pub fn places(path: &Path, gpg_home: &Path) -> Vec<PathBuf> {
    let seen = Seen::new(gpg_home);
    if program::files::open_regular(path).is_ok() {
        // Whoever uses it says what is wrong with it.
        let _ = read(path, &seen);
    }
    seen.places()
}

// === impl InvalidAccessFile ===

impl InvalidAccessFile {
    /// Returns what is wrong, one reason a line: for the audit.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let text = match self {
            Self::Policy(invalid) => invalid.to_string(),
            Self::Unreadable(_) | Self::NoStanza { .. } | Self::CompiledPolicy { .. } => {
                program::one_line(self).to_string()
            }
        };
        text.lines().map(str::to_owned).collect()
    }
}

/// The access file, and what it includes, that others than the owner may read or write, one sentence
/// each. What everybody may write is refused when it is read.
pub fn exposed(path: &Path) -> Vec<String> {
    let seen = Seen::new(&GnupgHomes::default().of_host);
    let _ = read(path, &seen);
    seen.exposed()
}

/// Says in the log what in an access file is doubtful, with file and line.
pub fn warn(policy: &Policy) {
    for warning in policy.warnings.iter().take(WARNINGS_SHOWN) {
        tracing::warn!("{warning}");
    }
    if let Some(more @ 1..) = policy.warnings.len().checked_sub(WARNINGS_SHOWN) {
        tracing::warn!(more, "and further warnings of the access file");
    }
}

fn warn_of_exposed(seen: &Seen) {
    for exposed in seen.exposed().iter().take(WARNINGS_SHOWN) {
        tracing::warn!("{exposed}");
    }
}

/// Names what an access file says, in whatever words: the journal has it of the one in force.
pub fn digest_of(policy: &Policy) -> [u8; 32] {
    Sha256::digest(policy.print(Secrets::Show)).into()
}

/// What is hidden before and not after, in words.
fn public(before: &PortSet, after: &PortSet) -> Vec<String> {
    let public = before.without(after);
    public.iter().map(|port| port.to_string()).collect()
}

/// The ports that PROTECT lines of an access file name, as far as they can be read line by line,
/// whatever else is wrong with it: also those of stanzas, and not those of included files.
pub(crate) fn protect_lines(path: &Path) -> Vec<Service> {
    // Half of it may have been read.
    let mut bytes = Vec::new();
    let _ = program::files::open_regular(path)
        .and_then(|file| file.take(files::FILE_BYTES_MAX).read_to_end(&mut bytes));
    let text = program::files::legacy_text(&bytes).unwrap_or_default();
    let values = text.lines().filter_map(|line| {
        let (keyword, value) = line.trim().split_once(char::is_whitespace)?;
        let is_protect = keyword
            .trim_end_matches(':')
            .eq_ignore_ascii_case("PROTECT");
        let value = value.split(['#', ';']).next().unwrap_or(value);
        is_protect.then_some(value)
    });
    let words = values.flat_map(|value| value.split([',', ' ', '\t']));
    words
        .filter_map(|word| word.trim().to_ascii_lowercase().parse().ok())
        .collect()
}

/// Reads and compiles an access file as `run --access-file` does, as generation 0: for explaining.
///
/// # Errors
///
/// [`InvalidAccessFile`] with every mistake.
pub fn load(
    path: &Path,
    gnupg: &GnupgHomes,
    now: Now,
) -> Result<Arc<CompiledPolicy>, InvalidAccessFile> {
    let policy = read(path, &Seen::new(&gnupg.of_host))?;
    compile(path, &policy, gnupg, 0, now)
}

/// The same, and what a start looks at besides: whether this host has the users and groups of commands,
/// where they run.
///
/// # Errors
///
/// [`InvalidAccessFile`] with every mistake.
pub fn load_to_run(
    path: &Path,
    gnupg: &GnupgHomes,
    runs_commands: bool,
    now: Now,
) -> Result<Arc<CompiledPolicy>, InvalidAccessFile> {
    let policy = read(path, &Seen::new(&gnupg.of_host))?;
    if runs_commands {
        let accounts = policy.require_accounts(accounts::exists);
        accounts.map_err(InvalidAccessFile::Policy)?;
    }
    compile(path, &policy, gnupg, 0, now)
}

/// The same as [`load`], of a text that would stand at `path`.
///
/// # Errors
///
/// [`InvalidAccessFile`] with every mistake.
pub fn load_text(
    path: &Path,
    text: &str,
    gnupg: &GnupgHomes,
    now: Now,
) -> Result<Arc<CompiledPolicy>, InvalidAccessFile> {
    let policy = parse(path, text, &Seen::new(&gnupg.of_host))?;
    compile(path, &policy, gnupg, 0, now)
}

/// A folder in the place of a file is every `*.conf` in it, by name, as fwknopd has ACCESS_FOLDER.
fn read(path: &Path, seen: &Seen) -> Result<Arc<Policy>, InvalidAccessFile> {
    let text = if path.is_dir() {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(format!("%include_folder {}\n", path.display()).into())
    } else {
        seen.file(path, files::read_text(path))
    };
    let text = text.map_err(|cause| ReadError::of(path, cause))?;
    parse(path, &text, seen)
}

fn parse(path: &Path, text: &str, seen: &Seen) -> Result<Arc<Policy>, InvalidAccessFile> {
    let name = path.to_string_lossy();
    let policy =
        policy::parse_as(Dialect::Alone, &name, text, seen).map_err(InvalidAccessFile::Policy)?;
    let rules = policy
        .stanzas
        .iter()
        .filter_map(|stanza| stanza.open_pgp.as_deref());
    let homes: BTreeSet<&str> = rules.map(|rule| &*rule.home).collect();
    homes
        .into_iter()
        .for_each(|home| seen.keyring(Path::new(home)));
    Ok(Arc::new(policy))
}

fn compile(
    path: &Path,
    policy: &Arc<Policy>,
    gnupg: &GnupgHomes,
    generation: u64,
    now: Now,
) -> Result<Arc<CompiledPolicy>, InvalidAccessFile> {
    let shared = SharedKeys::None;
    CompiledPolicy::with_keyrings(policy, None, gnupg, generation, shared, now)
        .map(Arc::new)
        .map_err(|cause| InvalidAccessFile::CompiledPolicy {
            path: path.to_owned(),
            cause,
        })
}

#[cfg(test)]
mod tests;
