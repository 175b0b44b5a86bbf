//! Holes as timed elements of our sets. A batch is one transaction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine::{Capabilities, Connection, Forward, Hole, HoleTimeout, Rule};
use spa::{Protocol, Service};

use super::super::family::Family;
use super::super::{FirewallError, Holes};
use super::element;
use super::layers::{Layers, overlap};
use super::message::{self, Change, Element};
use super::nat::{self, NatHoles};
use super::ruleset::{self, Set};
use super::steps::LAYERS;
use super::table::{Reader, Table};
use crate::clock;
use crate::connections::Cutter;
use crate::netlink::Requests;

/// Rules in one transaction.
const RULES_PER_BATCH: usize = 500;
/// How long a revoked rule stays barred for what was established through it, where that cannot be
/// ended one by one, and for UDP, where what this host says begins it anew: as long as the kernel
/// remembers an idle TCP session (nf_conntrack_tcp_timeout_established).
const BARRED_SECS: u32 = 432_000;
/// The same where it can: until those are known that had just begun.
const HELD_UP_SECS: u32 = 5;
/// Fewer barred rules than this are not worth looking for those that have ended.
const FORGET_MIN: usize = 64;

/// What this kernel does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Kernel {
    pub(super) ipv6: bool,
    /// Adding an element that is there gives it the new timeout (6.12).
    pub(super) renews: bool,
}

/// Whether packets are led on to other places.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Lead {
    /// They are.
    On,
    /// They could be, and the configuration wants none.
    Off,
    /// This kernel cannot.
    Cannot,
}

/// Opens holes.
#[derive(Debug)]
pub(super) struct NftHoles {
    table: Arc<Table>,
    reader: Reader,
    requests: Requests,
    kernel: Kernel,
    /// `None` where connections cannot be ended one by one.
    cutter: Option<Cutter>,
    /// The wide rules that are open.
    wide: Layers,
    /// What is barred until when (steady).
    barred: BTreeMap<Rule, Duration>,
    barred_wide: Layers,
    /// When so many are barred, those that have ended are looked for.
    forget_at: usize,
    /// What leads on; `None` where nothing does.
    nat: Option<NatHoles>,
    /// Whether rules that lead on could be opened at all.
    can_lead: bool,
}

/// Elements for each set of a transaction.
#[derive(Debug, Default)]
struct Changes {
    add: Vec<(Set, Vec<Element>)>,
    delete: Vec<(Set, Vec<Element>)>,
}

// === impl Changes ===

impl Changes {
    fn add(&mut self, set: Set, rule: &Rule, timeout: HoleTimeout) {
        push(&mut self.add, set, element::of_rule(rule, Some(timeout)));
    }

    fn delete(&mut self, set: Set, rule: &Rule) {
        // The timeout is for an element that must be added to be deleted.
        push(
            &mut self.delete,
            set,
            element::of_rule(rule, Some(HoleTimeout::clamped(1))),
        );
    }

    /// Deleting what is not there fails, so it is added first: then it is there, whatever was.
    fn write(&self, requests: &mut Requests, table: &str, kernel: Kernel) {
        requests.clear();
        message::begin_batch(requests);
        let renewed = if kernel.renews { &[][..] } else { &self.add };
        for (set, elements) in self.delete.iter().chain(renewed) {
            let name = set.name();
            message::change_elements(requests, Change::Add, table, name, elements);
            message::change_elements(requests, Change::Delete, table, name, elements);
        }
        for (set, elements) in &self.add {
            message::change_elements(requests, Change::Add, table, set.name(), elements);
        }
        message::end_batch(requests);
    }

    fn is_empty(&self) -> bool {
        self.add.is_empty() && self.delete.is_empty()
    }
}

fn led(rule: &Rule) -> Option<Forward> {
    match rule {
        Rule::Forward(forward) => Some(*forward),
        Rule::Accept { .. } => None,
    }
}

fn is_accept(rule: &Rule) -> bool {
    match rule {
        Rule::Accept { .. } => true,
        Rule::Forward(_) => false,
    }
}

fn push(changes: &mut Vec<(Set, Vec<Element>)>, set: Set, element: Option<Element>) {
    match changes.iter_mut().find(|(known, _)| *known == set) {
        Some((_, elements)) => elements.extend(element),
        None => changes.push((set, element.into_iter().collect())),
    }
}

// === impl NftHoles ===

impl NftHoles {
    /// Looks at what is open and barred already.
    pub(super) fn new(
        table: Arc<Table>,
        kernel: Kernel,
        lead: Lead,
    ) -> Result<Self, FirewallError> {
        let cutter = Cutter::open();
        if cutter.is_none() {
            tracing::warn!(
                "this kernel does not show its connections: what is revoked is barred by address \
                 and port, until it is opened again"
            );
        }
        let mut holes = Self {
            reader: Reader::connect(&table.name)?,
            table,
            requests: Requests::default(),
            kernel,
            cutter,
            wide: Layers::default(),
            barred: BTreeMap::new(),
            barred_wide: Layers::default(),
            forget_at: FORGET_MIN,
            nat: None,
            can_lead: lead != Lead::Cannot,
        };
        if lead == Lead::On {
            let table = Arc::clone(&holes.table);
            holes.nat = Some(NatHoles::new(table, &mut holes.reader, clock::steady())?);
        }
        holes.recall()?;
        Ok(holes)
    }

