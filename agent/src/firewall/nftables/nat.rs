//! Leading packets on to other places, with maps whose elements end by themselves.
//!
//! | chain | hook | what is decided there |
//! |---|---|---|
//! | `lead_in` | prerouting -101 | what is asked of this host goes to the place of its rule |
//! | `lead_out` | postrouting 99 | what went through a hole leaves under another source, where its rule says so |
//! | `lead_local` | input -150 | what was led to another host and is this one after all is dropped |
//!
//! The guard (-149) lets in what these maps hold, and marks it, so that the hook in the owner's
//! FORWARD chain knows it. All of it is laid only on a host that leads packets on at all: no other
//! host's packets ask these sets.
//!
//! The kernel holds one place for one sender, protocol and port. A rule that leads the same elsewhere
//! takes the place of an older one; the older one's end then changes nothing.

mod rules;
mod sets;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use engine::{Forward, Hole, HoleTimeout, Rule};
use ipnet::IpNet;
use spa::{PortRange, Protocol, Service};

use super::super::FirewallError;
use super::layers::Layers;
use super::message::{self, Change, LedElement};
use super::table::{Reader, Table};
use crate::netlink::Requests;

pub(super) use rules::{lay_chains, leads, marks_replies, others, passes, rules};
pub(super) use sets::{NatSet, all_sets, lay_sets};

/// Rules in one transaction.
const RULES_PER_BATCH: usize = 200;

/// Opens and closes what leads on.
#[derive(Debug)]
pub(super) struct NatHoles {
    table: Arc<Table>,
    requests: Requests,
    /// Which rule each place of the sets without intervals belongs to.
    narrow: BTreeMap<Place, Rule>,
    wide: Layers,
}

/// What the kernel holds one rule for: sender, what is asked for, and of whom.
type Place = (IpNet, Option<Service>, Option<IpAddr>);

// === impl NatHoles ===

impl NatHoles {
    /// Looks at what is open already.
    pub(super) fn new(
        table: Arc<Table>,
        reader: &mut Reader,
        now: Duration,
    ) -> Result<Self, FirewallError> {
        let mut holes = Self {
            table,
            requests: Requests::default(),
            narrow: BTreeMap::new(),
            wide: Layers::default(),
        };
        for (set, hole) in list_sets(reader)? {
            let until = now + hole.timeout.duration();
            holes.note(&hole.rule, set.layer(), until);
        }
        Ok(holes)
    }

    fn note(&mut self, rule: &Rule, layer: Option<usize>, until: Duration) {
        match (rule, layer) {
            (Rule::Forward(forward), None) => drop(self.narrow.insert(place(forward), *rule)),
            (Rule::Forward(_), Some(layer)) => self.wide.enter(*rule, layer, until),
            (Rule::Accept { .. }, _) => {}
        }
    }

    /// Opens these, of which all lead on.
    pub(super) fn open(
        &mut self,
        holes: &[(Forward, HoleTimeout)],
        now: Duration,
    ) -> Result<(), FirewallError> {
        self.wide.forget(now);
        for batch in holes.chunks(RULES_PER_BATCH) {
            self.requests.clear();
            message::begin_batch(&mut self.requests);
            for (forward, timeout) in batch {
                self.open_one(forward, *timeout, now)?;
            }
            message::end_batch(&mut self.requests);
            self.table.change(&mut self.requests, "open in")?;
        }
        Ok(())
    }

    fn open_one(
        &mut self,
        forward: &Forward,
        timeout: HoleTimeout,
        now: Duration,
    ) -> Result<(), FirewallError> {
        let rule = Rule::Forward(*forward);
        let layer = if sets::is_narrow(forward) {
            self.destroy_narrow(forward);
            self.narrow.insert(place(forward), rule);
            None
        } else {
            self.take_wide_of(forward);
            let until = now + timeout.duration();
            let layer = self.wide.place(rule, until);
            let layer = layer.ok_or(FirewallError::Overlapping(rule))?;
            self.destroy(&sets::elements(forward, Some(layer), None));
            Some(layer)
        };
        for (set, element) in sets::elements(forward, layer, Some(timeout)) {
            sets::change(
                &mut self.requests,
                Change::Add,
                &self.table.name,
                set,
                &element,
            );
        }
        Ok(())
    }

    /// Takes these back.
    pub(super) fn close(&mut self, rules: &[Forward], now: Duration) -> Result<(), FirewallError> {
        self.wide.forget(now);
        for batch in rules.chunks(RULES_PER_BATCH) {
            self.requests.clear();
            message::begin_batch(&mut self.requests);
            let mut any = false;
            for forward in batch {
                any |= self.close_one(forward);
            }
            message::end_batch(&mut self.requests);
            if any {
                self.table.change(&mut self.requests, "close in")?;
            }
        }
        Ok(())
    }

