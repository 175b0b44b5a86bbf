//! The end of a turn: record, then open. And what changes everything at once: another policy, a
//! changed firewall, the end.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::time::Duration;

use engine::{Hole, HoleTimeout, Rule};
use fleet::{Event, EventKind};
use gate::{Grant, Now};
use policy::Permitted;
use spa::ProtoPort;

use super::events;
use super::gate_thread::GateThread;
use super::grants::{Live, Origin, Revoked};
use crate::firewall::FirewallError;
use crate::journal::SavedPolicy;
use crate::orders::{Rejected, Standing};
use crate::policies::NewPolicy;

// === impl GateThread ===

impl GateThread {
    /// Commits everything that is staged, and opens what this turn granted. Nothing opens without
    /// its record on the disk.
    pub(super) fn settle(&mut self, now: Now) {
        if !self.commit() {
            self.opening.clear();
            return;
        }
        if self.opening.is_empty() {
            return;
        }
        let mut holes = Vec::new();
        let mut entries = Vec::new();
        for (seq, grant) in std::mem::take(&mut self.opening) {
            match &grant.permit().what() {
                Permitted::Command { .. } => self.commands.start(grant),
                Permitted::Ports(ports) => {
                    let rules = rules_of(&grant, ports);
                    let timeout = HoleTimeout::clamped(grant.permit().timeout_secs());
                    holes.extend(self.grants.holes(&rules, timeout, now.steady));
                    entries.push((seq, enter(grant, rules, timeout, now)));
                }
            }
        }
        match self.firewall.open(&longest(&mut holes)) {
            Ok(()) => {
                for (seq, live) in entries {
                    log_opened(&live);
                    self.grants.enter(seq, live);
                }
            }
            Err(cause) => self.undo(entries, &cause, now),
        }
    }

    /// Whether everything that was staged is on the disk now.
    fn commit(&mut self) -> bool {
        if !self.journal.has_staged() {
            return true;
        }
        match self.journal.commit() {
            Ok(last) => {
                if std::mem::take(&mut self.housekeeping.commit_failing) {
                    tracing::info!("the journal can be written again");
                }
                self.committed.send_if_modified(|seq| {
                    let grown = *seq != last;
                    *seq = last;
                    grown
                });
                true
            }
            Err(cause) => {
                // Once per trouble and once per grant it costs; not once per turn.
                if !self.housekeeping.commit_failing || !self.opening.is_empty() {
                    let source = std::error::Error::source(&cause).map(ToString::to_string);
                    let refused = self.opening.len();
                    tracing::error!(%cause, source, refused, "nothing opens without its record");
                }
                self.housekeeping.commit_failing = true;
                self.journal
                    .give_up_grants("the journal could not be written; nothing was opened");
                false
            }
        }
    }

    /// After a firewall error: makes sure that what was recorded as opened is closed, and says so.
    fn undo(&mut self, entries: Vec<(u64, Live)>, cause: &FirewallError, now: Now) {
        tracing::error!(%cause, grants = entries.len(), "cannot open");
        let held: BTreeSet<Rule> = self
            .grants
            .all_holes(now.steady)
            .iter()
            .map(|h| h.rule)
            .collect();
        let rules = entries.iter().flat_map(|(_, live)| &live.rules);
        let rules: Vec<Rule> = rules.filter(|rule| !held.contains(rule)).copied().collect();
        if let Err(cause) = self.firewall.close(&rules) {
            tracing::error!(%cause, "cannot close either; the holes end by themselves");
        }
        for (_, live) in entries {
            let reason = format!("not opened: {cause}");
            let event = events::closed(EventKind::GrantClosed, &live, now.wall_ms(), &reason);
            self.journal.stage_closed(live.id, event);
        }
        self.commit();
    }

    /// Enforces another policy, and closes what it would not give.
    pub(super) fn replace_policy(&mut self, new: NewPolicy, now: Now) {
        let NewPolicy {
            generation,
            digest,
            text,
            not_after_secs,
            replay_floor_secs,
            policy,
            compiled,
        } = new;
        let current = self.standing.borrow().clone();
        if generation < current.generation {
            tracing::warn!(
                generation,
                current = current.generation,
                "an older policy is ignored"
            );
            return;
        }
        match text {
            Some(text) => self.journal.stage_policy(SavedPolicy {
                generation,
                text,
                digest,
                not_after_secs,
                replay_floor_secs,
            }),
            None => self.journal.stage_access_file(generation, digest),
        }
        self.gate.replace(compiled);
        let changed = (generation, digest) != (current.generation, current.digest);
        if changed {
            let mut event = Event::new(EventKind::PolicyApplied, now.wall_ms());
            event.generation = generation;
            event.reason = format!("{} stanzas", policy.stanzas.len());
            self.journal.stage(event);
            tracing::info!(generation, stanzas = policy.stanzas.len(), "policy applied");
        } else if generation > 0 {
            tracing::info!(generation, "policy read again, unchanged");
        }
        self.listen_on(&policy.spa_server_ports());
        self.revoke_what_is_not_upheld(generation, now);
        if let Some(monitor) = &self.monitor {
            monitor.protect(protected(&self.protect, &policy));
        }
        // Acknowledged when it is saved. If the disk is full it is enforced nevertheless.
        self.settle(now);
        self.standing.send_if_modified(|standing| {
            let next = Standing {
                generation,
                digest,
                rejected: None,
                drift: standing.drift.take(),
            };
            let before = std::mem::replace(standing, next);
            before != *standing || changed
        });
    }

