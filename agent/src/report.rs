//! What the agent says about itself when it is asked.

mod trouble;

use std::path::PathBuf;

use gate::Floor;
use serde::{Deserialize, Serialize};

pub use self::trouble::{BEGIN_ANEW, ROOM, Trouble};

/// The local socket in the state directory, on which a running agent gives a [`Report`] as JSON to
/// whoever connects.
pub const SOCKET_NAME: &str = "status.sock";

/// The local socket on which a running agent takes an operator's word.
pub const CONTROL_NAME: &str = "control.sock";
/// The word that its clock is right now; answered by a [`FloorReport`] as JSON.
pub const RESET_FLOOR: &[u8] = b"floor reset\n";

/// The word that what people have changed is to be read again; answered by a [`ReloadReport`] as JSON.
pub const RELOAD: &[u8] = b"reload\n";

/// The word that this host is to have other keys; answered by a [`RotationReport`] as JSON.
pub const ROTATE_KEYS: &[u8] = b"rotate-keys\n";
/// The question how far that is; answered alike.
pub const ROTATION: &[u8] = b"rotation\n";

/// How the rotation of this host's own keys is.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct RotationReport {
    /// Whether this host has keys of its own.
    pub is_joined: bool,
    /// How many were asked for in this run of the agent.
    pub asked: u64,
    /// How many of those have come to their end.
    pub ended: u64,
    /// Why the last one does not go on; empty when it does.
    pub fault: String,
    /// It does not try again by itself.
    pub is_refused: bool,
}

// === impl RotationReport ===

impl RotationReport {
    /// Whether one is under way.
    #[must_use]
    pub const fn goes_on(&self) -> bool {
        self.asked > self.ended && !self.is_refused
    }

    /// Whether there is nothing to wait for, for whoever asked for this one.
    #[must_use]
    pub const fn is_over(&self, asked: u64) -> bool {
        !self.is_joined || self.ended >= asked || self.is_refused
    }
}

/// What came of reading again what people have changed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ReloadReport {
    /// What came of the policy.
    pub policy: ReloadedPolicy,
    /// The generation in force afterwards; 0 for none, or where the gate did not say.
    pub generation: u64,
    /// What is wrong with the configuration as it is now, one mistake a line: the next start would
    /// fail.
    pub mistakes: Vec<String>,
    /// Keys of the configuration that have changed, and take effect at the next start.
    pub needs_restart: Vec<String>,
    /// Why what was read is not in force nevertheless: something of the agent does not answer.
    #[serde(default)]
    pub not_in_force: Option<String>,
}

/// What came of reading the access file again.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadedPolicy {
    /// It is in force.
    Applied,
    /// The gate has too much to do: nothing was changed.
    Busy,
    /// This host has no access file: the controller sends every change.
    FromController,
    /// It cannot be used, for these reasons; what was in force stays so.
    Rejected(Vec<String>),
    /// It is, byte for byte, as it was when it was read last.
    Unchanged,
}

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
    /// What keeps stanzas with REQUIRE_OS from opening anything.
    #[serde(default)]
    pub os_faults: Vec<String>,
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
    /// When the policy in force ends, seconds since the Unix epoch; 0 for never, or none.
    #[serde(default)]
    pub policy_not_after_secs: u64,
    /// How long grants took from being read to being open.
    #[serde(default)]
    pub grant_latency: Latency,
    /// What the journal holds; `None` where it cannot be read.
    #[serde(default)]
    pub journal: Option<JournalReport>,
    /// The link to the controller; `None` on a host that stands alone.
    #[serde(default)]
    pub link: Option<LinkReport>,
    /// The access file of a host that stands alone, wherever the agent was told of it; `None` also
    /// from agents of before.
    #[serde(default)]
    pub access_file: Option<PathBuf>,
    /// The processes of the agent; none where it is one.
    #[serde(default)]
    pub domains: Vec<DomainReport>,
}

/// One process of the agent, and what it can do. What nobody has looked at is unknown.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct DomainReport {
    /// What it is for.
    pub name: String,
    /// Its number, where the agent runs.
    pub pid: i32,
    /// As whom it runs.
    pub uid: Option<u32>,
    /// What it may do beyond that.
    pub capabilities: Option<Vec<String>>,
    /// Whether no program that it starts may do more.
    pub no_new_privileges: Option<bool>,
    /// Whether system calls are refused to it.
    pub seccomp: Option<bool>,
    /// Whether it does its work, by those who ask it; unknown of an agent that does not say.
    #[serde(default)]
    pub answers: Option<bool>,
    /// What the kernel says of it, where that is out of the ordinary: `stopped`, `gone`.
    #[serde(default)]
    pub state: Option<String>,
}

