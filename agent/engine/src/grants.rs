//! What is open, until when, and by whose leave.
//!
//! The kernel closes every hole by itself; this is for the audit (who closed when), for revoking,
//! and so that re-authorising never shortens: of several grants for one rule, the later deadline
//! wins. Bounded by the engine's limit, because what does not fit is not opened.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::IpAddr;
use std::time::Duration;

use fleet::{Event, GrantId};
use gate::{Grant, Identity};
use hashbrown::HashMap;

use crate::connection::Connection;
use crate::rule::{Hole, HoleTimeout, Rule};
use crate::rule_index::RuleIndex;

/// One grant that is open, or about to be.
#[derive(Debug)]
pub(crate) struct LiveGrant {
    pub(crate) id: GrantId,
    pub(crate) origin: Origin,
    pub(crate) rules: Vec<Rule>,
    /// Steady time at which the kernel closes the hole.
    pub(crate) deadline: Duration,
    /// The same, in milliseconds since the Unix epoch, as the audit says it.
    pub(crate) until_ms: u64,
}

/// Where a grant comes from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// From this run of the agent.
    Given(Box<Grant>),
    /// From an earlier run, and still open; with the event that opened it.
    Recovered(Box<Event>),
}

/// All grants that are open.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    live: BTreeMap<GrantId, LiveGrant>,
    by_deadline: BinaryHeap<Reverse<(Duration, GrantId)>>,
    rules: HashMap<Rule, Holders>,
    /// Which grants hold a rule.
    by_rule: RuleIndex,
}

/// For how long a rule stands for all its grants together.
#[derive(Clone, Copy, Debug)]
struct Holders {
    latest: Duration,
    grants: u32,
}

/// What must become of rules that some grant has no more.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct TakenBack {
    /// In no other grant: to be closed, with the sessions through them.
    pub(crate) close: Vec<Rule>,
    /// Still in another grant that may end earlier: to be opened for just so long.
    pub(crate) shorten: Vec<Hole>,
}

/// A grant that could not be extended as it is recorded, and what it was before.
#[derive(Debug)]
pub(crate) struct Restore {
    pub(crate) id: GrantId,
    pub(crate) deadline: Duration,
    pub(crate) until_ms: u64,
}

// === impl LiveGrant ===

impl LiveGrant {
    /// Whether it is what this user would be given again for the same.
    pub(crate) fn is_same(&self, asking: &Identity, rules: &[Rule]) -> bool {
        self.rules == rules && self.is_of(asking)
    }

    /// Whether it was given to this user for a message with the same key.
    pub(crate) fn is_of(&self, asking: &Identity) -> bool {
        self.origin.is_of(asking)
    }

    /// For how long it opens, if it opens now.
    pub(crate) fn timeout(&self, steady: Duration) -> HoleTimeout {
        HoleTimeout::until(self.deadline, steady)
    }
}

// === impl Origin ===

impl Origin {
    /// Whether it was this user, in a message with the same key.
    pub(crate) fn is_of(&self, asking: &Identity) -> bool {
        match self {
            Self::Given(grant) => {
                let own = grant.identity();
                own.key() == asking.key() && own.user() == asking.user()
            }
            Self::Recovered(opened) => {
                opened.user == asking.user() && opened.key == asking.key().to_string()
            }
        }
    }
}

// === impl Grants ===

impl Grants {
    pub(crate) fn len(&self) -> usize {
        self.live.len()
    }

    pub(crate) fn get(&self, id: GrantId) -> Option<&LiveGrant> {
        self.live.get(&id)
    }