    /// Takes from the kernel what is to be known here.
    fn recall(&mut self) -> Result<(), FirewallError> {
        let now = clock::steady();
        let until = |hole: &Hole| now + hole.timeout.duration();
        for family in Family::ALL {
            for hole in self.listed(Set::Barred(family))? {
                self.barred.insert(hole.rule, until(&hole));
            }
            for layer in 0..LAYERS {
                for hole in self.listed(Set::Wide(family, layer))? {
                    self.wide.enter(hole.rule, layer, until(&hole));
                }
                for hole in self.listed(Set::BarredWide(family, layer))? {
                    self.barred_wide.enter(hole.rule, layer, until(&hole));
                }
            }
        }
        Ok(())
    }

    fn listed(&mut self, set: Set) -> Result<Vec<Hole>, FirewallError> {
        let mut holes = Vec::new();
        self.reader.elements(set.name(), &mut |listed| {
            holes.extend(element::hole(&listed, set.family()));
        })?;
        Ok(holes)
    }

    fn change(&mut self, changes: &Changes, doing: &'static str) -> Result<(), FirewallError> {
        if changes.is_empty() {
            return Ok(());
        }
        changes.write(&mut self.requests, &self.table.name, self.kernel);
        self.table.change(&mut self.requests, doing)
    }

    fn open_all(&mut self, holes: &[Hole], now: Duration) -> Result<(), FirewallError> {
        for batch in holes.chunks(RULES_PER_BATCH) {
            self.open_batch(batch, now)?;
        }
        Ok(())
    }

    /// What leads on; what was barred for being taken back passes again.
    fn lead_on(
        &mut self,
        led: &[(Forward, HoleTimeout)],
        now: Duration,
    ) -> Result<(), FirewallError> {
        let mut changes = Changes::default();
        for rule in led
            .iter()
            .flat_map(|(forward, _)| nat::let_in_alike(forward))
        {
            self.lift(&rule, &mut changes);
        }
        self.change(&changes, "open in")?;
        match &mut self.nat {
            Some(nat) => nat.open(led, now),
            None => Ok(()),
        }
    }

    fn open_batch(&mut self, batch: &[Hole], now: Duration) -> Result<(), FirewallError> {
        let mut changes = Changes::default();
        for hole in batch {
            let family = Family::of(hole.rule.from().addr());
            let set = if element::is_narrow(&hole.rule) {
                Set::Open(family)
            } else {
                let until = now + hole.timeout.duration();
                let layer = self.wide.place(hole.rule, until);
                let layer = layer.ok_or(FirewallError::Overlapping(hole.rule))?;
                Set::Wide(family, layer)
            };
            changes.add(set, &hole.rule, hole.timeout);
            self.lift(&hole.rule, &mut changes);
        }
        self.change(&changes, "open in")
    }

    /// Takes out of what is barred all that a rule opens again.
    fn lift(&mut self, rule: &Rule, changes: &mut Changes) {
        let family = Family::of(rule.from().addr());
        if element::is_narrow(rule) {
            if self.barred.remove(rule).is_some() {
                changes.delete(Set::Barred(family), rule);
            }
        } else {
            self.barred.retain(|barred, _| {
                let stays = !overlap(barred, rule);
                if !stays {
                    changes.delete(Set::Barred(family), barred);
                }
                stays
            });
        }
        let lifted = self.barred_wide.iter();
        let lifted: Vec<_> = lifted.filter(|(it, _)| overlap(it, rule)).collect();
        for (barred, layer) in lifted {
            self.barred_wide.take(&barred);
            changes.delete(Set::BarredWide(family, layer), &barred);
        }
    }

    /// Bars what goes through these; and takes them back, if they are open in this form.
    fn close_batch(
        &mut self,
        batch: &[Rule],
        is_open: bool,
        now: Duration,
    ) -> Result<(), FirewallError> {
        let mut changes = Changes::default();
        for rule in batch {
            let family = Family::of(rule.from().addr());
            let timeout = HoleTimeout::clamped(self.barred_secs(rule));
            let until = now + timeout.duration();
            if element::is_narrow(rule) {
                self.barred.insert(*rule, until);
                changes.add(Set::Barred(family), rule, timeout);
                if is_open {
                    changes.delete(Set::Open(family), rule);
                }
                continue;
            }
            match self.barred_wide.place(*rule, until) {
                Some(layer) => changes.add(Set::BarredWide(family, layer), rule, timeout),
                None => tracing::warn!(
                    %rule,
                    "too much that overlaps was taken back at once: what had just begun through \
                     this is ended as soon as it is known"
                ),
            }
            if is_open && let Some(layer) = self.wide.take(rule) {
                changes.delete(Set::Wide(family, layer), rule);
            }
        }
        self.change(&changes, "close in")
    }

