//! A host around the engine: a kernel and a journal that are values, and that can be made to fail.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use engine::{
    Capabilities, Change, ClaimAsk, Command, CommandEnd, Connection, CycleStage, Effect, Engine,
    Hole, Limits, NameAsk, Record, Rule, SavedCycle, SavedGrant, Settings, Status,
};
use fleet::{Event, EventKind, GrantId};
use gate::{Datagram, MemoryReplayLog, Now, SharedKeys, Transport};
use policy::NatSettings;

use crate::packets::{self, NOW_SECS, PORTS_AND_COMMANDS};

/// An engine, and all that its caller has.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) secs: u64,
    replays: MemoryReplayLog,
    /// What is open, each with the steady time at which it closes by itself.
    pub(crate) kernel: BTreeMap<Rule, Duration>,
    /// What was taken back by force and not opened since.
    pub(crate) revoked: Vec<Rule>,
    /// Everything that was committed.
    pub(crate) journal: Vec<Event>,
    /// Grants whose end was not committed.
    pub(crate) live: BTreeMap<GrantId, SavedGrant>,
    /// Grants whose holes are recorded as closed, and that live on in connections.
    pub(crate) living_on: BTreeMap<GrantId, SavedGrant>,
    /// Command cycles whose end was not committed.
    pub(crate) cycles: BTreeMap<GrantId, SavedCycle>,
    /// Every command that was run, in its order.
    pub(crate) ran: Vec<String>,
    /// Connections that were ended.
    pub(crate) cut: Vec<Connection>,
    /// Connections that were to be looked at last.
    pub(crate) looked_at: Vec<Connection>,
    pub(crate) asked: Vec<ClaimAsk>,
    /// Host names to be looked up.
    pub(crate) names: Vec<NameAsk>,
    pub(crate) published: Vec<Status>,
    pub(crate) running: BTreeMap<GrantId, Command>,
    /// The most commands that ever ran at once.
    pub(crate) running_most: usize,
    pub(crate) faults: Faults,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Commits write nothing.
    pub(crate) commit: bool,
    /// Calls of the firewall do so much of what they are told before they fail.
    pub(crate) firewall: Option<Partly>,
    /// The `n`-th operation of either kind fails, from 0.
    pub(crate) operation: Option<u32>,
}

/// How much of a call that fails is done nevertheless.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Partly {
    Nothing,
    Half,
    All,
}

/// The operation did not succeed.
#[derive(Debug)]
struct Fault;

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("made to fail")
    }
}

// === impl Host ===

impl Host {
    pub(crate) fn new() -> Self {
        Self::with(PORTS_AND_COMMANDS, SharedKeys::None, Limits::default())
    }

    pub(crate) fn with(access: &str, shared: SharedKeys, limits: Limits) -> Self {
        Self::on(Capabilities::ALL, access, shared, limits)
    }

    pub(crate) fn on(
        capabilities: Capabilities,
        access: &str,
        shared: SharedKeys,
        limits: Limits,
    ) -> Self {
        let settings = Settings {
            gate: gate_settings(),
            limits,
            capabilities,
            grant_prefix: *b"run one ",
            first_claim: 1,
            locked: None,
        };
        let policy = packets::compiled(access, 1, shared);
        Self {
            engine: Engine::new(settings, policy, at(0)),
            secs: 0,
            replays: MemoryReplayLog::default(),
            kernel: BTreeMap::new(),
            revoked: Vec::new(),
            journal: Vec::new(),
            live: BTreeMap::new(),
            living_on: BTreeMap::new(),
            cycles: BTreeMap::new(),
            ran: Vec::new(),
            cut: Vec::new(),
            looked_at: Vec::new(),
            asked: Vec::new(),
            names: Vec::new(),
            published: Vec::new(),
            running: BTreeMap::new(),
            running_most: 0,
            faults: Faults::default(),
        }
    }

    pub(crate) fn now(&self) -> Now {
        at(self.secs)
    }

    /// A packet comes from 192.0.2.`source`; the turn is not over.
    pub(crate) fn send(&mut self, source: u8, packet: &str) {
        self.send_from(IpAddr::from([192, 0, 2, source]), packet);
    }

    pub(crate) fn send_from(&mut self, source: IpAddr, packet: &str) {
        let now = self.now();
        let datagram = datagram(source, packet);
        self.engine.datagram(&datagram, now, &mut self.replays);
    }

    /// A packet, in a turn of its own.
    pub(crate) fn arrive(&mut self, source: u8, packet: &str) {
        self.send(source, packet);
        self.turn();
    }

    /// Time passes, and a turn begins and ends.
    pub(crate) fn wait(&mut self, secs: u64) {
        self.secs += secs;
        self.turn();
    }

    /// Another policy, in a turn of its own.
    pub(crate) fn replace_policy(&mut self, access: &str, generation: u64) {
        let policy = packets::compiled(access, generation, SharedKeys::None);
        let digest = [generation.to_be_bytes()[7]; 32];
        let now = self.now();
        self.engine.replace_policy(policy, digest, now);
        self.turn();
    }

