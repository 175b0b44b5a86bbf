//! Canonical text: one spelling for each policy.

use crate::policy::Policy;
use crate::stanza::Stanza;

/// Whether keys are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// Keys are written; the text reads back as the same policy.
    Show,
    /// Keys are replaced by their fingerprints; the text does not read back.
    Redact,
}

impl Policy {
    /// Writes the policy in its canonical form.
    #[must_use]
    pub fn print(&self, _secrets: Secrets) -> String {
        String::new()
    }
}

impl Stanza {
    /// Writes one stanza in its canonical form.
    #[must_use]
    pub fn print(&self, _secrets: Secrets) -> String {
        String::new()
    }
}
