//! The policy that a host enforces, whatever place it comes from.

use std::fmt;
use std::sync::Arc;

use gate::{CompileError, CompiledPolicy, Now, SharedKeys};
use policy::Policy;
use zeroize::Zeroizing;

/// Names a policy, and says what holds with its text and may change while the text stays.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PolicyVersion {
    pub generation: u64,
    /// SHA-256 of the text.
    pub digest: [u8; 32],
    /// Seconds since the Unix epoch after which new grants are denied; 0 means never.
    pub not_after_secs: u64,
    /// Packets dated before this are refused for claimed stanzas; 0 for none.
    pub replay_floor_secs: u64,
}

/// A host's policy as the controller compiled it: what is sent, and what is saved.
#[derive(Clone, Eq, PartialEq)]
pub struct PolicyText {
    pub version: PolicyVersion,
    /// Canonical access.conf text, which may have keys in it.
    pub text: Zeroizing<String>,
}

/// A policy, parsed and compiled, ready to be swapped in whole.
#[derive(Debug)]
pub struct AdoptedPolicy {
    pub version: PolicyVersion,
    pub origin: Origin,
    pub compiled: Arc<CompiledPolicy>,
}

/// Where the text of a policy lives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// Nowhere: a host that has none yet.
    Nowhere,
    /// In an access file on this host.
    AccessFile,
    /// Here: the controller sent it, and the journal is to keep it.
    Controller(PolicyText),
}

// === impl PolicyText ===

impl fmt::Debug for PolicyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, text } = self;
        write!(f, "PolicyText({version:?}, {} bytes)", text.len())
    }
}

// === impl AdoptedPolicy ===

impl AdoptedPolicy {
    /// The policy of a host that has none yet: it permits nothing.
    ///
    /// # Errors
    ///
    /// Never, but the type of [`CompiledPolicy::new`] does not know that.
    pub fn nothing(now: Now) -> Result<Self, CompileError> {
        let policy = Arc::new(Policy::default());
        let compiled = CompiledPolicy::new(&policy, None, 0, SharedKeys::None, now)?;
        Ok(Self {
            version: PolicyVersion::default(),
            origin: Origin::Nowhere,
            compiled: Arc::new(compiled),
        })
    }

    /// Its stanzas.
    pub fn policy(&self) -> &Arc<Policy> {
        self.compiled.policy()
    }
}
