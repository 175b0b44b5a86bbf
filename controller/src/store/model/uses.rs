//! How often, and when, something was opened.

/// Whose uses are counted, and when; empty texts for all.
#[derive(Clone, Debug, Default)]
pub(crate) struct UsesAsked {
    pub(crate) user: String,
    pub(crate) host: String,
    /// Inclusive.
    pub(crate) since_ms: u64,
    /// Inclusive.
    pub(crate) until_ms: u64,
}

/// Grants that were opened, of one user with one key, on one host by one stanza.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Use {
    pub(crate) user: String,
    /// Fingerprint.
    pub(crate) key: String,
    pub(crate) host: String,
    pub(crate) stanza: String,
    pub(crate) count: u64,
    /// The last one.
    pub(crate) last_ms: u64,
}

/// Where the fleet's log ends.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct LogHead {
    /// 0 for an empty log.
    pub(crate) id: u64,
    /// The chain value over the whole log.
    pub(crate) chain: Vec<u8>,
}
