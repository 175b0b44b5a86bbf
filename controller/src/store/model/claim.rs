//! The shared replay list.

/// One host's claim to be the one that grants a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Claim {
    pub(crate) domain: [u8; 32],
    pub(crate) digest: [u8; 32],
    pub(crate) host: String,
    /// The claimant's own number for the packet: the same host with the same number is a retry.
    pub(crate) seq: u64,
    /// Until when it must be remembered; 0 for ever.
    pub(crate) forget_after_secs: u64,
    /// The date inside the message; 0 when its host does not say.
    pub(crate) dated_secs: u64,
    /// Its host asked for longer.
    pub(crate) capped: bool,
}

/// What a claim came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ClaimOutcome {
    Won,
    /// Won before by the same claimant, whose answer may have been lost.
    WonBefore,
    Lost {
        held_by: String,
    },
    /// Whoever held it is forgotten.
    Spent,
}
