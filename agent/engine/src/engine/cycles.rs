//! Command cycles: commands of the host's owner in place of the firewall, from the permit to the end.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use fleet::{Event, GrantId};
use gate::{Grant, Now};
use policy::Permitted;
use spa::Service;

use super::Engine;
use super::policy::upholds_recorded;
use crate::batch::Permits;
use crate::commands::{Command, CommandEnd, CommandLine, Ended};
use crate::cycles::{CycleStage, EarlyEnd, LiveCycle, SavedCycle};
use crate::effect::Effect;
use crate::end::End;
use crate::grants::Origin;
use crate::record::{self, Record};

/// Where a cycle is recovered of which this cannot be read.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

// === impl Engine ===

impl Engine {
    /// Takes over the command cycles of earlier runs. What was due while no agent ran is closed at
    /// once; a clock that was set back meanwhile lengthens nothing. To be called before anything else.
    pub fn recover_cycles(&mut self, saved: Vec<SavedCycle>, now: Now) {
        for saved in saved {
            let (id, stage) = (saved.id, saved.stage);
            let mut cycle = live_of(saved, now);
            match stage {
                CycleStage::Opening => {
                    let end = CommandEnd::Unknown("the agent ended while it ran".to_owned());
                    let event = record::cycle_command(&cycle, &end.into(), record::OPEN, now);
                    self.stage(Record::cycle_stands(event, id), Permits::Nothing);
                }
                CycleStage::Open => {}
                CycleStage::Closing => {
                    let reason = "again, since the agent ended while it ran";
                    cycle.ends = Some(EarlyEnd {
                        end: End::Closed,
                        reason: reason.to_owned(),
                        request: None,
                    });
                }
            }
            if cycle.until_ms <= now.wall_ms() && cycle.ends.is_none() {
                cycle.ends = Some(EarlyEnd {
                    end: End::Closed,
                    reason: "late, since it was due while the agent was not running".to_owned(),
                    request: None,
                });
            }
            self.cycles.enter(cycle);
        }
    }

    /// Whether a command of a cycle runs now: whoever stops may want to hear how it ends.
    #[must_use]
    pub fn runs_cycles(&self) -> bool {
        self.commands.runs_cycles()
    }

    /// Commands of messages that run now: whoever stops ends them, and hears how.
    #[must_use]
    pub fn message_commands(&self) -> Vec<GrantId> {
        self.commands.of_messages()
    }

    /// Takes over commands of messages of which an earlier run has recorded the start and no end: it was killed, and
    /// they with it. Each is recorded with that end. To be called before anything else.
    pub fn recover_commands(&mut self, started: Vec<Event>, now: Now) {
        for started in started {
            self.record(record::command_lost(started, now));
        }
    }

    /// Records the start of a cycle, whose opening command has its turn.
    pub(super) fn open_cycle(&mut self, line: CommandLine, grant: Grant, close: String, now: Now) {
        let secs = grant.permit().timeout_secs();
        let Permitted::Cycle(asked) = grant.permit().what() else {
            return;
        };
        let (id, port) = (self.ids.next(), asked.port);
        let address = grant.permit().address();
        let until_ms = now.wall_ms() + u64::from(secs) * 1_000;
        let event = record::cycle_opened(&grant, id, until_ms, &line.text, now);
        let cycle = LiveCycle {
            id,
            origin: Origin::Given(Box::new(grant)),
            address,
            port,
            close,
            deadline: now.steady + Duration::from_secs(secs.into()),
            until_ms,
            stage: CycleStage::Opening,
            ends: None,
            failures: 0,
        };
        let record = Record::cycle_opens(event, &cycle);
        let command = Command { id, line };
        self.stage(record, Permits::Cycle(command, Box::new(cycle)));
    }

    /// Runs the closing commands whose time has come, as far as there is room for them.
    pub(super) fn close_cycles(&mut self, now: Now) {
        while self.commands.may_close() {
            let Some(cycle) = self.cycles.take_due(now.steady) else {
                return;
            };
            let id = cycle.id;
            let event = record::cycle_closes(cycle, now);
            let line = CommandLine {
                text: cycle.close.clone(),
                rule: policy::CommandRule::default(),
            };
            self.commands.closes(id);
            let command = Command { id, line };
            let record = Record::cycle_closes(event, id);
            self.stage(record, Permits::CloseCycle(command));
        }
    }

    /// When the next closing command is to run, if there is room for it; else the end of another one
    /// is waited for.
    pub(super) fn cycles_deadline(&self) -> Option<Duration> {
        let next = self.cycles.next_deadline();
        next.filter(|_| self.commands.may_close())
    }

    /// What came of an opening command.
    pub(super) fn cycle_opened(&mut self, id: GrantId, ended: &Ended, now: Now) {
        let Some(cycle) = self.cycles.get(id) else {
            return;
        };
        if let CommandEnd::NotRun(why) = &ended.end {
            let reason = format!("not opened: {}: {why}", record::OPEN);
            let record = Record::cycle_ends(End::NotOpened, cycle, &reason, now);
            self.counters.not_opened += 1;
            self.stage(record, Permits::Nothing);
            self.cycles.remove(id);
            return;
        }
        let event = record::cycle_command(cycle, ended, record::OPEN, now);
        self.stage(Record::cycle_stands(event, id), Permits::Nothing);
        self.counters.opened += 1;
        self.cycles.opened(id);
        // It did a part of what it was to do.
        if matches!(ended.end, CommandEnd::TimedOut(_)) {
            let reason = format!("{} took too long", record::OPEN);
            self.end_cycle(id, End::Closed, &reason);
        }
    }