    /// The grants that hold a rule open.
    pub(crate) fn holders(&self, rule: Rule) -> impl Iterator<Item = GrantId> + '_ {
        self.by_rule.of(rule)
    }

    /// The grants whose holes let this connection begin, each once.
    pub(crate) fn letting_begin(&self, connection: &Connection) -> Vec<GrantId> {
        self.by_rule.letting_begin(connection).into_iter().collect()
    }

    /// The grants that let this address in, each once.
    pub(crate) fn letting_in(&self, address: IpAddr) -> impl Iterator<Item = &LiveGrant> {
        let ids = self.by_rule.letting_in(address).into_iter();
        ids.filter_map(|id| self.live.get(&id))
    }

    /// The grants of which something leads elsewhere now that this one is open, each once.
    pub(crate) fn displaced_by(&self, grant: &LiveGrant) -> BTreeSet<GrantId> {
        let rules = grant.rules.iter();
        let displaced = rules.flat_map(|rule| self.by_rule.displaced_by(*rule));
        displaced.filter(|id| *id != grant.id).collect()
    }

    /// Whether somebody else's grant leads one of these rules' packets to another place.
    pub(crate) fn led_by_another(
        &self,
        asking: &Identity,
        rules: &[Rule],
        steady: Duration,
    ) -> bool {
        let ids = rules
            .iter()
            .flat_map(|rule| self.by_rule.displaced_by(*rule));
        let mut others = ids.filter_map(|id| self.live.get(&id));
        others.any(|live| live.deadline > steady && !live.is_of(asking))
    }

    /// Takes out these grants.
    pub(crate) fn take_these(&mut self, ids: &BTreeSet<GrantId>) -> Vec<LiveGrant> {
        let gone = ids.iter().filter_map(|id| self.live.remove(id));
        let gone: Vec<LiveGrant> = gone.collect();
        for grant in &gone {
            self.leave(grant);
        }
        for rule in each_once(gone.iter().flat_map(|grant| grant.rules.iter().copied())) {
            self.recount(rule);
        }
        gone
    }

    /// Adds to `holes` what must be opened so that `grant` is open: all its rules but those that
    /// another grant keeps open for longer. Nothing if it has ended by now.
    pub(crate) fn add_holes(&self, grant: &LiveGrant, steady: Duration, holes: &mut Vec<Hole>) {
        if grant.deadline <= steady {
            return;
        }
        let timeout = grant.timeout(steady);
        let open_longer = |rule: &Rule| {
            let holders = self.rules.get(rule);
            holders.is_some_and(|holders| holders.latest >= grant.deadline)
        };
        let rules = grant.rules.iter().filter(|rule| !open_longer(rule));
        holes.extend(rules.map(|rule| Hole {
            rule: *rule,
            timeout,
        }));
    }

    /// The grant of this user and key that opens just these rules, if there is one.
    pub(crate) fn same(
        &self,
        asking: &Identity,
        rules: &[Rule],
        steady: Duration,
    ) -> Option<&LiveGrant> {
        let holders = self.holders(*rules.first()?);
        let mut holders = holders.filter_map(|id| self.live.get(&id));
        holders.find(|live| live.deadline > steady && live.is_same(asking, rules))
    }

    /// Enters a grant that is open; of one that was open before, only what it is now is left.
    pub(crate) fn enter(&mut self, mut grant: LiveGrant) {
        if let Some(before) = self.live.remove(&grant.id) {
            if before.deadline > grant.deadline {
                grant.deadline = before.deadline;
                grant.until_ms = before.until_ms;
            }
            self.leave(&before);
        }
        for rule in &grant.rules {
            let holders = self.rules.entry(*rule).or_insert(Holders {
                latest: grant.deadline,
                grants: 0,
            });
            holders.latest = holders.latest.max(grant.deadline);
            holders.grants += 1;
            self.by_rule.insert(*rule, grant.id);
        }
        self.by_deadline.push(Reverse((grant.deadline, grant.id)));
        self.live.insert(grant.id, grant);
    }

    /// What must be open so that these grants are as they were, and what must not.
    pub(crate) fn restoring(&self, all: &[Restore], steady: Duration) -> TakenBack {
        let all: BTreeMap<GrantId, &Restore> = all
            .iter()
            .filter(|restore| self.live.contains_key(&restore.id))
            .map(|restore| (restore.id, restore))
            .collect();
        let deadline = |live: &LiveGrant| all.get(&live.id).map_or(live.deadline, |it| it.deadline);
        let live = all.keys().filter_map(|id| self.live.get(id));
        let mut taken = TakenBack::default();
        for rule in each_once(live.flat_map(|live| live.rules.iter().copied())) {
            let holders = self.holders(rule).filter_map(|id| self.live.get(&id));
            let latest = holders.map(deadline).max().unwrap_or_default();
            if latest > steady {
                let timeout = HoleTimeout::until(latest, steady);
                taken.shorten.push(Hole { rule, timeout });
            } else {
                taken.close.push(rule);
            }
        }
        taken
    }

    /// Has a grant end when it would have, if it is still open.
    pub(crate) fn restore(&mut self, restore: &Restore) -> Option<&LiveGrant> {
        let live = self.live.get_mut(&restore.id)?;
        live.deadline = restore.deadline;
        live.until_ms = restore.until_ms;
        self.by_deadline
            .push(Reverse((restore.deadline, restore.id)));
        let rules = live.rules.clone();
        for rule in rules {
            self.recount(rule);
        }
        self.live.get(&restore.id)
    }

    /// When the next grant ends.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.by_deadline
            .peek()
            .map(|Reverse((deadline, _))| *deadline)
    }

    /// Takes out one grant that has ended.
    pub(crate) fn take_ended(&mut self, steady: Duration) -> Option<LiveGrant> {
        loop {
            let Reverse((deadline, id)) = *self.by_deadline.peek()?;
            if deadline > steady {
                return None;
            }
            self.by_deadline.pop();
            // One that was revoked is gone, but not from the heap; and one that was extended is in
            // it twice.
            if self.live.get(&id).is_none_or(|live| live.deadline > steady) {
                continue;
            }
            if let Some(grant) = self.live.remove(&id) {
                self.leave(&grant);
                return Some(grant);
            }
        }
    }

    /// Takes out every grant that `keep` does not keep.
    pub(crate) fn take_out(&mut self, keep: impl Fn(&LiveGrant) -> bool) -> Vec<LiveGrant> {
        let gone = self.live.extract_if(.., |_, grant| !keep(grant));
        let gone: Vec<LiveGrant> = gone.map(|(_, grant)| grant).collect();
        for grant in &gone {
            self.leave(grant);
        }
        for rule in each_once(gone.iter().flat_map(|grant| grant.rules.iter().copied())) {
            self.recount(rule);
        }
        gone
    }

    /// What must become of these rules, which belonged to grants that are no more.
    pub(crate) fn taken_back(
        &mut self,
        rules: impl Iterator<Item = Rule>,
        steady: Duration,
    ) -> TakenBack {
        let mut taken = TakenBack::default();
        for rule in each_once(rules) {
            // What ends now is not opened for one second more.
            match self.recount(rule).filter(|latest| *latest > steady) {
                None => taken.close.push(rule),
                Some(latest) => taken.shorten.push(Hole {
                    rule,
                    timeout: HoleTimeout::until(latest, steady),
                }),
            }
        }
        taken
    }

    /// Everything that should be open now.
    pub(crate) fn all_holes(&self, steady: Duration) -> Vec<Hole> {
        let rules = self.rules.iter();
        rules
            .filter(|(_, holders)| holders.latest > steady)
            .map(|(rule, holders)| Hole {
                rule: *rule,
                timeout: HoleTimeout::until(holders.latest, steady),
            })
            .collect()
    }

    fn leave(&mut self, grant: &LiveGrant) {
        for rule in &grant.rules {
            self.by_rule.remove(*rule, grant.id);
            if let Some(holders) = self.rules.get_mut(rule) {
                holders.grants = holders.grants.saturating_sub(1);
                if holders.grants == 0 {
                    self.rules.remove(rule);
                }
            }
        }
    }

    /// The latest deadline of a rule after one of its grants has left.
    fn recount(&mut self, rule: Rule) -> Option<Duration> {
        let others = self.holders(rule).filter_map(|id| self.live.get(&id));
        let latest = others.map(|grant| grant.deadline).max()?;
        self.rules.get_mut(&rule)?.latest = latest;
        Some(latest)
    }
}

