//! The engine itself: what it is told, and what it answers.

mod close;
mod connections;
mod cycles;
mod decide;
mod effects;
mod ends;
mod lock;
mod names;
mod policy;
mod recovery;
mod refresh;
mod rules;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ::policy::{OsSignatures, OwnAddresses};
use fleet::GrantId;
use gate::{Addressees, CompiledPolicy, Datagram, Gate, LinkType, Now, ReplayLog};

use crate::batch::{Batch, Item, Permits};
use crate::capabilities::{Capabilities, Forwards};
use crate::claims::Claims;
use crate::commands::Commands;
use crate::connections::{Connections, LOOK_EVERY, PastGrants};
use crate::counters::{Counters, EngineCounters};
use crate::cycles::Cycles;
use crate::effect::{Closing, Effect};
use crate::grants::Grants;
use crate::names::Names;
use crate::obstacles::Obstacles;
use crate::record::{self, Record};
use crate::rule::Rule;
use crate::settings::{Limits, Settings};
use crate::status::{HostStatus, Status};
use crate::totals::Totals;

use refresh::Staged;

pub use policy::Adoption;
pub use recovery::{Kernel, SavedGrant};

/// Records that may wait for a disk that takes none. What comes after is counted, not kept: a disk
/// that is full for hours must not become a memory that is full.
const WAITING_MAX: usize = 10_000;
/// For how many records memory stays allocated from one batch to the next.
const IDLE_CAPACITY: usize = 1_024;
/// When to try again what the firewall did not do.
const FIREWALL_RETRY: Duration = Duration::from_secs(1);

/// Decides what is recorded, opened, run and asked, and does none of it itself.
///
/// A turn of its caller: tell it what arrived ([`frame`](Self::frame), [`datagram`](Self::datagram))
/// and what others say; [`due`](Self::due); then, until nothing is left, carry out
/// [`next_effect`](Self::next_effect) and commit [`take_batch`](Self::take_batch).
#[derive(Debug)]
pub struct Engine {
    gate: Gate,
    grants: Grants,
    connections: Connections,
    /// Grants whose holes have closed, and that live on in connections.
    past: PastGrants,
    /// When to look again which connections there are.
    look_at: Duration,
    claims: Claims,
    commands: Commands,
    cycles: Cycles,
    /// Grants whose host name is being looked up.
    names: Names,
    totals: Totals,
    limits: Limits,
    capabilities: Capabilities,
    forwards: Forwards,
    /// What of the host's own rules would still drop what is opened.
    obstacles: Obstacles,
    ids: GrantIds,
    status: Status,
    /// Records to commit next.
    items: Vec<Item>,
    staged: Staged,
    /// Grants that are in a batch or on their way to the firewall.
    opening: usize,
    /// Grants that are in no table any more, and that the firewall has not closed yet.
    closing: usize,
    effects: VecDeque<Effect>,
    /// What the firewall did not close, each with the time to try it again.
    unclosed: Vec<(Duration, Closing)>,
    /// When to open what somebody has closed.
    reopen_at: Option<Duration>,
    counters: EngineCounters,
    /// Lost packets that are recorded already.
    losses_recorded: u64,
    /// How far this host's clock is ahead of the controller's, in milliseconds, once it is known.
    clock_offset_ms: Option<i64>,
    /// Records that were given up, which is not recorded yet.
    records_lost: u64,
}

/// Makes names of grants.
#[derive(Debug)]
struct GrantIds {
    prefix: [u8; 8],
    last: u64,
}

// === impl Engine ===

impl Engine {
    /// Makes an engine that enforces `policy`, with nothing open. Recorded as in force it is only by
    /// [`replace_policy`](Self::replace_policy).
    #[must_use]
    pub fn new(settings: Settings, policy: Arc<CompiledPolicy>, now: Now) -> Self {
        let Settings {
            mut gate,
            limits,
            capabilities,
            grant_prefix,
            first_claim,
            locked,
        } = settings;
        gate.nat.is_possible = capabilities.forward;
        Self {
            status: Status {
                host: HostStatus {
                    commands: gate.commands,
                    ..HostStatus::default()
                },
                locked,
                ..Status::default()
            },
            gate: Gate::new(gate, policy),
            grants: Grants::default(),
            connections: Connections::default(),
            past: PastGrants::default(),
            look_at: now.steady + LOOK_EVERY,
            claims: Claims::new(first_claim),
            commands: Commands::new(limits),
            cycles: Cycles::default(),
            names: Names::default(),
            totals: Totals::new(now.steady),
            limits,
            capabilities,
            forwards: Forwards::default(),
            obstacles: Obstacles::default(),
            ids: GrantIds {
                prefix: grant_prefix,
                last: 0,
            },
            items: Vec::new(),
            staged: Staged::default(),
            opening: 0,
            closing: 0,
            effects: VecDeque::new(),
            unclosed: Vec::new(),
            reopen_at: None,
            counters: EngineCounters::default(),
            losses_recorded: 0,
            clock_offset_ms: None,
            records_lost: 0,
        }
    }

