//! What the agent says about itself when it is asked.

use serde::{Deserialize, Serialize};

/// The local socket in the state directory, on which a running agent gives a [`Report`] as JSON to
/// whoever connects.
pub const SOCKET_NAME: &str = "status.sock";

/// How the agent is, at one moment.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Report {
    /// The agent's version.
    pub version: String,
    /// The policy generation in force; 0 for none.
    pub generation: u64,
    /// For how many seconds it has been in force, as far as this run of the agent knows.
    pub policy_age_secs: u64,
    /// The newest policy that was rejected, if that is newer than the one in force.
    pub rejected_generation: Option<u64>,
    /// How the firewall differs from what it should be.
    pub drift: Option<String>,
    /// Why the controller has locked this host.
    pub locked: Option<String>,
    /// Grants open now.
    pub grants_open: u64,
    /// The last event committed.
    pub journal_seq: u64,
    /// Whether the journal takes records.
    pub journal_writable: bool,
    /// Why not.
    #[serde(default)]
    pub journal_fault: Option<String>,
    /// Where packets come from.
    pub captures: Vec<CaptureReport>,
    /// Everything that is counted, by name.
    pub counters: Vec<(String, u64)>,
}

/// How a capture is.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CaptureReport {
    /// The interface, file or address.
    pub name: String,
    /// Packets lost since the start because the agent was too slow.
    pub dropped: u64,
    /// Why nothing comes from there now; it is tried again.
    #[serde(default)]
    pub down: Option<String>,
}