    /// What came of a closing command.
    pub(super) fn cycle_closed(&mut self, id: GrantId, ended: &Ended, now: Now) {
        let Some(cycle) = self.cycles.get(id) else {
            return;
        };
        if let CommandEnd::NotRun(_) = &ended.end {
            let event = record::cycle_command(cycle, ended, record::CLOSE, now);
            if self.cycles.retry(id, now.steady) {
                self.record(event);
            }
            return;
        }
        let (end, why) = match &cycle.ends {
            None => (End::Closed, String::new()),
            Some(ends) => (ends.end, format!("{}; ", ends.reason)),
        };
        let request = cycle.ends.as_ref().and_then(|ends| ends.request);
        let reason = format!("{why}{}: {ended}", record::CLOSE);
        let mut record = Record::cycle_ends(end, cycle, &reason, now);
        record.note_request(request);
        record.note_success(ended.end.is_success());
        self.count_end(end);
        self.stage(record, Permits::Nothing);
        self.cycles.remove(id);
    }

    /// Ends every cycle that `keep` does not keep, and refuses those that are not recorded yet.
    pub(super) fn end_cycles(
        &mut self,
        end: End,
        reason: &str,
        keep: impl Fn(&Self, &LiveCycle) -> bool,
    ) {
        let gone = self.cycles.iter().filter(|cycle| !keep(self, cycle));
        let gone: Vec<GrantId> = gone.map(|cycle| cycle.id).collect();
        for id in gone {
            self.end_cycle(id, end, reason);
        }
        let staged = self.items.iter().enumerate().filter(
            |(_, item)| matches!(&item.permits, Permits::Cycle(_, cycle) if !keep(self, cycle)),
        );
        let staged: Vec<usize> = staged.map(|(place, _)| place).collect();
        for place in staged {
            if let Some(item) = self.items.get_mut(place) {
                item.permits = Permits::Nothing;
                item.record.refuse(reason);
                self.commands.not_started();
            }
        }
    }

    fn end_cycle(&mut self, id: GrantId, end: End, reason: &str) {
        self.cycles.end_now(
            id,
            EarlyEnd {
                end,
                reason: reason.to_owned(),
                request: None,
            },
        );
    }

    /// Whether the policy in force would give this cycle: a command in place of the firewall for the
    /// same port. Which command that is does not matter: what was opened is closed by what was written
    /// then.
    pub(super) fn upholds_cycle(&self, cycle: &LiveCycle, generation: u64, now: Now) -> bool {
        let is_it = |permit: &policy::Permit| match permit.what() {
            Permitted::Cycle(given) => given.port == cycle.port,
            Permitted::Ports(_)
            | Permitted::Forward(_)
            | Permitted::Close { .. }
            | Permitted::Command { .. } => false,
        };
        match &cycle.origin {
            Origin::Given(grant) => self.gate.upholds_as(grant, now, &is_it),
            Origin::Recovered(opened) => {
                upholds_recorded(&self.gate, opened, None, generation, now, &is_it)
            }
        }
    }

    /// The cycles that this user has open for an address, of any of these ports; of all if there are
    /// none.
    pub(super) fn cycles_of(
        &self,
        asking: &gate::Identity,
        address: IpAddr,
        ports: &[Service],
    ) -> Vec<GrantId> {
        let is_named = |cycle: &LiveCycle| {
            ports.is_empty() || ports.iter().any(|port| port.overlaps(cycle.port))
        };
        let all = self.cycles.iter();
        let hers = all.filter(|cycle| cycle.is_of(asking) && cycle.address == address);
        let open = hers.filter(|cycle| cycle.stage != CycleStage::Closing && cycle.ends.is_none());
        open.filter(|cycle| is_named(cycle))
            .map(|cycle| cycle.id)
            .collect()
    }

    /// Carries out, or not, what the record of a closing command was for: that waits for no disk.
    pub(super) fn run_closing(&mut self, command: Command) {
        self.effects.push_back(Effect::Run(command));
    }
}

fn live_of(saved: SavedCycle, now: Now) -> LiveCycle {
    let SavedCycle {
        id,
        close,
        opened,
        stage: _,
    } = saved;
    let until_ms = opened.until_ms;
    let left = until_ms.saturating_sub(now.wall_ms());
    let whole = until_ms.saturating_sub(opened.at_ms);
    let port = opened.ports.first().and_then(|port| port.parse().ok());
    LiveCycle {
        id,
        address: opened.opened.parse().unwrap_or(NOWHERE),
        port: port.unwrap_or(Service::Echo),
        close,
        deadline: now.steady + Duration::from_millis(left.min(whole)),
        until_ms,
        origin: Origin::Recovered(Box::new(opened)),
        stage: CycleStage::Open,
        ends: None,
        failures: 0,
    }
}