// === impl DomainReport ===

impl DomainReport {
    /// Nothing is known of it yet.
    #[must_use]
    pub fn new(name: String, pid: i32) -> Self {
        Self {
            name,
            pid,
            ..Self::default()
        }
    }

    /// Whether it does not do its work now.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.answers == Some(false) || self.state.is_some()
    }

    /// The same in words, where it does not.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let state = self.state.as_ref().map(|state| format!("is {state}"));
        let silent = (self.answers == Some(false)).then(|| "does not answer".to_owned());
        state.or(silent)
    }
}

/// The upper bounds of what [`Latency`] tells apart, in microseconds; what is above the last has a
/// place of its own.
pub const LATENCY_BOUNDS_MICROS: [u64; 10] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 1_000_000,
];

/// How long something took, in numbers.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Latency {
    /// How often it took no more than each of [`LATENCY_BOUNDS_MICROS`] and more than the one before;
    /// the last is what took longer.
    pub counts: [u64; LATENCY_BOUNDS_MICROS.len() + 1],
    /// All of it.
    pub sum_micros: u64,
}

/// What the journal holds.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct JournalReport {
    /// The files, in bytes.
    pub bytes: u64,
    /// Free room on its disk, in bytes.
    pub free_bytes: u64,
    /// Events that the controller does not have yet; 0 on a host that stands alone.
    pub unacknowledged: u64,
    /// For how many seconds the oldest of them has waited.
    pub oldest_unacknowledged_secs: u64,
}

/// How the link to the controller is.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct LinkReport {
    /// Where it is dialled.
    pub controller: String,
    /// Where controllers are known to be, in the order in which they are dialled; empty from agents that do not say.
    #[serde(default)]
    pub controllers: Vec<String>,
    /// In how many seconds it goes back to an earlier one of them; nothing where it is at the first.
    #[serde(default)]
    pub returns_in_secs: Option<u64>,
    /// The name by which this host joined; empty from agents that do not say.
    #[serde(default)]
    pub joined_as: String,
    /// What the controller calls it now, which an operator may have changed since.
    #[serde(default)]
    pub called: String,
    /// Whether a session is open.
    pub is_connected: bool,
    /// For how many seconds that has been so.
    pub since_secs: u64,
    /// Why there is no session; empty when there is one.
    pub error: String,
    /// How far this host's clock is ahead of the controller's, in milliseconds, once it is known.
    pub clock_offset_ms: Option<i64>,
    /// When this host's certificate is over, seconds since the Unix epoch.
    pub certificate_expires_secs: u64,
    /// How the fleet's log was found not to be what this host was shown of it, in this run; empty for
    /// never.
    #[serde(default)]
    pub log_conflict: String,
    /// Claims that this host has won since the start.
    pub claims_won: u64,
    /// Claims that another host had won: replays elsewhere.
    pub claims_lost: u64,
    /// Claims that the controller did not answer.
    pub claims_unanswered: u64,
}

// === impl Latency ===

impl Latency {
    /// Counts how long something took, `times` times.
    pub fn note(&mut self, took: std::time::Duration, times: u64) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let place = LATENCY_BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        if let Some(count) = self.counts.get_mut(place) {
            *count += times;
        }
        self.sum_micros = self.sum_micros.saturating_add(micros.saturating_mul(times));
    }

    /// How often.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
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
    /// What else is counted there, by name.
    #[serde(default)]
    pub counts: Vec<(String, u64)>,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_took_as_long_as_a_bound_is_counted_under_it_and_what_took_longer_is_not_lost() {
        let mut latency = Latency::default();
        latency.note(Duration::from_micros(250), 1);
        latency.note(Duration::from_micros(251), 2);
        latency.note(Duration::from_secs(60), 1);

        assert_eq!(latency.counts, [1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(latency.count(), 4);
        assert_eq!(latency.sum_micros, 60_000_752);
    }

    #[test]
    fn what_an_agent_of_the_version_before_says_is_understood() {
        let said = serde_json::to_value(Report::default()).unwrap();
        let mut said = said.as_object().unwrap().clone();
        for new in ["policy_not_after_secs", "grant_latency", "journal", "link"] {
            said.remove(new).unwrap();
        }

        let report: Report = serde_json::from_value(said.into()).unwrap();

        assert_eq!(report, Report::default());
    }
}
