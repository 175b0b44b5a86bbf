//! What keeps lines of ours in one ruleset of the owner's: the chains of iptables, or of nf_tables.

use std::fmt;

use super::FirewallError;
use super::changes::Change;

/// Where lines of ours stand, or will: one ruleset of the owner's.
pub(crate) trait HookPlace: Send + fmt::Debug {
    /// For people: `iptables IPv4`.
    fn name(&self) -> &'static str;

    /// Whether a change that was told of may make a difference to a line here.
    fn concerns(&self, change: &Change<'_>) -> bool;

    /// Whether changes here are told to nobody, so that it must be asked.
    fn is_silent(&self) -> bool;

    /// What is to be changed now; `None` when all is as it should be. Changes nothing.
    ///
    /// # Errors
    ///
    /// When the host cannot be asked.
    fn look(&mut self) -> Result<Option<Correction>, FirewallError>;

    /// Makes it so.
    ///
    /// # Errors
    ///
    /// When the host refuses, for instance because somebody has changed something since the look.
    fn correct(&mut self, correction: &Correction) -> Result<(), FirewallError>;

    /// The chains in which a line stands, as they were at the last look, for people.
    fn laid(&self) -> Vec<String>;

    /// Takes every line of ours away. What is not there is no error.
    ///
    /// # Errors
    ///
    /// When the host refuses.
    fn remove(&mut self) -> Result<(), FirewallError>;
}

/// What a look found to be changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Correction {
    /// What is to be done, in the words of the place.
    pub(crate) script: String,
    /// The chains that get a line, for people.
    pub(crate) chains: Vec<String>,
}
