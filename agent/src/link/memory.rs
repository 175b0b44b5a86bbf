//! What this host remembers of its fleet, whatever the controller says now: the pass that it presents
//! at its next session, and the highest numbers that it has seen.
//!
//! A small file in the state directory, because it must be durable before anything else of a session
//! is followed and the gate must not wait for that. It goes where the journal goes: whoever copies or
//! restores the directory copies or restores it too, which is how that is noticed.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::kept_log::KeptLog;
use crate::journal::FLEET_MEMORY_NAME;

/// It never comes near this.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// See the module.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub(super) struct Memory {
    /// Sealed by the controller; empty before the first session.
    pub(super) session_pass: Vec<u8>,
    pub(super) highest_generation: u64,
    pub(super) highest_claim_epoch: u64,
    /// The date of the newest message won here, seconds since the Unix epoch; 0 for none.
    pub(super) newest_claimed_secs: u64,
    /// What the controller calls this host; empty until it has said.
    pub(super) called: String,
    pub(super) log: KeptLog,
}

/// The memory and its file.
#[derive(Debug, Default)]
pub(super) struct MemoryFile {
    path: PathBuf,
    memory: Memory,
}

/// Gives bytes to the reader of the memory, and lets a controller say what they say of the log, whoever
/// wrote them ([`crate::hostile`]).
pub(crate) fn read_hostile(bytes: &[u8]) {
    let Ok(memory) = serde_json::from_slice::<Memory>(bytes) else {
        return;
    };
    let mut log = memory.log;
    let _ = log.size();
    let (note, key) = (log.checkpoint.clone(), log.key.clone());
    let conflict = log.conflict.clone().unwrap_or_default();
    let successions = [note.clone(), conflict.kept.clone()];
    for (checkpoint, restated) in [(&conflict.shown, &note), (&note, &conflict.kept)] {
        let said = super::kept_log::Said {
            checkpoint,
            key: &key,
            restated,
            successions: &successions,
            was_presented: true,
        };
        let _ = log.follow(said, conflict.found_at_ms);
    }
}

/// What the host whose state this is was called by its controller last, where that is not the name by
/// which it joined.
pub fn called_now(state_dir: &Path, joined_as: &str) -> Option<String> {
    let called = MemoryFile::load(state_dir).memory.called;
    (!called.is_empty() && called != joined_as).then_some(called)
}

/// What the host whose state this is keeps of its fleet's log.
pub fn kept_log(state_dir: &Path) -> KeptLog {
    MemoryFile::load(state_dir).memory.log
}

// === impl MemoryFile ===

impl MemoryFile {
    /// Reads the memory in the state directory. One that is missing or cannot be read is empty: the
    /// controller notices that, since it has given a pass.
    pub(super) fn load(dir: &Path) -> Self {
        let path = dir.join(FLEET_MEMORY_NAME);
        let memory = match program::files::read_bytes(&path, FILE_BYTES_MAX) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::error!(path = %path.display(), %error, "what was known of the fleet is lost");
                Memory::default()
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Memory::default(),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "what is known of the fleet cannot be read");
                Memory::default()
            }
        };
        Self { path, memory }
    }

    /// What is durable.
    pub(super) fn get(&self) -> &Memory {
        &self.memory
    }

    /// Changes the memory, durably: numbers only rise.
    ///
    /// # Errors
    ///
    /// What the operating system says; then it is as it was.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Memory)) -> io::Result<()> {
        let mut memory = self.memory.clone();
        change(&mut memory);
        memory.highest_generation = memory
            .highest_generation
            .max(self.memory.highest_generation);
        memory.highest_claim_epoch = memory
            .highest_claim_epoch
            .max(self.memory.highest_claim_epoch);
        memory.newest_claimed_secs = memory
            .newest_claimed_secs
            .max(self.memory.newest_claimed_secs);
        if memory == self.memory {
            return Ok(());
        }
        let bytes = serde_json::to_vec(&memory)?;
        program::files::replace(&self.path, 0o600, &bytes)?;
        self.memory = memory;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_heard_outlives_a_restart_and_numbers_only_rise() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = MemoryFile::load(dir.path());
        assert_eq!(file.get(), &Memory::default());

        for (pass, generation) in [(1, 7), (2, 5)] {
            file.change(|memory| {
                memory.session_pass = vec![pass];
                memory.highest_generation = generation;
            })
            .unwrap();
        }

        let again = MemoryFile::load(dir.path());
        assert_eq!(again.get().session_pass, [2]);
        assert_eq!(again.get().highest_generation, 7);
    }

    #[test]
    fn a_pass_that_could_not_be_stored_is_not_presented() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = MemoryFile::load(&dir.path().join("gone"));

        let stored = file.change(|memory| memory.session_pass = vec![1]);

        assert!(stored.is_err());
        assert!(file.get().session_pass.is_empty());
    }
}