    /// Captures what goes to the ports that the policy names, too.
    fn listen_on(&mut self, ports: &BTreeSet<NonZeroU16>) {
        for capture in &mut self.captures {
            if let Err(cause) = capture.follow(ports) {
                let name = capture.name();
                tracing::error!(name, %cause, "cannot listen on every SPA_SERVER_PORT of the policy");
            }
        }
    }

    fn revoke_what_is_not_upheld(&mut self, generation: u64, now: Now) {
        let gate = &self.gate;
        let (gone, revoked) = self.grants.revoke(now.steady, |live| match &live.origin {
            Origin::Given(grant) => gate.upholds(grant, now),
            // Its message is not known any more: only the policy that gave it still gives it.
            Origin::Adopted(opened) => opened.generation == generation,
        });
        if gone.is_empty() {
            return;
        }
        let Revoked { close, shorten } = revoked;
        let closed = self.firewall.close(&close);
        if let Err(cause) = closed.and_then(|()| self.firewall.open(&shorten)) {
            tracing::error!(%cause, "cannot revoke; the holes end by themselves");
        }
        let reason = format!("policy generation {generation} does not give it");
        for (_, live) in gone {
            let at_ms = now.wall_ms();
            let event = events::closed(EventKind::GrantRevoked, &live, at_ms, &reason);
            tracing::info!(user = event.user, opened = event.opened, "grant revoked");
            self.journal.stage_closed(live.id, event);
        }
    }

    pub(super) fn reject_policy(
        &mut self,
        generation: u64,
        digest: [u8; 32],
        reasons: Vec<String>,
        now: Now,
    ) {
        for reason in &reasons {
            tracing::error!(
                generation,
                reason,
                "policy rejected; the old one stays in force"
            );
        }
        let mut event = Event::new(EventKind::PolicyRejected, now.wall_ms());
        event.generation = generation;
        event.reason = reasons.join("\n");
        self.journal.stage(event);
        self.standing.send_modify(|standing| {
            standing.rejected = Some(Rejected {
                generation,
                digest,
                reasons,
            });
        });
    }

    /// The ground was found changed, and is repaired: opens again what should be open.
    pub(super) fn note_drift(&mut self, drift: Option<String>, now: Now) {
        if let Some(found) = &drift {
            let mut event = Event::new(EventKind::Drift, now.wall_ms());
            event.generation = self.compiled().generation();
            event.reason.clone_from(found);
            self.journal.stage(event);
            let holes = self.grants.all_holes(now.steady);
            if let Err(cause) = self.firewall.open(&holes) {
                tracing::error!(%cause, "cannot open again what was open");
            }
        }
        self.standing.send_if_modified(|standing| {
            let changed = standing.drift != drift;
            standing.drift = drift;
            changed
        });
    }

    /// The end: says so, and closes what is open if it is to be closed.
    pub(super) fn stop(&mut self, now: Now) {
        self.settle(now);
        self.claims.close();
        for event in self.folds.end(now) {
            self.journal.stage(event);
        }
        if self.limits.flush_at_exit {
            if let Err(cause) = self.firewall.flush() {
                tracing::error!(%cause, "cannot close what is open; it ends by itself");
            }
            let (gone, _) = self.grants.revoke(now.steady, |_| false);
            for (_, live) in gone {
                let at_ms = now.wall_ms();
                let event = events::closed(EventKind::GrantClosed, &live, at_ms, "agent stopped");
                self.journal.stage_closed(live.id, event);
            }
        }
        let mut event = Event::new(EventKind::AgentStopped, now.wall_ms());
        event.generation = self.compiled().generation();
        self.journal.stage(event);
        self.settle(now);
    }
}

/// The ports to hide: those of the configuration and those of the policy.
pub(super) fn protected(configured: &[ProtoPort], policy: &policy::Policy) -> Vec<ProtoPort> {
    let all: BTreeSet<ProtoPort> = configured
        .iter()
        .copied()
        .chain(policy.protected_ports().iter())
        .collect();
    all.into_iter().collect()
}

fn rules_of(grant: &Grant, ports: &[ProtoPort]) -> Vec<Rule> {
    let address = grant.permit().address();
    let rule = |port: &ProtoPort| Rule::Accept {
        address,
        port: *port,
    };
    ports.iter().map(rule).collect()
}

fn enter(grant: Grant, rules: Vec<Rule>, timeout: HoleTimeout, now: Now) -> Live {
    let secs = u64::from(timeout.secs());
    Live {
        id: events::grant_id(&grant),
        origin: Origin::Given(Box::new(grant)),
        rules,
        deadline: now.steady + Duration::from_secs(secs),
        until_ms: now.wall_ms() + secs * 1_000,
    }
}

/// Of several holes for one rule in one batch, the one that is open longest: the kernel takes the
/// last word, and the later deadline must win.
fn longest(holes: &mut Vec<Hole>) -> Vec<Hole> {
    if holes.len() > 1 {
        holes.sort_unstable_by_key(|hole| (hole.rule, hole.timeout));
        holes.reverse();
        holes.dedup_by_key(|hole| hole.rule);
    }
    std::mem::take(holes)
}

fn log_opened(live: &Live) {
    let Origin::Given(grant) = &live.origin else {
        return;
    };
    let permit = &grant.permit();
    let Permitted::Ports(ports) = &permit.what() else {
        return;
    };
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    tracing::info!(
        user = grant.identity().user(),
        stanza = events::stanza(permit.name(), permit.stanza()),
        source = %grant.identity().source(),
        opened = %permit.address(),
        ports = ports.join(","),
        secs = permit.timeout_secs(),
        "grant opened"
    );
}
