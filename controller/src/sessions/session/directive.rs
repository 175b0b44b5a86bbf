//! What the controller says to a host.

use crate::audit::Shown;
use crate::store::model::{Claim, JournalEnd};
use crate::targets::{Packed, Target};
use crate::timestamp::Timestamp;

/// What the controller says to a host.
#[derive(Debug)]
pub(crate) enum Directive {
    /// What others have claimed in the host's replay domains.
    Claimed(Vec<Claim>),
    /// The session was ended; nothing follows.
    Ended,
    /// The host is locked: it is to grant nothing, and to close what is open.
    Locked {
        /// For people.
        reason: String,
    },
    /// The journal of the host is not the continuation of what is stored of it.
    NewJournal {
        /// For people.
        reason: String,
        /// Messages dated at or before this are to be refused.
        floor_secs: u64,
    },
    /// What the host is to keep before it follows anything else.
    Opened {
        session_pass: Vec<u8>,
        now: Timestamp,
        acknowledged: Option<JournalEnd>,
        replay_floor_secs: u64,
        claim_epoch: u64,
        /// What the host is called now: its certificate may have been made by a former name.
        called: String,
        /// What it is to keep of the fleet's log.
        audit: Shown,
    },
    /// The policy to enforce, instead of what it has.
    Policy {
        target: Target,
        form: Form,
        /// Seconds since the Unix epoch; 0 for ever.
        not_after_secs: u64,
        /// Packets dated before this cannot be claimed.
        replay_floor_secs: u64,
        /// Number of the replay list.
        claim_epoch: u64,
    },
}

/// In which form a host is sent its policy.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    /// As text.
    Whole,
    Packed(Packed),
    /// It has the text, and is told how it stands with that.
    Kept,
}

// === impl Form ===

impl Form {
    /// What travels, about.
    pub(super) fn bytes(&self, target: &Target) -> usize {
        match self {
            Self::Whole => target.compiled.text.0.len(),
            Self::Packed(packed) => packed.bytes.0.len(),
            Self::Kept => 0,
        }
    }
}
