//! What hosts say of themselves.

/// A host's own word, and when it was last heard.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct HostState {
    pub(crate) applied_generation: u64,
    pub(crate) applied_digest: Vec<u8>,
    /// Why the last policy was not applied; empty when it was.
    pub(crate) rejected: Vec<String>,
    /// How the firewall differs from what it should be; empty when it does not.
    pub(crate) drift: String,
    /// Why its events do not reach the log; empty when they do.
    pub(crate) audit_fault: String,
    pub(crate) agent_version: String,
    pub(crate) last_seen_ms: u64,
}

/// What a host says of the policy it was sent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Acknowledgement {
    pub(crate) generation: u64,
    /// SHA-256 of the text it enforces; empty when it enforces none.
    pub(crate) digest: Vec<u8>,
    /// Why the policy was not applied, each in one line; empty when it was.
    pub(crate) rejected: Vec<String>,
    /// How the firewall differs from what it should be; empty when it does not.
    pub(crate) drift: String,
    /// Why its events do not reach the log; empty when they do.
    pub(crate) audit_fault: String,
}