    /// Ends every command that runs.
    pub(crate) fn end_commands(&mut self) {
        let now = self.now();
        for id in std::mem::take(&mut self.running).into_keys() {
            let ended = CommandEnd::Exited(0).into();
            self.engine.command_ended(id, &ended, now);
        }
        self.turn();
    }

    /// The rest of a turn, as the agent has it.
    pub(crate) fn turn(&mut self) {
        let now = self.now();
        self.kernel.retain(|_, closes| *closes > now.steady);
        self.engine.due(now);
        self.commit_and_carry_out();
        self.check();
    }

    pub(crate) fn commit_and_carry_out(&mut self) {
        let now = self.now();
        loop {
            self.carry_out();
            if !self.engine.has_records() {
                return;
            }
            let batch = self.engine.take_batch();
            let fails = self.fails(self.faults.commit);
            let written = batch.commit(|batch| {
                if fails {
                    return Err(Fault);
                }
                batch.records().for_each(|record| self.write(record));
                Ok(())
            });
            match written {
                Ok(committed) => self.engine.committed(committed, now),
                Err((not_committed, _)) => {
                    self.engine.not_committed(not_committed, now);
                    self.carry_out();
                    return;
                }
            }
        }
    }

    fn write(&mut self, record: &Record) {
        self.journal.push(record.event().clone());
        match record.change() {
            Change::None => {}
            Change::CycleOpens { id, close } => {
                let saved = SavedCycle {
                    id: *id,
                    close: close.clone(),
                    opened: record.event().clone(),
                    stage: CycleStage::Opening,
                };
                assert!(
                    self.cycles.insert(*id, saved).is_none(),
                    "opened twice: {id}"
                );
            }
            Change::CycleStands(id) => self.cycle(*id).stage = CycleStage::Open,
            Change::CycleCloses(id) => self.cycle(*id).stage = CycleStage::Closing,
            Change::Opens { id, rules } => {
                let saved = SavedGrant {
                    id: *id,
                    rules: rules.clone(),
                    opened: record.event().clone(),
                    is_closed: false,
                    is_given_up: false,
                };
                assert!(self.live.insert(*id, saved).is_none(), "opened twice: {id}");
            }
            Change::Extends(id) => {
                let saved = self.live.get_mut(id);
                let saved = saved.unwrap_or_else(|| panic!("extended after its end: {id}"));
                saved.opened = record.event().clone();
            }
            Change::LivesOn(id) => {
                let saved = self.live.remove(id);
                let saved = saved.unwrap_or_else(|| panic!("closed twice: {id}"));
                self.living_on.insert(*id, saved);
            }
            Change::Ends(id) => assert!(
                self.live.remove(id).is_some()
                    || self.living_on.remove(id).is_some()
                    || self.cycles.remove(id).is_some(),
                "closed twice: {id}"
            ),
        }
    }

    fn cycle(&mut self, id: GrantId) -> &mut SavedCycle {
        let cycle = self.cycles.get_mut(&id);
        cycle.unwrap_or_else(|| panic!("no such cycle: {id}"))
    }

    fn carry_out(&mut self) {
        let now = self.now();
        while let Some(effect) = self.engine.next_effect(now) {
            match effect {
                Effect::Ask(ask) => self.asked.push(ask),
                Effect::Close(closing) => {
                    let revoked = self.revoked.len();
                    let mut result = self.close(closing.rules());
                    if closing.is_gentle() {
                        self.revoked.truncate(revoked);
                    }
                    if result.is_ok() {
                        self.cut.extend(closing.connections());
                    }
                    if result.is_ok() {
                        result = self.open(closing.shorten());
                    }
                    self.engine.closed(closing, result, now);
                }
                Effect::Follow(_) => {}
                Effect::Forget(id) => drop(self.living_on.remove(&id)),
                Effect::GiveUp(id) => {
                    let saved = self.live.get_mut(&id);
                    let saved = saved.or_else(|| self.living_on.get_mut(&id));
                    saved.unwrap().is_given_up = true;
                }
                Effect::LookAt(connections) => self.looked_at = connections,
                Effect::LookUp(ask) => self.names.push(ask),
                Effect::Flush => {
                    let all: Vec<Rule> = self.kernel.keys().copied().collect();
                    let result = self.close(&all);
                    self.engine.flushed(result, now);
                }
                Effect::Open(opening) => {
                    let result = self.open(opening.holes());
                    self.engine.opened(opening, result);
                }
                Effect::Publish(status) => self.published.push(status),
                Effect::Reopen(holes) => {
                    let result = self.open(&holes);
                    self.engine.reopened(result, now);
                }
                Effect::Run(command) => {
                    let id = command.id;
                    let has_record = self.journal.iter().any(|event| {
                        event.kind() == EventKind::CommandRun && event.grant_id == id.to_string()
                    });
                    let closes = self.cycles.contains_key(&id);
                    let has_record = has_record || closes;
                    assert!(has_record, "{command:?} runs without a record");
                    self.ran.push(command.line.text.clone());
                    assert!(self.running.insert(id, command).is_none());
                    self.running_most = self.running_most.max(self.running.len());
                }
            }
        }
    }