    /// The kernel forwards packets, or does not; true until it is said.
    pub fn note_forwards(&mut self, forwards: Forwards) {
        self.forwards = forwards;
    }

    /// Records that the agent begins its work, in this version.
    pub fn start(&mut self, version: &str, now: Now) {
        let generation = self.gate.compiled().generation();
        self.record(record::agent_started(version, generation, now));
    }

    /// Records that packets are refused up to another date than before, and why.
    pub fn floor_changed(&mut self, reason: &str, now: Now) {
        let generation = self.gate.compiled().generation();
        self.record(record::floor_changed(generation, reason, now));
    }

    /// Records that the journal was put back to an older copy.
    pub fn set_back(&mut self, reason: &str, now: Now) {
        let generation = self.gate.compiled().generation();
        self.record(record::set_back(generation, reason, now));
    }

    /// Records that the fleet's log is not what this host was shown of it.
    pub fn log_conflict(&mut self, reason: &str, now: Now) {
        let generation = self.gate.compiled().generation();
        self.record(record::log_conflict(generation, reason, now));
    }

    /// This host's clock is so many milliseconds ahead of the controller's: said in every event from
    /// now on.
    pub fn note_clock_offset(&mut self, ms: i64) {
        self.clock_offset_ms = Some(ms);
    }

    /// From now on, these of the host's own rules would still drop what is opened.
    pub fn note_obstacles(&mut self, obstacles: Obstacles) {
        self.obstacles = obstacles;
    }

    /// Whether the host's own rules would drop some of what these let in, for certain.
    #[must_use]
    pub fn is_blocked(&self, rules: &[Rule]) -> bool {
        rules.iter().any(|rule| self.obstacles.of(rule).is_some())
    }

    /// Judges a frame that was seen on a wire, if it was sent to this host.
    pub fn seen_frame(
        &mut self,
        frame: &[u8],
        link: LinkType,
        now: Now,
        replays: &mut dyn ReplayLog,
    ) {
        // What is not for us is counted by the gate, and nothing else.
        if let Ok(decision) = self.gate.admit_seen_frame(frame, link, now, replays) {
            self.follow(decision, now);
        }
    }

    /// The policy in force.
    #[must_use]
    pub fn compiled(&self) -> &Arc<CompiledPolicy> {
        self.gate.compiled()
    }

    /// Compares SYNs with these signatures from now on.
    pub fn set_os_signatures(&mut self, signatures: Arc<OsSignatures>) {
        self.gate.set_os_signatures(signatures);
    }

    /// Takes a frame that may belong to a knock sequence; see [`Gate::admit_knock`].
    pub fn knock(&mut self, frame: &[u8], link: LinkType, now: Now, replays: &mut dyn ReplayLog) {
        if let Some(decision) = self.gate.admit_knock(frame, link, now, replays) {
            self.follow(decision, now);
        }
    }

    /// Takes a frame that may be a SYN; see [`Gate::note_syn`].
    pub fn note_syn(&mut self, frame: &[u8], link: LinkType, now: Now) {
        self.gate.note_syn(frame, link, now);
    }

    /// Judges packets off a wire at these destinations from now on.
    pub fn set_addressees(&mut self, addressees: Addressees) {
        self.gate.set_addressees(addressees);
    }

    /// Takes these for the host's own addresses from now on.
    pub fn set_own_addresses(&mut self, own: OwnAddresses) {
        self.gate.set_own_addresses(own);
    }

    /// Judges a frame of a capture file.
    pub fn frame(&mut self, frame: &[u8], link: LinkType, now: Now, replays: &mut dyn ReplayLog) {
        // What is not for us is counted by the gate, and nothing else.
        if let Ok(decision) = self.gate.admit_frame(frame, link, now, replays) {
            self.follow(decision, now);
        }
    }

    /// Judges a datagram as a socket gives it, if it was sent to this host: a socket receives, too,
    /// what is sent to many.
    pub fn datagram(&mut self, datagram: &Datagram<'_>, now: Now, replays: &mut dyn ReplayLog) {
        // What is not for us is counted by the gate, and nothing else.
        if let Ok(decision) = self.gate.admit_seen(datagram, now, replays) {
            self.follow(decision, now);
        }
    }

    /// Does what is due by now: ends grants, claims that nobody answers, and minutes of counting;
    /// tries again what failed.
    pub fn due(&mut self, now: Now) {
        self.gate.tidy(now);
        self.end_grants(now);
        while let Some(pending) = self.claims.take_overdue(now.steady) {
            self.conclude(pending.unreachable(), now);
        }
        self.give_up_names(now);
        self.close_again(now);
        self.due_connections(now);
        self.reopen(now);
        self.start_commands(now);
        self.close_cycles(now);
        if self.totals.ends_at() <= now.steady {
            self.end_totals(now);
        }
    }

