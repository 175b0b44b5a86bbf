//! Another policy, and a firewall that somebody else has changed.

use std::collections::BTreeSet;
use std::iter;
use std::net::IpAddr;
use std::sync::Arc;

use fleet::{Event, GrantId};
use gate::{CompiledPolicy, Gate, Now};
use ipnet::IpNet;
use policy::Permit;
use spa::{Fingerprint, Service};

use super::Engine;
use super::rules::{asks_for, led_to_of_text, opened_at};
use crate::batch::{Item, Permits};
use crate::effect::Effect;
use crate::end::End;
use crate::grants::{LiveGrant, Origin};
use crate::record::{self, Record};
use crate::status::{HostStatus, Rejected, Status};

/// What became of a policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Adoption {
    /// It is enforced from now on.
    Applied,
    /// It is enforced, and says what the one before said.
    Unchanged,
    /// It is older than the one in force, of this generation, and ignored.
    Older {
        /// The generation in force.
        current: u64,
    },
}

// === impl Engine ===

impl Engine {
    /// Enforces another policy, whose text has this SHA-256, and closes what it would not give.
    /// Never an older one.
    pub fn replace_policy(
        &mut self,
        policy: Arc<CompiledPolicy>,
        digest: [u8; 32],
        now: Now,
    ) -> Adoption {
        let generation = policy.generation();
        let current = self.status.generation;
        if generation < current {
            return Adoption::Older { current };
        }
        let status = Status {
            generation,
            digest,
            rejected: None,
            drift: self.status.drift.take(),
            host: std::mem::take(&mut self.status.host),
            locked: self.status.locked.take(),
        };
        let before = std::mem::replace(&mut self.status, status);
        let changed = (generation, digest) != (before.generation, before.digest);

        self.gate.replace(Arc::clone(&policy));
        self.effects.push_back(Effect::Follow(Arc::clone(&policy)));
        self.revoke(generation, now);
        if changed {
            let stanzas = policy.policy().stanzas.len();
            let event = record::policy_applied(generation, stanzas, now);
            self.stage(Record::new(event), Permits::Publish);
            return Adoption::Applied;
        }
        if before.rejected.is_some() {
            self.effects.push_back(Effect::Publish(self.status.clone()));
        }
        Adoption::Unchanged
    }

    /// A policy could not be used; the old one stays.
    pub fn reject_policy(&mut self, rejected: Rejected, now: Now) {
        let event = record::policy_rejected(rejected.generation, &rejected.reasons, now);
        self.status.rejected = Some(rejected);
        self.stage(Record::new(event), Permits::Publish);
    }

    /// The firewall was found as it should be (`None`), or not, and has been repaired: then what
    /// should be open is opened again.
    pub fn firewall_drifted(&mut self, drift: Option<String>, now: Now) {
        let changed = self.status.drift != drift;
        self.status.drift = drift;
        if let Some(found) = &self.status.drift {
            let generation = self.gate.compiled().generation();
            let event = record::drift(generation, found, now);
            self.reopen_at = Some(now.steady);
            let permits = if changed {
                Permits::Publish
            } else {
                Permits::Nothing
            };
            self.stage(Record::new(event), permits);
        } else if changed {
            self.effects.push_back(Effect::Publish(self.status.clone()));
        }
    }

    /// Whoever changes the packet filter does not answer, for this reason: what was to be opened since
    /// then is not open.
    pub fn filter_is_silent(&mut self, why: &str, now: Now) {
        let generation = self.gate.compiled().generation();
        let event = record::drift(generation, why, now);
        self.stage(Record::new(event), Permits::Nothing);
    }

    /// He answers again: what is to be open is opened again.
    pub fn filter_answers(&mut self, what: &str, now: Now) {
        self.filter_is_silent(what, now);
        self.reopen_at = Some(now.steady);
    }

    /// Something about the host is otherwise than before; who is told what is in force hears it.
    pub fn note_host(&mut self, change: impl FnOnce(&mut HostStatus)) {
        let before = self.status.host.clone();
        change(&mut self.status.host);
        // A policy is acknowledged when it is recorded, with what holds then.
        let is_due = |item: &Item| matches!(item.permits, Permits::Publish);
        if self.status.host != before && !self.items.iter().any(is_due) {
            self.effects.push_back(Effect::Publish(self.status.clone()));
        }
    }

