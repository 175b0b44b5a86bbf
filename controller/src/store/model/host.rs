//! What hosts say of themselves.

use fleet::Contract;

use super::Lease;

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
    /// What its agent can do, as it said in its last session; `None` before the first.
    pub(crate) contract: Option<Contract>,
    pub(crate) last_seen_ms: u64,
    /// What else it says, as last heard.
    pub(crate) word: HostWord,
}

/// What a host says of itself besides the policy; empty from versions that do not say.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct HostWord {
    /// What is hidden there, each as `tcp/22`.
    pub(crate) protected_ports: Vec<String>,
    /// Those of them that its own configuration hides, whatever policy says.
    pub(crate) own_protected_ports: Vec<String>,
    /// What it warns of, each in one line.
    pub(crate) warnings: Vec<String>,
    /// Messages dated at or before this are refused there, seconds since the Unix epoch; 0 for none.
    pub(crate) floor_secs: u64,
    /// How far its clock is ahead of ours, in milliseconds, where it says what time it has.
    pub(crate) clock_offset_ms: Option<i64>,
    /// Whether commands run there; `None` when it does not say.
    pub(crate) commands: Option<bool>,
    /// What changes the packet filter there; empty when it does not say.
    pub(crate) backend: String,
    /// Grants open there when it was last heard; `None` when it does not say.
    pub(crate) grants_open: Option<u32>,
}

/// An acknowledgement, and whose.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    /// Of the member.
    pub(crate) host: u64,
    pub(crate) acknowledgement: Box<Acknowledgement>,
    /// Until when the text is good that it acknowledges, where that is news.
    pub(crate) lease: Option<Lease>,
    pub(crate) now_ms: u64,
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
    /// What else it says.
    pub(crate) word: HostWord,
}

/// A host that was heard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostSeen {
    /// `Member::id`.
    pub(crate) host: u64,
    pub(crate) now_ms: u64,
}
