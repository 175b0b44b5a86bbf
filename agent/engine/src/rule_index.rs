//! Which grants hold which rules, found by rule and by connection.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU16;

use fleet::GrantId;
use spa::{ProtoPort, Protocol, Service};

use crate::connection::Connection;
use crate::rule::Rule;

/// Rules with the grants that hold them. Looking up what lets a connection begin costs as much as
/// there are rules for several addresses or ports.
#[derive(Debug, Default)]
pub(crate) struct RuleIndex {
    all: BTreeSet<(Rule, GrantId)>,
    /// Those of [`Self::all`] that are not found by the address and port of a connection.
    wide: BTreeSet<(Rule, GrantId)>,
}

// === impl RuleIndex ===

impl RuleIndex {
    pub(crate) fn insert(&mut self, rule: Rule, id: GrantId) {
        self.all.insert((rule, id));
        if rule.is_wide() {
            self.wide.insert((rule, id));
        }
    }

    pub(crate) fn remove(&mut self, rule: Rule, id: GrantId) {
        self.all.remove(&(rule, id));
        self.wide.remove(&(rule, id));
    }

    /// The grants that hold this very rule.
    pub(crate) fn of(&self, rule: Rule) -> impl Iterator<Item = GrantId> + '_ {
        let all = (rule, GrantId([0; 16]))..=(rule, GrantId([0xff; 16]));
        self.all.range(all).map(|(_, id)| *id)
    }

    /// The grants with a rule that lets this address in, each once.
    pub(crate) fn letting_in(&self, address: IpAddr) -> BTreeSet<GrantId> {
        let accept = |to| Rule::accept(address, to);
        let lowest = accept(Service::from(ProtoPort {
            protocol: Protocol::Tcp,
            port: NonZeroU16::MIN,
        }));
        let highest = accept(Service::Echo);
        let narrow = (lowest, GrantId([0; 16]))..=(highest, GrantId([0xff; 16]));
        let narrow = self.all.range(narrow);
        let wide = self.wide.iter();
        let wide = wide.filter(|(rule, _)| rule.from().contains(&address));
        narrow.chain(wide).map(|(_, id)| *id).collect()
    }

    /// The grants with a rule whose place this one takes, each once.
    pub(crate) fn displaced_by(&self, rule: Rule) -> BTreeSet<GrantId> {
        let leads_on = matches!(rule, Rule::Forward(_));
        let wide = self.wide.iter().filter(|_| leads_on);
        let wide = wide.filter(|(other, _)| rule.takes_place_of(other));
        wide.map(|(_, id)| *id).collect()
    }

    /// The grants with a rule that lets this connection begin, each once.
    pub(crate) fn letting_begin(&self, connection: &Connection) -> BTreeSet<GrantId> {
        let narrow = Rule::narrow(connection).into_iter();
        let narrow = narrow.flat_map(|rule| self.of(rule));
        let wide = self.wide.iter();
        let wide = wide.filter(|(rule, _)| rule.lets_begin(connection));
        narrow.chain(wide.map(|(_, id)| *id)).collect()
    }
}
