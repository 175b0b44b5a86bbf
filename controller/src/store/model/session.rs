//! The beginning of a host's session: what the host says, and what is found by it.

use std::sync::Arc;

use fleet::Contract;

use super::Origin;
use super::log::JournalEnd;
use crate::store::seal::SealKey;

/// What a host says when it opens its session.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Opening {
    pub(crate) agent_version: String,
    /// What its agent can do.
    pub(crate) contract: Option<Contract>,
    /// The pass that it presents; empty for none.
    pub(crate) pass: Vec<u8>,
    /// Names the run of its agent; empty from hosts that do not say.
    pub(crate) run: String,
    /// It keeps passes, and begins a new journal when it is told to.
    pub(crate) keeps_passes: bool,
    /// It was locked because of a clone, and still is.
    pub(crate) is_locked: bool,
    pub(crate) seen: Seen,
    /// `None` from hosts that do not say.
    pub(crate) journal: Option<JournalEnd>,
    /// How many records of the fleet's log the checkpoint covers that it presents; `None` for none of ours.
    pub(crate) checkpoint: Option<u64>,
}

/// What a host says that it was told, at any time.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Seen {
    pub(crate) generation: u64,
    pub(crate) claim_epoch: u64,
    /// Seconds since the Unix epoch; 0 for none.
    pub(crate) newest_claimed_secs: u64,
}

/// A host that opens its session.
#[derive(Clone, Debug)]
pub(crate) struct SessionWanted {
    /// `Member::id`.
    pub(crate) host: u64,
    /// As it was called when it called.
    pub(crate) name: String,
    pub(crate) opening: Opening,
    /// What is wrong with it was found by whom.
    pub(crate) found: Origin,
    pub(crate) now_ms: u64,
    /// Under which passes are sealed.
    pub(crate) seal: Arc<SealKey>,
}

/// A host that is to be given another pass within its session.
#[derive(Debug)]
pub(crate) struct PassWanted {
    /// `Member::id`.
    pub(crate) member: u64,
    /// Under which passes are sealed.
    pub(crate) seal: Arc<SealKey>,
}

/// What came of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Begun {
    /// What the host is to present next; empty for hosts that keep none.
    pub(crate) pass: Vec<u8>,
    /// How far the journal is stored that the host named.
    pub(crate) acknowledged: Option<JournalEnd>,
    /// Why the host is to begin a new journal.
    pub(crate) new_journal: Option<String>,
    /// Why the host is to be locked: found now for the first time.
    pub(crate) cloned: Option<String>,
    /// The numbers of the fleet have changed, because the host knew higher ones.
    pub(crate) fleet_changed: bool,
    /// The chain value of the fleet's log where the checkpoint ends that the host presents; `None` where the log does
    /// not reach so far.
    pub(crate) root: Option<[u8; 32]>,
    /// What was found, for the log; each is recorded too.
    pub(crate) found: Vec<String>,
    /// What the host acknowledged last, where that is known and the host keeps passes: from others it
    /// is not known that they have heard of a loss of the replay list.
    pub(crate) lease: Option<Lease>,
}

/// Until when a host may grant under a text without a word from the controller.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Lease {
    /// SHA-256 of the text.
    pub(crate) digest: [u8; 32],
    /// Seconds since the Unix epoch; 0 for ever.
    pub(crate) until_secs: u64,
}

/// What holds for the whole fleet.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct FleetState {
    /// Packets dated at or before this cannot be claimed; seconds since the Unix epoch.
    pub(crate) replay_floor_secs: u64,
    /// Number of the replay list: it grows with every loss of it.
    pub(crate) claim_epoch: u64,
    /// How it was found out that this controller was restored from an older copy, until an operator
    /// has dealt with it. Until then hosts keep the policy that they have.
    pub(crate) set_back: Option<String>,
}

/// Something that was found wrong with a host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Alarm {
    pub(crate) count: u64,
    pub(crate) last_ms: u64,
    /// Of the last one, in words.
    pub(crate) reason: String,
}
