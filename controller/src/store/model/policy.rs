//! Policies and their generations.

use fleet::Event;
use zeroize::Zeroizing;

/// A policy that is to become a generation.
#[derive(Clone, Debug)]
pub(crate) struct NewPolicy {
    /// Sealed by the store: it may hold static keys.
    pub(crate) text: Zeroizing<String>,
    /// What its author called the file.
    pub(crate) file: String,
    pub(crate) author: String,
    pub(crate) message: String,
    pub(crate) at_ms: u64,
    /// 0 unless it restores an older generation.
    pub(crate) rollback_of: u64,
    pub(crate) stanzas: u32,
    /// What is recorded of it; the store fills in its generation.
    pub(crate) event: Event,
}

/// Whether an operator knows that the database was restored from an older copy, and says what is to
/// be in force now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AfterRestore {
    No,
    Yes,
}

/// What is known of one generation, without its text.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Generation {
    pub(crate) generation: u64,
    pub(crate) author: String,
    pub(crate) message: String,
    pub(crate) at_ms: u64,
    pub(crate) rollback_of: u64,
    pub(crate) stanzas: u32,
    /// What its author called the file; empty where that was not kept.
    pub(crate) file: String,
}

/// What applying a policy came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ApplyOutcome {
    Applied {
        generation: u64,
    },
    /// It is based on another generation than the current one.
    Stale {
        current: u64,
    },
    /// The database was restored from an older copy, and the policy does not say that it follows
    /// that.
    SetBack {
        /// How it was found out.
        reason: String,
    },
}
