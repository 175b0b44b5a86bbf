//! What the agent says about itself when it is asked.

use gate::Floor;
use serde::{Deserialize, Serialize};

/// The local socket in the state directory, on which a running agent gives a [`Report`] as JSON to
/// whoever connects.
pub const SOCKET_NAME: &str = "status.sock";

/// The local socket on which a running agent takes an operator's word.
pub const CONTROL_NAME: &str = "control.sock";
/// The word that its clock is right now; answered by a [`FloorReport`] as JSON.
pub const RESET_FLOOR: &[u8; 12] = b"floor reset\n";

/// How the agent is, at one moment.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Report {
    /// The agent's version.
    pub version: String,
    /// The policy generation in force; 0 for none.
    pub generation: u64,
    /// For how many seconds it has been in force, as far as this run of the agent knows.
    pub policy_age_secs: u64,
    /// The newest policy that was rejected, if that is newer than the one in force.
    pub rejected_generation: Option<u64>,
    /// How the firewall differs from what it should be.
    pub drift: Option<String>,
    /// Why the controller has locked this host.
    pub locked: Option<String>,
    /// What keeps packets from being led on to other hosts, where they may be.
    #[serde(default)]
    pub nat_fault: Option<String>,
    /// Grants open now.
    pub grants_open: u64,
    /// The last event committed.
    pub journal_seq: u64,
    /// Whether the journal takes records.
    pub journal_writable: bool,
    /// Why not.
    #[serde(default)]
    pub journal_fault: Option<String>,
    /// Until when older packets are refused, and why.
    pub floor: FloorReport,
    /// What the packet filter is like.
    #[serde(default)]
    pub firewall: FirewallReport,
    /// Where packets come from.
    pub captures: Vec<CaptureReport>,
    /// Everything that is counted, by name.
    pub counters: Vec<(String, u64)>,
}

/// Which packets are refused for their date, because nobody can say that they were not granted.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct FloorReport {
    /// Packets dated at or before this are refused, seconds since the Unix epoch; 0 for none.
    pub through_secs: u64,
    /// Why; empty for none.
    pub reason: String,
    /// In how many seconds a packet that is sent then, by a clock that agrees, is refused no more
    /// for it; 0 when none is now.
    pub ends_in_secs: u64,
    /// Whether something vouches for this host's clock: a floor that a clock set which was ahead is
    /// set anew only then.
    pub clock_is_proven: bool,
}

// === impl FloorReport ===

impl FloorReport {
    /// Says of a floor what people want to know.
    pub fn of(floor: Floor, now_secs: u64, clock_is_proven: bool) -> Self {
        let is_set = floor.through_secs > 0;
        let ends_at_secs = floor.through_secs.saturating_add(1);
        Self {
            through_secs: floor.through_secs,
            reason: if is_set {
                floor.why.words().to_owned()
            } else {
                String::new()
            },
            ends_in_secs: ends_at_secs.saturating_sub(now_secs) * u64::from(is_set),
            clock_is_proven,
        }
    }
}

/// How a capture is.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CaptureReport {
    /// The interface, file or address.
    pub name: String,
    /// How frames are wrapped there, where there are frames and it is known.
    #[serde(default)]
    pub link: Option<String>,
    /// Frames or datagrams that came from there since the start and were worth a look.
    #[serde(default)]
    pub frames: u64,
    /// Packets lost since the start because the agent was too slow.
    pub dropped: u64,
    /// Why nothing comes from there now; it is tried again.
    #[serde(default)]
    pub down: Option<String>,
}

/// What the packet filter of the host is like, ours and its owner's.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct FirewallReport {
    /// Which back end is used.
    pub backend: String,
    /// Why this one.
    pub why: String,
    /// Whose rules were recognised: `ufw`, `Docker`.
    pub recognised: Vec<String>,
    /// What is hidden.
    pub hidden: Vec<String>,
    /// What the host's rules lead on to containers or other machines, and whether it is hidden.
    pub published: Vec<String>,
    /// The owner's chains that have our line.
    pub hooks: Vec<String>,
    /// What would still drop what a grant opens.
    pub obstacles: Vec<ObstacleReport>,
    /// How many addresses and networks the owner blocks by their source. That is meant, and stays.
    pub blocked_sources: u64,
    /// What could not be seen.
    pub unseen: Vec<String>,
    /// Who uses packets' marks with our bit, and what to do.
    #[serde(default)]
    pub marks: Vec<String>,
}

/// Something that would still drop what a grant opens, for everybody.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ObstacleReport {
    /// Table, chain and rule.
    pub rule: String,
    /// What is dropped: `tcp/22`.
    pub services: Vec<String>,
    /// Whether that is certain, or it cannot be told.
    pub is_certain: bool,
    /// What to do, one way a line.
    pub cure: Vec<String>,
}
