//! What this host enforces, for acknowledgement and for people.

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