    /// Closes what the policy in force would not give, also what lives on in connections only, and
    /// refuses commands that wait and that it
    /// would not run.
    fn revoke(&mut self, generation: u64, now: Now) {
        if self.status.locked.is_some() {
            self.close_for_lock(now);
            return;
        }
        let gate = &self.gate;
        let keep = |live: &LiveGrant| match &live.origin {
            Origin::Given(grant) => {
                gate.upholds_as(grant, now, &|permit| asks_for(permit, &live.rules))
            }
            // The same generation may have another text: a lock or a removal gives no new number.
            Origin::Recovered(opened) => {
                let (at, is_it) = (opened_at(&live.rules), |permit: &Permit| {
                    asks_for(permit, &live.rules)
                });
                upholds_recorded(gate, opened, at, generation, now, &is_it)
            }
        };
        let staged = self.items.iter_mut().filter_map(Item::staged);
        let staged: BTreeSet<GrantId> = staged
            .filter(|live| !keep(live))
            .map(|live| live.id)
            .collect();
        let gone = self.grants.take_out(keep);
        let connections = &self.connections;
        let past = self
            .past
            .take_out(|past| past.lives_on(connections) && !keep(&past.live));
        let waiting = self.commands.give_up(|grant| gate.upholds(grant, now));
        let names = self.names.give_up(|grant| gate.upholds(grant, now));
        let reason = format!("policy generation {generation} does not give it");
        for grant in waiting.into_iter().chain(names) {
            self.refuse_grant(&grant, &reason, now);
        }
        self.withdraw(|live| staged.contains(&live.id), &reason);
        self.cut_past(past, &reason, now);
        self.end_cycles(End::Revoked, &reason, |engine, cycle| {
            engine.upholds_cycle(cycle, generation, now)
        });
        self.close_cycles(now);
        if !gone.is_empty() {
            self.close(gone, End::Revoked, reason);
        }
    }
}

/// As the audit writes it: sixteen hexadecimal digits, or the fingerprint of an OpenPGP key, of which
/// sixteen are the key id.
fn fingerprint(text: &str) -> Option<Fingerprint> {
    let text = match text.len() {
        40 => text.get(24..)?,
        64 => text.get(..16)?,
        _ => text,
    };
    let number = u64::from_str_radix(text, 16).ok()?;
    (text.len() == 16).then(|| Fingerprint(number.to_be_bytes()))
}

fn first_port(service: &Service) -> Option<u16> {
    match service {
        Service::Ports(range) => Some(range.first().get()),
        Service::Echo => None,
    }
}

/// As the audit writes it: a network, or an address alone.
fn network(text: &str) -> Option<IpNet> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address.ok().or_else(|| text.parse().ok())
}

/// Whether the policy in force would give what an earlier run of the agent has opened. Its message
/// is not known any more, but what was recorded of it.
pub(super) fn upholds_recorded(
    gate: &Gate,
    opened: &Event,
    at: Option<IpAddr>,
    generation: u64,
    now: Now,
    is_it: &dyn Fn(&Permit) -> bool,
) -> bool {
    let is_same = opened.generation == generation;
    let asked = opened
        .ports
        .iter()
        .filter(|port| *port != policy::EVERYTHING);
    let ports: Option<Vec<Service>> = asked.map(|port| port.parse().ok()).collect();
    let first_port = ports.iter().flatten().find_map(first_port);
    let recorded = || {
        Some(gate::Recorded {
            key: fingerprint(&opened.key)?,
            user: opened.user.clone(),
            source: opened.source.parse().ok()?,
            opens: iter::once(&opened.opened)
                .chain(&opened.also_opened)
                .map(|text| network(text))
                .collect::<Option<_>>()?,
            destination: at.filter(|_| opened.forwarded_to.is_empty()),
            led_to: led_to_of_text(&opened.forwarded_to, first_port),
            ports: ports.clone()?,
            same_generation_secs: is_same.then_some(opened.at_ms / 1_000),
        })
    };
    recorded().is_some_and(|recorded| gate.upholds_recorded(recorded, now, is_it))
}
