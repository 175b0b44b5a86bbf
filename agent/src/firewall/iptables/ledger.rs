//! Which rules for networks and ranges of ports are open, and until when.
//!
//! A set has one element for each port of a range, and one timeout for each element: of two ranges
//! that share a port, the one that closes first would close it for the other. So what an element
//! should be is worked out from all rules that are open. Pure; times are steady.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

use engine::{HoleTimeout, Rule};
use ipnet::IpNet;
use spa::{PortRange, Service};

/// What is open.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Ledger(BTreeMap<Rule, Duration>);

/// A part of a rule whose elements have one timeout; `None` when they are to go.
pub(super) type Part = (Rule, Option<HoleTimeout>);

// === impl Ledger ===

impl Ledger {
    /// Opens a rule until `deadline`, and says what becomes of its elements.
    pub(super) fn open(&mut self, rule: Rule, deadline: Duration, now: Duration) -> Vec<Part> {
        self.0.retain(|_, until| *until > now);
        self.0.insert(rule, deadline);
        self.parts(rule, now)
    }

    /// Closes a rule, and says what becomes of its elements.
    pub(super) fn close(&mut self, rule: Rule, now: Duration) -> Vec<Part> {
        self.0.retain(|_, until| *until > now);
        self.0.remove(&rule);
        self.parts(rule, now)
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The rule in parts, each as long as the longest of the rules that are open there.
    fn parts(&self, rule: Rule, now: Duration) -> Vec<Part> {
        let Some((net, Service::Ports(range))) = place(&rule) else {
            return vec![(
                rule,
                self.0
                    .get(&rule)
                    .map(|until| HoleTimeout::until(*until, now)),
            )];
        };
        let others: Vec<(PortRange, Duration)> = self
            .0
            .iter()
            .filter_map(|(other, until)| match place(other) {
                Some((from, Service::Ports(ports)))
                    if from == net && Service::Ports(ports).overlaps(Service::Ports(range)) =>
                {
                    Some((ports, *until))
                }
                Some(_) | None => None,
            })
            .collect();
        let mut begins: Vec<NonZeroU16> = vec![range.first()];
        for (ports, _) in &others {
            begins.push(ports.first());
            begins.extend(ports.last().checked_add(1));
        }
        begins.retain(|port| (range.first()..=range.last()).contains(port));
        begins.sort_unstable();
        begins.dedup();
        let ends = begins
            .iter()
            .skip(1)
            .filter_map(|next| NonZeroU16::new(next.get() - 1));
        let ends: Vec<NonZeroU16> = ends.chain([range.last()]).collect();
        let parts = begins.iter().zip(ends).filter_map(|(first, last)| {
            let ports = PortRange::new(range.protocol(), *first, last)?;
            let holds = others
                .iter()
                .filter(|(other, _)| Service::Ports(*other).covers(Service::Ports(ports)));
            let until = holds.map(|(_, until)| *until).max();
            let part = Rule::Accept {
                from: net,
                to: Service::Ports(ports),
            };
            Some((part, until.map(|until| HoleTimeout::until(until, now))))
        });
        parts.collect()
    }
}

fn place(rule: &Rule) -> Option<(IpNet, Service)> {
    match rule {
        Rule::Accept { from, to } => Some((*from, *to)),
        Rule::Forward(_) => None,
    }
}

/// Elements of ports that follow each other, put together again as far as they end together.
pub(super) fn joined(mut elements: Vec<(Rule, HoleTimeout)>) -> Vec<(Rule, HoleTimeout)> {
    elements.sort_unstable_by_key(|(rule, _)| *rule);
    let mut joined: Vec<(Rule, HoleTimeout)> = Vec::new();
    for (rule, timeout) in elements {
        let longer = joined.last().and_then(|(before, until)| {
            let ends_together = until.secs().abs_diff(timeout.secs()) <= 1;
            followed(before, &rule).filter(|_| ends_together)
        });
        match (longer, joined.last_mut()) {
            (Some(longer), Some((before, _))) => *before = longer,
            _ => joined.push((rule, timeout)),
        }
    }
    joined
}

/// Both as one, if the ports of the second follow those of the first.
fn followed(first: &Rule, second: &Rule) -> Option<Rule> {
    let (from, Service::Ports(ports)) = place(first)? else {
        return None;
    };
    let (net, Service::Ports(next)) = place(second)? else {
        return None;
    };
    let follows = ports.last().checked_add(1) == Some(next.first());
    if from != net || ports.protocol() != next.protocol() || !follows {
        return None;
    }
    let to = PortRange::new(ports.protocol(), ports.first(), next.last())?;
    Some(Rule::Accept {
        from,
        to: Service::Ports(to),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    fn rule(text: &str) -> Rule {
        text.parse().unwrap()
    }

    fn shown(parts: &[Part]) -> Vec<String> {
        let part = |(rule, timeout): &Part| match timeout {
            Some(timeout) => format!("{rule} for {}", timeout.secs()),
            None => format!("{rule} goes"),
        };
        parts.iter().map(part).collect()
    }

    #[test]
    fn a_port_that_two_ranges_share_stays_open_as_long_as_either() {
        let mut ledger = Ledger::default();
        let long = rule("192.0.2.0/24 tcp/8000-8010");
        let short = rule("192.0.2.0/24 tcp/8005-8020");
        ledger.open(long, SEC * 60, Duration::ZERO);

        let opened = ledger.open(short, SEC * 30, Duration::ZERO);

        let expected = [
            "192.0.2.0/24 tcp/8005-8010 for 60",
            "192.0.2.0/24 tcp/8011-8020 for 30",
        ];
        assert_eq!(shown(&opened), expected);
        let closed = ledger.close(long, SEC * 10);
        let expected = [
            "192.0.2.0/24 tcp/8000-8004 goes",
            "192.0.2.0/24 tcp/8005-8010 for 20",
        ];
        assert_eq!(shown(&closed), expected);
    }

    #[test]
    fn rules_for_other_places_protocols_and_times_that_have_passed_do_not_count() {
        let mut ledger = Ledger::default();
        ledger.open(rule("192.0.2.0/25 tcp/80-81"), SEC * 60, SEC);
        ledger.open(rule("192.0.2.0/24 udp/80-81"), SEC * 60, SEC);
        ledger.open(rule("192.0.2.0/24 tcp/81-82"), SEC * 9, SEC);

        let opened = ledger.open(rule("192.0.2.0/24 tcp/80-81"), SEC * 40, SEC * 10);

        assert_eq!(shown(&opened), ["192.0.2.0/24 tcp/80-81 for 30"]);
        let echo = rule("192.0.2.0/24 icmp/echo");
        assert_eq!(ledger.open(echo, SEC * 40, SEC * 10).len(), 1);
        assert_eq!(
            shown(&ledger.close(echo, SEC * 10)),
            ["192.0.2.0/24 icmp/echo goes"]
        );
    }

    proptest! {
        /// As sets keep it: one timeout for each port.
        #[test]
        fn every_port_is_open_exactly_as_long_as_the_longest_of_its_rules(
            steps in prop::collection::vec((any::<bool>(), 1_u16..12, 0_u16..6, 1_u32..50), 1..30),
        ) {
            let mut ledger = Ledger::default();
            let mut rules: BTreeMap<Rule, Duration> = BTreeMap::new();
            let mut set: BTreeMap<u16, Duration> = BTreeMap::new();
            for (at, (opens, first, more, secs)) in (0_u32..).zip(steps) {
                let now = SEC * at;
                rules.retain(|_, until| *until > now);
                set.retain(|_, until| *until > now);
                let rule = rule(&format!("192.0.2.7 tcp/{first}-{}", first + more));
                let parts = if opens {
                    rules.insert(rule, now + SEC * secs);
                    ledger.open(rule, now + SEC * secs, now)
                } else {
                    rules.remove(&rule);
                    ledger.close(rule, now)
                };
                for (part, timeout) in parts {
                    let Some((_, Service::Ports(ports))) = place(&part) else { unreachable!() };
                    for port in ports.first().get()..=ports.last().get() {
                        match timeout {
                            Some(timeout) => set.insert(port, now + SEC * timeout.secs()),
                            None => set.remove(&port),
                        };
                    }
                }
                for port in 1..20_u16 {
                    let service: Service = format!("tcp/{port}").parse().unwrap();
                    let of_port = |rule: &Rule| rule.asked().unwrap().covers(service);
                    let holds = rules.iter().filter(|(rule, _)| of_port(rule));
                    prop_assert_eq!(set.get(&port), holds.map(|(_, until)| until).max());
                }
            }
        }

        #[test]
        fn the_elements_of_a_range_are_joined_to_it(first in 1_u16..60_000, more in 0_u16..50) {
            let range = rule(&format!("192.0.2.0/24 udp/{first}-{}", first + more));
            let elements = (first..=first + more).map(|port| {
                (rule(&format!("192.0.2.0/24 udp/{port}")), HoleTimeout::clamped(29 + u32::from(port % 2)))
            });

            let joined = joined(elements.rev().collect());

            prop_assert_eq!(joined.len(), 1);
            prop_assert_eq!(joined[0].0, range);
        }
    }
}
