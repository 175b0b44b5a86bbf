//! Carrying out what the engine wants done, and telling it what came of that.

use std::collections::BTreeSet;

use engine::{ClaimAnswer, ClaimAsk, Closing, Command, Connection, Effect, Hole, Opening};
use gate::{CompiledPolicy, Now};
use policy::{Policy, Stanza};
use program::OneLine;
use spa::Service;

use super::{GateThread, log};
use crate::clock;
use crate::firewall::FirewallError;

// === impl GateThread ===

impl GateThread {
    pub(super) fn carry_out_effects(&mut self, now: Now) {
        while let Some(effect) = self.engine.next_effect(now) {
            match effect {
                Effect::Ask(ask) => self.ask(ask, now),
                Effect::Close(closing) => self.close(closing, now),
                Effect::Follow(policy) => self.follow(&policy),
                Effect::Flush => self.flush(now),
                Effect::Forget(id) => self.host.journal.stage_forgotten(id),
                Effect::GiveUp(id) => self.host.journal.stage_given_up(id),
                Effect::LookAt(connections) => self.look_at(connections),
                Effect::LookUp(ask) => self.look_up(ask, now),
                Effect::Open(opening) => self.open(opening, now),
                Effect::Publish(status) => drop(self.ends.status.send_replace(status)),
                Effect::Reopen(holes) => self.reopen(&holes, now),
                Effect::Run(command) => self.start(command, now),
            }
        }
    }

    fn ask(&mut self, ask: ClaimAsk, now: Now) {
        let seq = ask.seq;
        let claims = self.ends.claims.as_ref();
        if claims.is_none_or(|claims| claims.try_send(ask).is_err()) {
            self.engine
                .claim_answered(seq, &ClaimAnswer::Unreachable, now);
        }
    }

    fn look_at(&mut self, connections: Vec<Connection>) {
        if let Some(control) = &mut self.host.control {
            control.look_at(connections);
        }
    }

    fn open(&mut self, opening: Opening, now: Now) {
        if let Some(control) = &mut self.host.control {
            control.follow(opening.holes());
        }
        let result = self.host.holes.open(opening.holes());
        match &result {
            Ok(()) => {
                let took = clock::now().steady.saturating_sub(now.steady);
                self.latency.note(took, opening.grants() as u64);
                // Of what is blocked that was said when it was recorded.
                for (id, grant, rules) in opening.given() {
                    if !self.engine.is_blocked(rules) {
                        log::opened(id, grant, rules, "grant opened");
                    }
                }
                for (id, grant, rules) in opening.refreshed() {
                    log::opened(id, grant, rules, "grant refreshed");
                }
            }
            Err(cause) => {
                let error = program::one_line(cause);
                tracing::error!(%error, grants = opening.grants(), "cannot open");
            }
        }
        self.engine.opened(opening, outcome(&result));
    }

    fn close(&mut self, closing: Closing, now: Now) {
        let holes = &mut self.host.holes;
        let (mut rules, connections) = (closing.rules(), closing.connections());
        let mut result = Ok(());
        if closing.is_gentle() && !rules.is_empty() {
            result = holes.end(rules);
            rules = &[];
        }
        if result.is_ok() && !(rules.is_empty() && connections.is_empty()) {
            result = holes.close(rules, connections);
        }
        if result.is_ok() && !closing.shorten().is_empty() {
            result = holes.open(closing.shorten());
        }
        if let Err(cause) = &result {
            let error = program::one_line(cause);
            tracing::error!(%error, "cannot close; it is tried again, and ends by itself");
        }
        self.engine.closed(closing, outcome(&result), now);
    }

    fn flush(&mut self, now: Now) {
        let result = self.host.holes.flush();
        if let Err(cause) = &result {
            let error = program::one_line(cause);
            tracing::error!(%error, "cannot close what is open; it ends by itself");
        }
        self.engine.flushed(outcome(&result), now);
    }

    fn reopen(&mut self, holes: &[Hole], now: Now) {
        let result = self.host.holes.open(holes);
        if let Err(cause) = &result {
            let error = program::one_line(cause);
            tracing::error!(%error, "cannot open again what was open; it is tried again");
        }
        self.engine.reopened(outcome(&result), now);
    }

    fn start(&mut self, command: Command, now: Now) {
        let id = command.id;
        if let Err(ended) = self.host.commands.start(command) {
            self.engine.command_ended(id, &ended, now);
        }
    }

    /// Captures what goes to the ports that the policy names, too, and hides those that it protects.
    fn follow(&mut self, compiled: &CompiledPolicy) {
        let policy = compiled.policy();
        let ports = policy.spa_server_ports();
        for capture in &mut self.host.captures {
            if let Err(cause) = capture.follow(&ports) {
                let name = capture.name();
                tracing::error!(
                    name,
                    error = %program::one_line(&cause),
                    "cannot listen on every SPA_SERVER_PORT of the policy"
                );
            }
        }
        let wants_commands = |stanza: &&Stanza| stanza.command.is_some() || stanza.cycle.is_some();
        if let Some(stanza) = policy.stanzas.iter().find(wants_commands)
            && !self.engine.status().host.commands
        {
            let stanza = stanza.label();
            tracing::warn!(
                stanza,
                "the policy permits commands, and the configuration of this host lets none run"
            );
        }
        self.follow_syns(compiled);
        self.warn_of_nat(policy);
        let mut protected = protected(&self.host.protect, policy);
        if compiled.generation() == 0 {
            // No policy yet: nothing that says what may be public.
            protected.extend(&self.host.hidden_before);
            protected.sort_unstable();
            protected.dedup();
        }
        let own = self.host.protect.clone();
        self.engine.note_host(|host| {
            host.protected.clone_from(&protected);
            host.own_protected = own;
        });
        if let Some(control) = &mut self.host.control {
            control.protect(protected);
        }
    }
}

/// The ports to hide: those of the configuration and those of the policy.
fn protected(configured: &[Service], policy: &Policy) -> Vec<Service> {
    let all: BTreeSet<Service> = configured
        .iter()
        .copied()
        .chain(policy.protected_ports().iter())
        .collect();
    all.into_iter().collect()
}

/// What the record says of a failure: all of it, also what caused it.
fn outcome(result: &Result<(), FirewallError>) -> Result<(), OneLine<'_>> {
    result
        .as_ref()
        .copied()
        .map_err(|error| program::one_line(error))
}
