//! What becomes of what the gate decides, as far as that can be said before the commit.

use std::time::Duration;

use gate::{Decision, Grant, Now, Pending, Refusal};
use policy::{CommandRule, Permitted};

use super::Engine;
use super::close::Wanted;
use super::refresh::Until;
use super::rules::{leads_elsewhere, rules_of};
use crate::batch::Permits;
use crate::claims::ClaimAnswer;
use crate::commands::{Command, CommandLine};
use crate::connections::LIVING_ON_MAX;
use crate::cycles::CYCLES_MAX;
use crate::effect::Effect;
use crate::grants::{LiveGrant, Origin};
use crate::record::{self, Record};
use crate::rule::{HoleTimeout, Rule};

// === impl Engine ===

impl Engine {
    /// Takes the controller's answer to the [`ClaimAsk`](crate::ClaimAsk) of this number. One that
    /// comes too late is ignored.
    pub fn claim_answered(&mut self, seq: u64, answer: &ClaimAnswer, now: Now) {
        let Some(pending) = self.claims.answered(seq) else {
            return;
        };
        let concluded = match answer {
            ClaimAnswer::Won => Ok(pending.won()),
            ClaimAnswer::Lost { held_by } => Err(Box::new(pending.lost(held_by))),
            ClaimAnswer::Unreachable => pending.unreachable(),
        };
        self.conclude(concluded, now);
    }

    pub(super) fn follow(&mut self, decision: Decision, now: Now) {
        match decision {
            Decision::Grant(grant) => self.permit(grant, now),
            Decision::Claim(pending) => self.ask(pending, now),
            Decision::Refused(refusal) => self.refuse(&refusal, now),
            // Whatever became of the first is the answer; the gate has counted it.
            Decision::Duplicate => {}
        }
    }

    pub(super) fn conclude(&mut self, concluded: Result<Grant, Box<Refusal>>, now: Now) {
        match concluded {
            Ok(grant) => self.permit(grant, now),
            Err(refusal) => self.refuse(&refusal, now),
        }
    }

    fn ask(&mut self, pending: Pending, now: Now) {
        // Nobody else is to be kept from it by a host that grants nothing.
        if let Some(reason) = self.refusal_of_lock() {
            self.record(record::claim_given_up(pending.identity(), &reason, now));
            return;
        }
        match self.claims.ask(pending, now.steady) {
            Ok(ask) => self.effects.push_back(Effect::Ask(ask)),
            Err(pending) => self.conclude(pending.unreachable(), now),
        }
    }

    pub(super) fn permit(&mut self, grant: Grant, now: Now) {
        if let Some(reason) = self.refusal_of_lock() {
            self.refuse_grant(&grant, &reason, now);
            return;
        }
        if let Some(name) = grant.permit().unresolved() {
            self.look_up(name.to_owned(), grant, now);
            return;
        }
        match grant.permit().what() {
            Permitted::Ports(_) | Permitted::Forward(_) => {
                let rules = rules_of(grant.permit());
                self.permit_ports(grant, rules, now);
            }
            Permitted::Close { ports, cut } => {
                let wanted = Wanted {
                    ports: ports.clone(),
                    cut: *cut,
                };
                self.close_on_request(&grant, &wanted, now);
            }
            Permitted::Cycle(_) if self.cycles.len() >= CYCLES_MAX => {
                let reason = "too many command cycles are open on this host";
                self.refuse_over_limit(&grant, reason, now);
            }
            Permitted::Cycle(cycle) => {
                let (text, rule) = (cycle.open.clone(), CommandRule::default());
                self.enqueue(CommandLine { text, rule }, grant, now);
            }
            Permitted::Command { text, rule } => {
                let (text, rule) = (text.clone(), rule.clone());
                self.enqueue(CommandLine { text, rule }, grant, now);
            }
        }
    }