    fn open(&mut self, holes: &[Hole]) -> Result<(), Fault> {
        let (done, result) = self.attempt(holes.len());
        let now = self.now();
        for hole in holes.iter().take(done) {
            let secs = u64::from(hole.timeout.secs());
            self.kernel
                .insert(hole.rule, now.steady + Duration::from_secs(secs));
            self.revoked.retain(|rule| *rule != hole.rule);
        }
        result
    }

    fn close(&mut self, rules: &[Rule]) -> Result<(), Fault> {
        let (done, result) = self.attempt(rules.len());
        for rule in rules.iter().take(done) {
            self.kernel.remove(rule);
            self.revoked.push(*rule);
        }
        result
    }

    /// How much of `len` a call of the firewall does, and how it ends.
    fn attempt(&mut self, len: usize) -> (usize, Result<(), Fault>) {
        let partly = self.faults.firewall;
        if !self.fails(partly.is_some()) {
            return (len, Ok(()));
        }
        let done = match partly.unwrap_or(Partly::Half) {
            Partly::Nothing => 0,
            Partly::Half => len.div_ceil(2),
            Partly::All => len,
        };
        (done, Err(Fault))
    }

    fn fails(&mut self, always: bool) -> bool {
        let is_this_one = self.faults.operation == Some(0);
        self.faults.operation = self.faults.operation.and_then(|n| n.checked_sub(1));
        always || is_this_one
    }

    /// What must hold after every turn, whatever has failed: what is open belongs to a grant that
    /// is recorded as open, for no longer than that grant.
    pub(crate) fn check(&self) {
        for (rule, closes) in &self.kernel {
            let longest = self.recorded(*rule);
            assert!(
                longest.is_some_and(|longest| *closes <= longest),
                "{rule} is open until {closes:?}, recorded until {longest:?}"
            );
        }
    }

    /// What must hold besides when nothing fails (any more): what is recorded as open is open.
    pub(crate) fn check_all_is_open(&self) {
        for saved in self.live.values() {
            for rule in &saved.rules {
                assert_eq!(
                    self.kernel.get(rule).copied(),
                    self.recorded(*rule),
                    "{rule} of {saved:?}"
                );
            }
        }
    }

    /// Until when a rule is open by the record.
    fn recorded(&self, rule: Rule) -> Option<Duration> {
        let grants = self.live.values();
        let grants = grants.filter(|saved| saved.rules.contains(&rule));
        let until = grants.map(|saved| saved.opened.until_ms - NOW_SECS * 1_000);
        until.max().map(Duration::from_millis)
    }

    pub(crate) fn kinds(&self) -> Vec<EventKind> {
        self.journal.iter().map(Event::kind).collect()
    }

    /// What is open, for people.
    pub(crate) fn open_rules(&self) -> Vec<String> {
        self.kernel.keys().map(ToString::to_string).collect()
    }

    /// The only event of this kind.
    pub(crate) fn event(&self, kind: EventKind) -> &Event {
        let mut events = self.journal.iter().filter(|event| event.kind() == kind);
        let event = events.next().unwrap();
        assert_eq!(events.next(), None);
        event
    }

    /// Reasons of all events of this kind.
    pub(crate) fn reasons(&self, kind: EventKind) -> Vec<&str> {
        let events = self.journal.iter().filter(|event| event.kind() == kind);
        events.map(|event| event.reason.as_str()).collect()
    }
}

pub(crate) fn datagram(source: IpAddr, packet: &str) -> Datagram<'_> {
    Datagram {
        source,
        destination: IpAddr::from([192, 0, 2, 100]),
        source_port: 40_000,
        destination_port: 62_201,
        transport: Transport::Udp,
        payload: packet.as_bytes(),
    }
}

pub(crate) fn at(secs: u64) -> Now {
    Now {
        wall_secs: NOW_SECS + secs,
        wall_nanos: 0,
        steady: Duration::from_secs(secs),
    }
}

/// A host that leads packets on wherever a stanza permits it.
fn gate_settings() -> gate::Settings {
    gate::Settings {
        nat: NatSettings {
            forward: true,
            local: true,
            names: true,
            ..NatSettings::default()
        },
        ..gate::Settings::default()
    }
}

/// Another run of the agent on the same host.
pub(crate) fn restarted(before: Host) -> Host {
    restarted_with(before, PORTS_AND_COMMANDS)
}

/// The same under this policy.
pub(crate) fn restarted_with(before: Host, access: &str) -> Host {
    let settings = Settings {
        gate: gate_settings(),
        limits: Limits::default(),
        capabilities: Capabilities::ALL,
        grant_prefix: *b"run two ",
        first_claim: 1_000_000,
        locked: None,
    };
    let policy = packets::compiled(access, 1, SharedKeys::None);
    Host {
        engine: Engine::new(settings, policy, at(before.secs)),
        running: BTreeMap::new(),
        ..before
    }
}
