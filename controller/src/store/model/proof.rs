//! What proves the log, what contradicts it, and what of it is kept no longer.

/// Records that are old enough to be emptied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Expired {
    /// Those that were stored before then, milliseconds since the Unix epoch.
    pub(crate) before_ms: u64,
    /// Noise only.
    pub(crate) is_noise: bool,
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