    fn enqueue(&mut self, line: CommandLine, grant: Grant, now: Now) {
        if let Err(grant) = self.commands.enqueue(line, grant) {
            self.refuse_over_limit(&grant, "too many commands wait on this host", now);
        }
        self.start_commands(now);
    }

    fn permit_ports(&mut self, grant: Grant, rules: Vec<Rule>, now: Now) {
        let secs = HoleTimeout::clamped(grant.permit().timeout_secs()).secs();
        let until = Until {
            deadline: now.steady + Duration::from_secs(secs.into()),
            ms: now.wall_ms() + u64::from(secs) * 1_000,
        };
        let Some((grant, rules)) = self.refresh(grant, rules, until, now) else {
            return;
        };
        if self.grants.len() + self.opening + self.closing >= self.limits.grants_max {
            self.refuse_over_limit(&grant, "too many grants are open on this host", now);
            return;
        }
        if self.past.len() >= LIVING_ON_MAX {
            let reason = "too many grants live on in connections on this host";
            self.refuse_over_limit(&grant, reason, now);
            return;
        }
        let unsupported = |rule| self.capabilities.can(rule).err();
        if let Some(unsupported) = rules.iter().find_map(unsupported) {
            self.refuse_grant(&grant, &unsupported.to_string(), now);
            return;
        }
        let client = grant.permit().address();
        if let Some(reason) = self.forwards.refusal(client)
            && leads_elsewhere(grant.permit(), |address| self.gate.is_own(address))
        {
            self.refuse_grant(&grant, reason, now);
            return;
        }
        // Nobody chooses where another one's packets go.
        if self
            .grants
            .led_by_another(grant.identity(), &rules, now.steady)
        {
            let reason = "the same is led to another place for another user just now: ask for another port, or again when that has ended";
            self.refuse_grant(&grant, reason, now);
            return;
        }
        let id = self.ids.next();
        let blocked = self.blocked(&rules);
        let event = record::opened(&grant, id, until.ms, &blocked, now);
        let live = LiveGrant {
            id,
            origin: Origin::Given(Box::new(grant)),
            rules,
            deadline: until.deadline,
            until_ms: until.ms,
        };
        self.opening += 1;
        self.note_staged(&live);
        self.stage(Record::opens(event, &live), Permits::Open(Box::new(live)));
    }

    /// What of the host's own rules would drop what these let in; empty for nothing.
    pub(super) fn blocked(&self, rules: &[Rule]) -> String {
        let mut blocked: Vec<&str> = Vec::new();
        for obstacle in rules.iter().filter_map(|rule| self.obstacles.of(rule)) {
            if !blocked.contains(&obstacle) {
                blocked.push(obstacle);
            }
        }
        blocked.join("; ")
    }

    /// Records the start of every command whose turn has come.
    pub(super) fn start_commands(&mut self, now: Now) {
        while let Some((line, grant)) = self.commands.take_next() {
            if let Permitted::Cycle(cycle) = grant.permit().what()
                && let Some(close) = cycle.close.clone()
            {
                self.open_cycle(line, grant, close, now);
                continue;
            }
            let id = self.ids.next();
            let event = record::command_started(&grant, id, &line, now);
            let command = Command { id, line };
            self.stage(Record::new(event), Permits::Run(command, Box::new(grant)));
        }
    }

    pub(super) fn refuse_over_limit(&mut self, grant: &Grant, reason: &str, now: Now) {
        self.counters.over_limit += 1;
        self.refuse_grant(grant, reason, now);
    }

    pub(super) fn refuse_grant(&mut self, grant: &Grant, reason: &str, now: Now) {
        if let Some(event) = self.totals.grant_refused(grant, reason, now) {
            self.record(event);
        }
    }

    fn refuse(&mut self, refusal: &Refusal, now: Now) {
        let Some(identity) = &refusal.authentic else {
            self.totals.stranger(refusal.source);
            return;
        };
        if let Some(event) = self.totals.refused(refusal, identity, now) {
            self.record(event);
        }
    }
}
