//! From policy text to something the gate can enforce. Done off the gate thread: parsing ten
//! thousand stanzas takes longer than a user should wait.

use std::sync::Arc;

use gate::{CompileError, CompiledPolicy, SharedKeys};

use crate::clock;

/// A policy, parsed and compiled, ready to be swapped in whole.
#[derive(Debug)]
pub struct NewPolicy {
    pub generation: u64,
    /// SHA-256 of the text.
    pub digest: [u8; 32],
    /// Canonical text, to be saved in the journal; `None` when it lives elsewhere (alone mode: the
    /// access file).
    pub text: Option<String>,
    /// Seconds since the Unix epoch after which new grants are denied; 0 means never.
    pub not_after_secs: u64,
    /// Packets dated before this are refused for claimed stanzas; 0 for none.
    pub replay_floor_secs: u64,
    pub policy: Arc<policy::Policy>,
    pub compiled: Arc<CompiledPolicy>,
}

// === impl NewPolicy ===

impl NewPolicy {
    /// The policy of a host that has none yet: it permits nothing.
    ///
    /// # Errors
    ///
    /// Never, but the type of [`CompiledPolicy::new`] does not know that.
    pub fn nothing() -> Result<Self, CompileError> {
        let policy = Arc::new(policy::Policy::default());
        let compiled = CompiledPolicy::new(&policy, None, 0, SharedKeys::None, clock::now())?;
        Ok(Self {
            generation: 0,
            digest: [0; 32],
            text: None,
            not_after_secs: 0,
            replay_floor_secs: 0,
            compiled: Arc::new(compiled),
            policy,
        })
    }
}
