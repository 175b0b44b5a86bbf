//! Without a controller: the policy is an access.conf on this host.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gate::{CompileError, CompiledPolicy, Now, SharedKeys};
use parking_lot::Mutex;
use policy::{Dialect, InvalidPolicy, Policy, Secrets};
use sha2::{Digest as _, Sha256};

use super::files::{self, Files};
use super::{AdoptedPolicy, Origin, PolicyVersion};

/// Warnings of a file that are logged one by one; a file of thousands of stanzas may have thousands.
const WARNINGS_SHOWN: usize = 20;

/// The access file, and which version of it was read last.
#[derive(Debug)]
pub struct AccessFile {
    path: PathBuf,
    /// Generation and digest.
    last: Mutex<(u64, [u8; 32])>,
}

/// An access file that cannot be used; nothing of it is.
#[derive(Debug, thiserror::Error)]
pub enum InvalidAccessFile {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// It has mistakes: all of them.
    #[error("the access file is invalid; nothing of it is used\n{0}")]
    Policy(InvalidPolicy),
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
    /// Reads the file for the first time, before anything on the host is touched.
    ///
    /// # Errors
    ///
    /// [`InvalidAccessFile`] with every mistake.
    pub fn open(path: PathBuf) -> Result<(Self, Arc<Policy>), InvalidAccessFile> {
        let policy = read(&path)?;
        let last = Mutex::new((0, [0; 32]));
        Ok((Self { path, last }, policy))
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
        *self.last.lock() = before.unwrap_or_default();
        self.number(policy, now)
    }

    /// Reads the file. Its generation grows exactly when it says something else than before.
    ///
    /// # Errors
    ///
    /// [`InvalidAccessFile`] with every mistake.
    pub fn read(&self, now: Now) -> Result<AdoptedPolicy, InvalidAccessFile> {
        self.number(read(&self.path)?, now)
    }

    fn number(&self, policy: Arc<Policy>, now: Now) -> Result<AdoptedPolicy, InvalidAccessFile> {
        for warning in policy.warnings.iter().take(WARNINGS_SHOWN) {
            tracing::warn!("{warning}");
        }
        if let Some(more @ 1..) = policy.warnings.len().checked_sub(WARNINGS_SHOWN) {
            tracing::warn!(more, "and further warnings of the access file");
        }
        let digest: [u8; 32] = Sha256::digest(policy.print(Secrets::Show)).into();
        let mut last = self.last.lock();
        let generation = last.0 + u64::from(last.1 != digest || last.0 == 0);
        let compiled = compile(&self.path, &policy, generation, now)?;
        *last = (generation, digest);
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
        self.last.lock().0 + 1
    }
}

// === impl InvalidAccessFile ===

impl InvalidAccessFile {
    /// Returns what is wrong, one reason a line: for the audit.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let text = match self {
            Self::Policy(invalid) => invalid.to_string(),
            Self::Unreadable { .. } | Self::CompiledPolicy { .. } => {
                program::one_line(self).to_string()
            }
        };
        text.lines().map(str::to_owned).collect()
    }
}

/// Reads and compiles an access file as `run --access-file` does, as generation 0: for explaining.
///
/// # Errors
///
/// [`InvalidAccessFile`] with every mistake.
pub fn load(path: &Path, now: Now) -> Result<Arc<CompiledPolicy>, InvalidAccessFile> {
    compile(path, &read(path)?, 0, now)
}

fn read(path: &Path) -> Result<Arc<Policy>, InvalidAccessFile> {
    let unreadable = |cause| InvalidAccessFile::Unreadable {
        path: path.to_owned(),
        cause,
    };
    let text = files::read_text(path).map_err(unreadable)?;
    let name = path.to_string_lossy();
    policy::parse_as(Dialect::Alone, &name, &text, &Files)
        .map(Arc::new)
        .map_err(InvalidAccessFile::Policy)
}

fn compile(
    path: &Path,
    policy: &Arc<Policy>,
    generation: u64,
    now: Now,
) -> Result<Arc<CompiledPolicy>, InvalidAccessFile> {
    CompiledPolicy::new(policy, None, generation, SharedKeys::None, now)
        .map(Arc::new)
        .map_err(|cause| InvalidAccessFile::CompiledPolicy {
            path: path.to_owned(),
            cause,
        })
}
