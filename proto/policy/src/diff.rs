//! What changes between two policies, stanza by stanza.

use std::fmt;

use crate::policy::Policy;

/// The difference between two policies. Keys appear as fingerprints only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyDiff {
    /// What differs before the first stanza: groups, PROTECT.
    pub head: Vec<LineDiff>,
    /// The stanzas that differ, in the order of the new policy; removed ones at the end.
    pub stanzas: Vec<StanzaDiff>,
    /// Whether the stanzas that are in both stand in another order.
    pub reordered: bool,
}

/// One stanza that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StanzaDiff {
    /// Its NAME, or `#` and its number when it has none.
    pub stanza: String,
    /// What happened to it.
    pub change: Change,
    /// Its lines that differ, in canonical form.
    pub lines: Vec<LineDiff>,
}

/// What happened to a stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is only in the new policy.
    Added,
    /// It is only in the old policy.
    Removed,
    /// It is in both and differs.
    Changed,
}

/// One line that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineDiff {
    /// It is only in the new text.
    Added(String),
    /// It is only in the old text.
    Removed(String),
}

/// Compares two policies.
#[must_use]
pub fn diff(_old: &Policy, _new: &Policy) -> PolicyDiff {
    PolicyDiff::default()
}

// === impl PolicyDiff ===

impl PolicyDiff {
    /// Whether the two say the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.stanzas.is_empty() && !self.reordered
    }
}

impl fmt::Display for PolicyDiff {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}
