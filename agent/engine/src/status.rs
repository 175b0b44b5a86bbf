//! What this host enforces, for acknowledgement and for people.

use spa::Service;

/// What is in force on this host.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Status {
    /// The generation in force; 0 for none.
    pub generation: u64,
    /// SHA-256 of the policy text in force; zeros for none.
    pub digest: [u8; 32],
    /// The newest policy that was rejected, if that is newer than the one in force.
    pub rejected: Option<Rejected>,
    /// How the firewall differs from what it should be; `None` when it does not.
    pub drift: Option<String>,
    /// Why this host grants nothing: the controller has locked it. `None` when it has not.
    pub locked: Option<String>,
    /// What else there is to say of the host.
    pub host: HostStatus,
}

/// How the host is, whatever its policy.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HostStatus {
    /// What is hidden, sorted.
    pub protected: Vec<Service>,
    /// Those of them that the host's own configuration hides, whatever the policy says.
    pub own_protected: Vec<Service>,
    /// Whether commands run here at all.
    pub commands: bool,
    /// What a person should know, one sentence each.
    pub warnings: Vec<String>,
    /// Messages dated at or before this are refused, seconds since the Unix epoch; 0 for none.
    pub floor_secs: u64,
}

/// A policy that this host cannot use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rejected {
    /// Its generation.
    pub generation: u64,
    /// SHA-256 of its text.
    pub digest: [u8; 32],
    /// Why, one reason a line.
    pub reasons: Vec<String>,
}
