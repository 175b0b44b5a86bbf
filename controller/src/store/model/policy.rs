//! Policies and their generations.

use fleet::Event;
use zeroize::Zeroizing;

/// A policy that is to become a generation.
#[derive(Clone, Debug)]
pub(crate) struct NewPolicy {
    /// Sealed by the store: it may hold static keys.
    pub(crate) text: Zeroizing<String>,
    pub(crate) author: String,
    pub(crate) message: String,
    pub(crate) at_ms: u64,
    /// 0 unless it restores an older generation.
    pub(crate) rollback_of: u64,
    pub(crate) stanzas: u32,
    /// What is recorded of it; the store fills in its generation.
    pub(crate) event: Event,
}

/// What is known of one generation, without its text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Generation {
    pub(crate) generation: u64,
    pub(crate) author: String,
    pub(crate) message: String,
    pub(crate) at_ms: u64,
    pub(crate) rollback_of: u64,
    pub(crate) stanzas: u32,
}

/// What applying a policy came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ApplyOutcome {
    Applied {
        generation: u64,
    },
    /// It is based on another generation than the current one.
    Stale {
        current: u64,
    },
}
