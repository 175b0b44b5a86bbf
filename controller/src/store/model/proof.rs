//! What proves the log, what contradicts it, and what of it is kept no longer.

use fleet::audit::AuditSigner;

/// Records that are old enough to be emptied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Expired {
    /// Those that were stored before then, milliseconds since the Unix epoch.
    pub(crate) before_ms: u64,
    /// Noise only.
    pub(crate) is_noise: bool,
}

/// The keys that have signed the log.
#[derive(Debug)]
pub(crate) struct LogKeys {
    /// What signs it now.
    pub(crate) signer: AuditSigner,
    /// How each key followed the one before it, the oldest first: signed notes.
    pub(crate) successions: Vec<String>,
}

/// A key of the log gave way to another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyRotated {
    /// The key before, as text.
    pub former_key: String,
    /// The key that signs from now on, as text.
    pub audit_key: String,
    /// How many records the last checkpoint of the key before covers.
    pub last_record: u64,
}

/// The end of the log at one size.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct LogEnd {
    /// The number of the newest record; 0 for an empty log.
    pub(crate) size: u64,
    /// The chain value there.
    pub(crate) root: [u8; 32],
}

/// A checkpoint of ours that the log does not agree with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Conflict {
    /// What it says.
    pub(crate) end: LogEnd,
    pub(crate) signed_at_ms: u64,
    /// The evidence: a signed note.
    pub(crate) note: String,
    /// Who presented it, as `host web-1`.
    pub(crate) whose: String,
    /// `Member::id`, where that is a host.
    pub(crate) host: Option<u64>,
    /// What was found, in words.
    pub(crate) reason: String,
}
