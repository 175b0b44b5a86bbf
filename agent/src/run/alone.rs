//! Without a controller: the policy is an access.conf on this host.

use std::path::PathBuf;
use std::sync::Arc;

use gate::{CompiledPolicy, SharedKeys};
use parking_lot::Mutex;
use policy::{Policy, Secrets};
use sha2::{Digest as _, Sha256};

use crate::clock;
use crate::explain::{InvalidAccessFile, load};
use crate::policies::NewPolicy;

/// Warnings of a file that are logged one by one; a file of thousands of stanzas may have thousands.
const WARNINGS_SHOWN: usize = 20;

/// The access file, and which version of it was read last.
#[derive(Debug)]
pub(super) struct AccessFile {
    path: PathBuf,
    /// Generation and digest.
    last: Mutex<(u64, [u8; 32])>,
}

// === impl AccessFile ===

impl AccessFile {
    /// Reads the file for the first time, before anything on the host is touched.
    ///
    /// # Errors
    ///
    /// [`InvalidAccessFile`] with every mistake.
    pub(super) fn open(path: PathBuf) -> Result<(Self, Arc<Policy>), InvalidAccessFile> {
        let policy = load(&path)?;
        let last = Mutex::new((0, [0; 32]));
        Ok((Self { path, last }, policy))
    }

    /// The policy to begin with; `before` is what an earlier run enforced.
    ///
    /// # Errors
    ///
    /// [`InvalidAccessFile`] when the policy needs what this host does not have.
    pub(super) fn first(
        &self,
        policy: Arc<Policy>,
        before: Option<(u64, [u8; 32])>,
    ) -> Result<NewPolicy, InvalidAccessFile> {
        *self.last.lock() = before.unwrap_or_default();
        self.number(policy)
    }

    /// Reads the file. Its generation grows exactly when it says something else than before.
    ///
    /// # Errors
    ///
    /// [`InvalidAccessFile`] with every mistake.
    pub(super) fn read(&self) -> Result<NewPolicy, InvalidAccessFile> {
        self.number(load(&self.path)?)
    }

    fn number(&self, policy: Arc<Policy>) -> Result<NewPolicy, InvalidAccessFile> {
        for warning in policy.warnings.iter().take(WARNINGS_SHOWN) {
            tracing::warn!("{warning}");
        }
        if let Some(more @ 1..) = policy.warnings.len().checked_sub(WARNINGS_SHOWN) {
            tracing::warn!(more, "and further warnings of the access file");
        }
        let digest: [u8; 32] = Sha256::digest(policy.print(Secrets::Show)).into();
        let mut last = self.last.lock();
        let generation = last.0 + u64::from(last.1 != digest || last.0 == 0);
        let compiled =
            CompiledPolicy::new(&policy, None, generation, SharedKeys::None, clock::now())
                .map_err(|cause| InvalidAccessFile::CompiledPolicy {
                    path: self.path.clone(),
                    cause,
                })?;
        *last = (generation, digest);
        Ok(NewPolicy {
            generation,
            digest,
            text: None,
            not_after_secs: 0,
            replay_floor_secs: 0,
            policy,
            compiled: Arc::new(compiled),
        })
    }

    /// The generation that a file that cannot be used would have had.
    pub(super) fn next_generation(&self) -> u64 {
        self.last.lock().0 + 1
    }
}