fn each_once(rules: impl Iterator<Item = Rule>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = rules.collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

#[cfg(test)]
mod tests {
    use fleet::EventKind;

    use super::*;

    #[test]
    fn opening_again_for_longer_lengthens_and_for_shorter_changes_nothing() {
        let mut grants = Grants::default();
        grants.enter(grant(1, &["tcp/22"], 30));
        let holes = |deadline_secs| {
            let mut holes = Vec::new();
            grants.add_holes(&grant(2, &["tcp/22"], deadline_secs), secs(5), &mut holes);
            holes
        };

        let (shorter, longer) = (holes(15), holes(65));

        assert_eq!(shorter, []);
        assert_eq!(longer.len(), 1);
        assert_eq!(longer[0].timeout.secs(), 60);
    }

    #[test]
    fn grants_end_in_the_order_of_their_deadlines() {
        let mut grants = Grants::default();
        grants.enter(grant(1, &["tcp/22"], 30));
        grants.enter(grant(2, &["tcp/80"], 10));

        assert_eq!(grants.next_deadline(), Some(secs(10)));
        assert!(grants.take_ended(secs(9)).is_none());
        assert_eq!(grants.take_ended(secs(31)).unwrap().id, id(2));
        assert_eq!(grants.take_ended(secs(31)).unwrap().id, id(1));
        assert!(grants.take_ended(secs(31)).is_none());
        assert!(grants.live.is_empty() && grants.rules.is_empty());
    }

    #[test]
    fn a_rule_that_another_grant_holds_is_shortened_and_not_closed() {
        let mut grants = Grants::default();
        grants.enter(grant(1, &["tcp/22", "tcp/80"], 60));
        grants.enter(grant(2, &["tcp/22"], 30));

        let gone = grants.take_out(|live| live.deadline == secs(30));
        let taken = grants.taken_back(gone.iter().flat_map(|grant| grant.rules.clone()), secs(5));

        assert_eq!(gone.len(), 1);
        assert_eq!(taken.close, rules(&["tcp/80"]));
        assert_eq!(taken.shorten.len(), 1);
        assert_eq!(taken.shorten[0].timeout.secs(), 25);
        assert_eq!(grants.take_ended(secs(60)).unwrap().id, id(2));
    }

    fn grant(number: u8, ports: &[&str], deadline_secs: u64) -> LiveGrant {
        LiveGrant {
            id: id(number),
            origin: Origin::Recovered(Box::new(Event::new(EventKind::GrantOpened, 0))),
            rules: rules(ports),
            deadline: secs(deadline_secs),
            until_ms: 0,
        }
    }

    fn id(number: u8) -> GrantId {
        GrantId([number; 16])
    }

    fn rules(ports: &[&str]) -> Vec<Rule> {
        let rule = |port: &&str| format!("192.0.2.7 {port}").parse().unwrap();
        ports.iter().map(rule).collect()
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }
}