    fn close_one(&mut self, forward: &Forward) -> bool {
        let rule = Rule::Forward(*forward);
        if !sets::is_narrow(forward) {
            let layer = self.wide.take(&rule);
            if let Some(layer) = layer {
                self.destroy(&sets::elements(forward, Some(layer), None));
            }
            return layer.is_some();
        }
        // Another rule may have taken its place.
        let is_its = self.narrow.get(&place(forward)) == Some(&rule);
        if is_its {
            self.narrow.remove(&place(forward));
            self.destroy_narrow(forward);
        }
        is_its
    }

    /// Whatever stands in the place of a rule.
    fn destroy_narrow(&mut self, forward: &Forward) {
        let table = &self.table.name;
        for (set, element) in sets::of_place(forward) {
            sets::change(&mut self.requests, Change::Destroy, table, set, &element);
        }
    }

    /// A wide rule that leads the same elsewhere.
    fn take_wide_of(&mut self, forward: &Forward) {
        let is_same = |rule: &Rule| match rule {
            Rule::Forward(other) => place(other) == place(forward) && other != forward,
            Rule::Accept { .. } => false,
        };
        let same: Vec<_> = self.wide.iter().filter(|(rule, _)| is_same(rule)).collect();
        for (rule, layer) in same {
            self.wide.take(&rule);
            if let Rule::Forward(other) = rule {
                self.destroy(&sets::elements(&other, Some(layer), None));
            }
        }
    }

    fn destroy(&mut self, elements: &[(NatSet, LedElement)]) {
        for (set, element) in elements {
            sets::change(
                &mut self.requests,
                Change::Destroy,
                &self.table.name,
                *set,
                element,
            );
        }
    }

    /// Closes everything.
    pub(super) fn flush(&mut self, requests: &mut Requests) {
        for set in all_sets() {
            message::flush_set(requests, &self.table.name, set.name());
        }
        self.narrow.clear();
        self.wide.clear();
    }
}

/// What leads on now, each in the set that says where to.
pub(super) fn list_sets(reader: &mut Reader) -> Result<Vec<(NatSet, Hole)>, FirewallError> {
    let mut found = Vec::new();
    for set in all_sets().filter(|set| set.has_notes()) {
        reader.elements(set.name(), &mut |listed| {
            found.extend(sets::hole(&listed).map(|hole| (set, hole)));
        })?;
    }
    Ok(found)
}

/// The elements that must be there for these, to lay the table anew.
pub(super) fn elements_of(held: &[(NatSet, Hole)]) -> Vec<(NatSet, LedElement)> {
    let of_one = |(set, hole): &(NatSet, Hole)| match &hole.rule {
        Rule::Forward(forward) => sets::elements(forward, set.layer(), Some(hole.timeout)),
        Rule::Accept { .. } => Vec::new(),
    };
    held.iter().flat_map(of_one).collect()
}

pub(super) fn add(requests: &mut Requests, table: &str, elements: &[(NatSet, LedElement)]) {
    for (set, element) in elements {
        sets::change(requests, Change::Add, table, *set, element);
    }
}

/// Adds and destroys one element, to see whether this kernel can.
pub(super) fn try_all(requests: &mut Requests, table: &str) {
    let Ok(Rule::Forward(forward)) = "192.0.2.1 tcp/1 to 192.0.2.2 port 1".parse() else {
        return;
    };
    let timeout = Some(HoleTimeout::clamped(1));
    for (set, element) in sets::elements(&forward, None, timeout) {
        sets::change(requests, Change::Add, table, set, &element);
        sets::change(requests, Change::Destroy, table, set, &element);
        sets::change(requests, Change::Destroy, table, set, &element);
    }
}

/// The rules without a lead that let in what this one lets in: by them it is held up.
pub(super) fn let_in_alike(forward: &Forward) -> Vec<Rule> {
    let from = forward.from;
    let services = match forward.asked {
        Some(asked) => vec![asked],
        None => {
            let all = |protocol| PortRange::new(protocol, NonZeroU16::MIN, NonZeroU16::MAX);
            let ports = [Protocol::Tcp, Protocol::Udp].into_iter().filter_map(all);
            ports.map(Service::Ports).collect()
        }
    };
    services
        .into_iter()
        .map(|to| Rule::Accept { from, to })
        .collect()
}

fn place(forward: &Forward) -> Place {
    (forward.from, forward.asked, sets::of_whom(forward))
}
