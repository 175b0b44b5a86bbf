//! What leading packets on needs of others: names looked up, and a kernel that forwards.

use engine::{Forwards, NameAsk};
use gate::Now;
use policy::{NatAccess, Policy, Stanza};

use super::GateThread;
use crate::kernel_switches;
use crate::orders::Answer;

// === impl GateThread ===

impl GateThread {
    pub(super) fn look_up(&mut self, ask: NameAsk, now: Now) {
        let seq = ask.seq;
        if let Some(answer) = self.host.names.look_up(ask, now.steady) {
            self.name_answered(seq, &answer, now);
        }
    }

    pub(super) fn name_answered(&mut self, seq: u64, answer: &Answer, now: Now) {
        let answer = answer.as_deref().map_err(String::as_str);
        self.engine.name_answered(seq, answer, now);
    }

    /// Says what of a policy leads packets on where the host does not, and where a stanza limits
    /// nothing.
    pub(super) fn warn_of_nat(&self, policy: &Policy) {
        let leads = |stanza: &&Stanza| stanza.nat.force.is_some() || stanza.nat.forward_all;
        if !self.host.leads_on {
            if let Some(stanza) = policy.stanzas.iter().find(leads) {
                let stanza = stanza.label();
                tracing::warn!(
                    stanza,
                    "the policy leads packets on, and the configuration of this host leads none"
                );
            }
            return;
        }
        let unlimited = |stanza: &&Stanza| stanza.nat.access == NatAccess::Everywhere;
        if let Some(stanza) = policy.stanzas.iter().find(unlimited) {
            let stanza = stanza.label();
            tracing::warn!(
                stanza,
                "without NAT_ACCESS packets may be led to every address behind this host"
            );
        }
    }

    /// An administrator may switch it on and off at any time; nobody tells.
    pub(super) fn look_at_forwarding(&mut self) {
        if !self.host.leads_on {
            return;
        }
        let forwards = kernel_switches::forwards();
        if self.regular.forwards != Some(forwards) {
            if let Some(fault) = not_forwarded(forwards) {
                tracing::warn!("{fault}; what leads to other hosts is refused");
            }
            self.regular.forwards = Some(forwards);
            self.engine.note_forwards(forwards);
        }
    }

    /// What keeps packets from being led on, for people.
    pub(super) fn nat_fault(&self) -> Option<String> {
        self.regular
            .forwards
            .and_then(not_forwarded)
            .map(str::to_owned)
    }
}

fn not_forwarded(forwards: Forwards) -> Option<&'static str> {
    match (forwards.v4, forwards.v6) {
        (true, true) => None,
        (false, false) => Some(
            "the kernel forwards nothing (net.ipv4.ip_forward and net.ipv6.conf.all.forwarding are off)",
        ),
        (false, true) => Some("the kernel forwards no IPv4 (net.ipv4.ip_forward is off)"),
        (true, false) => Some("the kernel forwards no IPv6 (net.ipv6.conf.all.forwarding is off)"),
    }
}