    /// Returns the steady time at which something is due, if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let closings = self.unclosed.iter().map(|(retry_at, _)| *retry_at);
        [
            self.grants.next_deadline(),
            self.claims.next_deadline(),
            self.names.next_deadline(),
            self.cycles_deadline(),
            Some(self.totals.ends_at()),
            self.reopen_at,
            (self.connections.len() > 0).then_some(self.look_at),
        ]
        .into_iter()
        .flatten()
        .chain(closings)
        .min()
    }

    /// Does work ahead of time while nothing else is to do. Reports whether nothing is left for this
    /// minute.
    pub fn precompute(&mut self, now: Now) -> bool {
        self.gate.precompute(now)
    }

    /// Says how many packets the captures have lost since the start.
    pub fn packets_lost(&mut self, total: u64) {
        self.counters.packets_lost = total;
    }

    /// The end: refuses what waits, closes what is open if `close`, and says so.
    pub fn stop(&mut self, close: bool, now: Now) {
        for pending in self.claims.take_all() {
            let reason = "the agent stopped before the controller answered";
            self.record(record::claim_given_up(pending.identity(), reason, now));
        }
        for grant in self.commands.give_up(|_| false) {
            self.refuse_grant(&grant, "the agent stopped before its turn came", now);
        }
        for grant in self.names.give_up(|_| false) {
            self.refuse_grant(
                &grant,
                "the agent stopped before its name was looked up",
                now,
            );
        }
        self.end_totals(now);
        if close {
            self.effects.push_back(Effect::Flush);
        } else {
            self.record_stop(now);
        }
    }

    /// Takes the next instruction; see [`Effect`].
    pub fn next_effect(&mut self, now: Now) -> Option<Effect> {
        let mut effect = self.effects.pop_front()?;
        if let Effect::Reopen(holes) = &mut effect {
            // Only now: what was taken back since it was ordered must stay so.
            *holes = self.grants.all_holes(now.steady);
        }
        if let Effect::Open(opening) = &mut effect {
            // What has ended since it was ordered is not brought back; that its end is recorded
            // comes after this.
            let grants = &self.grants;
            opening
                .extended
                .retain(|live| grants.get(live.id).is_some());
            opening.find_holes(grants, now.steady);
        }
        if let Effect::Close(closing) = &mut effect {
            // Only now: what was opened since it was ordered must stay open.
            let rules = closing
                .grants
                .iter()
                .flat_map(|live| live.rules.iter().copied());
            let taken = self.grants.taken_back(rules, now.steady);
            closing.rules = taken.close;
            closing.shorten = taken.shorten;
            let back = self.grants.restoring(&closing.restore, now.steady);
            closing.rules.extend(back.close);
            closing.shorten.extend(back.shorten);
            if closing.is_gentle() {
                return Some(effect);
            }
            let ids = closing.grants.iter().map(|live| live.id);
            let begun = self.connections.of_grants(ids);
            closing.connections.extend(begun);
            closing.connections.sort_unstable();
            closing.connections.dedup();
        }
        Some(effect)
    }

    /// Whether something is to be committed.
    #[must_use]
    pub fn has_records(&self) -> bool {
        !self.items.is_empty()
    }

    /// Takes what is to be committed now; see [`Batch`].
    pub fn take_batch(&mut self) -> Batch {
        self.staged.clear();
        Batch::new(std::mem::take(&mut self.items))
    }

    /// Returns what is in force.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Returns what has happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let count = |len: usize| len as u64;
        Counters {
            gate: *self.gate.counters(),
            engine: EngineCounters {
                grants_open: count(self.grants.len()),
                grants_living_on: count(self.past.len()),
                connections: count(self.connections.len()),
                cycles_open: count(self.cycles.len()),
                commands_running: count(self.commands.running()),
                commands_waiting: count(self.commands.waiting()),
                claims_waiting: count(self.claims.len()),
                names_waiting: count(self.names.len()),
                records_waiting: count(self.items.len()),
                ..self.counters
            },
        }
    }

    fn record(&mut self, event: fleet::Event) {
        self.stage(Record::new(event), Permits::Nothing);
    }

    fn stage(&mut self, mut record: Record, permits: Permits) {
        record.note_clock_offset(self.clock_offset_ms);
        self.items.push(Item {
            record,
            permits,
            is_retried: false,
        });
    }

    fn record_stop(&mut self, now: Now) {
        let generation = self.gate.compiled().generation();
        self.record(record::agent_stopped(generation, now));
    }
}

// === impl GrantIds ===

impl GrantIds {
    fn next(&mut self) -> GrantId {
        self.last += 1;
        let number = u64::from_be_bytes(self.prefix);
        let id = u128::from(number) << 64 | u128::from(self.last);
        GrantId(id.to_be_bytes())
    }
}
