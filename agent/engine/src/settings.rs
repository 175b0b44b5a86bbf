//! What the host's configuration says to the engine.

use crate::capabilities::Capabilities;

/// Settings of an engine, fixed for its life.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Those of the gate inside.
    pub gate: gate::Settings,
    /// What may be open, run and wait at once.
    pub limits: Limits,
    /// What the host's packet filter can hold; other grants are refused before they are recorded.
    pub capabilities: Capabilities,
    /// The first half of every grant's name: random bytes, other ones for every run, so that no two
    /// grants of a fleet have the same name.
    pub grant_prefix: [u8; 8],
    /// The number of the first claim: greater than every number of earlier runs.
    pub first_claim: u64,
    /// Why this host was locked when it last ran; `None` when it was not.
    pub locked: Option<String>,
}

/// Bounds that the configuration sets. All count what a batch holds along with what is open or runs
/// already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Grants open at once.
    pub grants_max: usize,
    /// Commands that run at once.
    pub commands_running_max: usize,
    /// Commands that wait for one of those to end.
    pub commands_waiting_max: usize,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            grants_max: 16_384,
            commands_running_max: 4,
            commands_waiting_max: 64,
        }
    }
}