    /// For how long what goes on through a rule that was taken back is held up.
    fn barred_secs(&self, rule: &Rule) -> u32 {
        let is_tcp = match rule.asked() {
            Some(Service::Ports(range)) => range.protocol() == Protocol::Tcp,
            Some(Service::Echo) | None => false,
        };
        match (is_tcp, &self.cutter) {
            (true, Some(_)) => HELD_UP_SECS,
            (true, None) | (false, _) => BARRED_SECS,
        }
    }

    /// Forgets what the kernel has. What is barred is looked through only when it has doubled, so
    /// that each rule costs the same however many there are.
    fn forget(&mut self, now: Duration) {
        self.wide.forget(now);
        self.barred_wide.forget(now);
        if self.barred.len() >= self.forget_at {
            self.barred.retain(|_, until| *until > now);
            self.forget_at = FORGET_MIN.max(2 * self.barred.len());
        }
    }
}

impl Holes for NftHoles {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            ipv6: self.kernel.ipv6,
            connections: self.cutter.is_some(),
            forward: self.can_lead,
            networks: true,
            ports_max: u16::MAX,
        }
    }

    fn open(&mut self, holes: &[Hole]) -> Result<(), FirewallError> {
        for hole in holes {
            self.can(&hole.rule)?;
        }
        let now = clock::steady();
        if holes.iter().any(|hole| !element::is_narrow(&hole.rule)) {
            self.forget(now);
        }
        let led = |hole: &Hole| match &hole.rule {
            Rule::Forward(forward) => Some((*forward, hole.timeout)),
            Rule::Accept { .. } => None,
        };
        let led: Vec<_> = holes.iter().filter_map(led).collect();
        if led.is_empty() {
            return self.open_all(holes, now);
        }
        let others: Vec<Hole> = holes
            .iter()
            .filter(|hole| is_accept(&hole.rule))
            .copied()
            .collect();
        self.open_all(&others, now)?;
        self.lead_on(&led, now)
    }

    fn close(&mut self, rules: &[Rule], connections: &[Connection]) -> Result<(), FirewallError> {
        let now = clock::steady();
        self.forget(now);
        let led: Vec<Forward> = rules.iter().filter_map(led).collect();
        let let_in: Vec<Rule> = led.iter().flat_map(nat::let_in_alike).collect();
        let others = rules.iter().filter(|rule| is_accept(rule)).copied();
        if let Some(nat) = &mut self.nat {
            nat.close(&led, now)?;
        }
        for (batch, is_open) in [(let_in, false), (others.collect(), true)] {
            for batch in batch.chunks(RULES_PER_BATCH) {
                self.close_batch(batch, is_open, now)?;
            }
        }
        let Some(cutter) = &mut self.cutter else {
            return Ok(());
        };
        cutter
            .cut(connections)
            .map_err(|cause| FirewallError::Netlink {
                doing: "end a connection".into(),
                reason: program::one_line(&cause).to_string(),
            })
    }

    fn end(&mut self, rules: &[Rule]) -> Result<(), FirewallError> {
        let now = clock::steady();
        self.forget(now);
        if let Some(nat) = &mut self.nat {
            let led: Vec<Forward> = rules.iter().filter_map(led).collect();
            nat.close(&led, now)?;
        }
        for batch in rules.chunks(RULES_PER_BATCH) {
            let mut changes = Changes::default();
            for rule in batch.iter().filter(|rule| is_accept(rule)) {
                let family = Family::of(rule.from().addr());
                if element::is_narrow(rule) {
                    changes.delete(Set::Open(family), rule);
                } else if let Some(layer) = self.wide.take(rule) {
                    changes.delete(Set::Wide(family, layer), rule);
                }
            }
            self.change(&changes, "end")?;
        }
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<Hole>, FirewallError> {
        let mut holes = Vec::new();
        for set in ruleset::open_sets() {
            holes.extend(self.listed(set)?);
        }
        if self.nat.is_some() {
            let led = nat::list_sets(&mut self.reader)?;
            holes.extend(led.into_iter().map(|(_, hole)| hole));
        }
        Ok(holes)
    }

    fn flush(&mut self) -> Result<(), FirewallError> {
        self.requests.clear();
        message::begin_batch(&mut self.requests);
        for set in ruleset::open_sets() {
            message::flush_set(&mut self.requests, &self.table.name, set.name());
        }
        if let Some(nat) = &mut self.nat {
            nat.flush(&mut self.requests);
        }
        message::end_batch(&mut self.requests);
        self.table.change(&mut self.requests, "flush")?;
        self.wide.clear();
        Ok(())
    }
}
