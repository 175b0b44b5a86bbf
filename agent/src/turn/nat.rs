//! What leading packets on needs of others: names looked up, and a kernel that forwards.

use engine::{Forwards, NameAsk};
use gate::Now;
use policy::{NatAccess, NatSettings, Policy, Stanza};

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
        // That was said at the start.
        if self.host.cannot_lead.is_some() {
            return;
        }
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
        if !self.host.leads_on || self.host.cannot_lead.is_some() {
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
        let not_forwarded = || self.regular.forwards.and_then(not_forwarded);
        let cannot = self.host.cannot_lead.clone();
        cannot.or_else(|| not_forwarded().map(str::to_owned))
    }
}

/// What a host is configured to lead on, and its packet filter cannot.
pub(crate) fn cannot_lead(wants: &NatSettings, backend: &str, forward: bool) -> Option<String> {
    let wanted = [
        ("nat_forward", wants.forward),
        ("nat_local", wants.local),
        ("destination_rule", wants.destination_rule),
    ];
    let wanted = wanted.iter().filter(|(_, is_wanted)| *is_wanted);
    let wanted: Vec<&str> = wanted.map(|(name, _)| *name).collect();
    (!forward && !wanted.is_empty()).then(|| {
        format!(
            "the back end {backend} cannot do {}, which the configuration asks for: what needs it is \
             refused; the back end nftables can",
            wanted.join(", ")
        )
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_configured_and_the_back_end_cannot_is_said_by_its_names() {
        let wants = NatSettings {
            forward: true,
            destination_rule: true,
            ..NatSettings::default()
        };
        let said = cannot_lead(&wants, "iptables", false).unwrap();
        assert!(said.contains("iptables cannot do nat_forward, destination_rule,"));
        assert_eq!(cannot_lead(&wants, "nftables", true), None);
        assert_eq!(
            cannot_lead(&NatSettings::default(), "iptables", false),
            None
        );
    }
}
