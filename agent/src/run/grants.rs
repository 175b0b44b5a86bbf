//! What is open, until when, and by whose leave: the gate thread's own book.
//!
//! The kernel closes every hole by itself; this book is for the audit (who closed when), for
//! revoking, and so that re-authorising never shortens: of several grants for one rule,
//! the later deadline wins. Bounded, because what does not fit into the book is not opened.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::time::Duration;

use engine::{Hole, HoleTimeout, Rule};
use fleet::{Event, GrantId};
use gate::Grant;

/// One grant whose hole is open.
#[derive(Debug)]
pub struct Live {
    pub id: GrantId,
    pub origin: Origin,
    pub rules: Vec<Rule>,
    /// Steady time at which the kernel closes the hole.
    pub deadline: Duration,
    /// The same, in milliseconds since the Unix epoch, as the audit says it.
    pub until_ms: u64,
}

/// Where the book knows a grant from.
#[derive(Debug)]
pub enum Origin {
    /// Given by this run of the agent.
    Given(Box<Grant>),
    /// Given by the run before, and still open; with its event.
    Adopted(Box<Event>),
}

/// All grants that are open, by the number of the event that opened each.
#[derive(Debug, Default)]
pub struct Grants {
    live: BTreeMap<u64, Live>,
    by_deadline: BinaryHeap<Reverse<(Duration, u64)>>,
    rules: HashMap<Rule, Leaf>,
}

/// How long a rule stays open for all its grants together.
#[derive(Clone, Copy, Debug)]
struct Leaf {
    latest: Duration,
    grants: u32,
}

/// What taking grants out of the book means for the firewall.
#[derive(Debug, Default)]
pub struct Revoked {
    /// In no other grant: to be closed, with the sessions through them.
    pub close: Vec<Rule>,
    /// Still in another grant that ends earlier: to be opened for just so long.
    pub shorten: Vec<Hole>,
}

// === impl Grants ===

impl Grants {
    pub fn len(&self) -> usize {
        self.live.len()
    }

    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Of `rules`, those that must be opened so that they are open for `timeout` from now: all but
    /// the ones that another grant keeps open for longer.
    pub fn holes(&self, rules: &[Rule], timeout: HoleTimeout, steady: Duration) -> Vec<Hole> {
        let deadline = steady + Duration::from_secs(timeout.secs().into());
        let open_longer = |rule: &Rule| {
            let leaf = self.rules.get(rule);
            leaf.is_some_and(|leaf| leaf.latest >= deadline)
        };
        let rules = rules.iter().filter(|rule| !open_longer(rule));
        rules
            .map(|rule| Hole {
                rule: *rule,
                timeout,
            })
            .collect()
    }

    /// Enters a grant that was opened with event `seq`.
    pub fn enter(&mut self, seq: u64, live: Live) {
        for rule in &live.rules {
            let leaf = self.rules.entry(*rule).or_insert(Leaf {
                latest: live.deadline,
                grants: 0,
            });
            leaf.latest = leaf.latest.max(live.deadline);
            leaf.grants += 1;
        }
        self.by_deadline.push(Reverse((live.deadline, seq)));
        self.live.insert(seq, live);
    }

    /// When the next grant ends.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.by_deadline
            .peek()
            .map(|Reverse((deadline, _))| *deadline)
    }

    /// Takes out one grant that has ended.
    pub fn take_ended(&mut self, steady: Duration) -> Option<(u64, Live)> {
        loop {
            let Reverse((deadline, seq)) = *self.by_deadline.peek()?;
            if deadline > steady {
                return None;
            }
            self.by_deadline.pop();
            // One that was revoked has left the book but not the heap.
            if let Some(live) = self.live.remove(&seq) {
                self.leave(&live);
                return Some((seq, live));
            }
        }
    }

    /// Takes out every grant that `keep` does not keep; says what that means for the firewall.
    pub fn revoke(
        &mut self,
        steady: Duration,
        keep: impl Fn(&Live) -> bool,
    ) -> (Vec<(u64, Live)>, Revoked) {
        let gone: Vec<u64> = self
            .live
            .iter()
            .filter(|(_, live)| !keep(live))
            .map(|(seq, _)| *seq)
            .collect();
        let gone: Vec<(u64, Live)> = gone
            .into_iter()
            .filter_map(|seq| self.live.remove(&seq).map(|live| (seq, live)))
            .collect();
        let mut revoked = Revoked::default();
        for (_, live) in &gone {
            self.leave(live);
        }
        for rule in gone.iter().flat_map(|(_, live)| &live.rules) {
            match self.recount(*rule) {
                None => revoked.close.push(*rule),
                Some(latest) => revoked.shorten.push(Hole {
                    rule: *rule,
                    timeout: left(latest, steady),
                }),
            }
        }
        (gone, revoked)
    }

    /// Everything that should be open now.
    pub fn all_holes(&self, steady: Duration) -> Vec<Hole> {
        let rules = self.rules.iter();
        rules
            .filter(|(_, leaf)| leaf.latest > steady)
            .map(|(rule, leaf)| Hole {
                rule: *rule,
                timeout: left(leaf.latest, steady),
            })
            .collect()
    }

    fn leave(&mut self, live: &Live) {
        for rule in &live.rules {
            if let Some(leaf) = self.rules.get_mut(rule) {
                leaf.grants = leaf.grants.saturating_sub(1);
                if leaf.grants == 0 {
                    self.rules.remove(rule);
                }
            }
        }
    }

    /// The latest deadline of a rule after one of its grants was revoked.
    fn recount(&mut self, rule: Rule) -> Option<Duration> {
        let leaf = self.rules.get_mut(&rule)?;
        let others = self.live.values().filter(|live| live.rules.contains(&rule));
        leaf.latest = others.map(|live| live.deadline).max()?;
        Some(leaf.latest)
    }
}

/// Whole seconds until `deadline`, never less than the time left.
fn left(deadline: Duration, steady: Duration) -> HoleTimeout {
    let left = deadline.saturating_sub(steady);
    let secs = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    HoleTimeout::clamped(u32::try_from(secs).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use fleet::EventKind;

    use super::*;

    #[test]
    fn opening_again_for_longer_lengthens_and_for_shorter_changes_nothing() {
        let mut grants = Grants::default();
        grants.enter(1, live(&["tcp/22"], 30));

        let shorter = grants.holes(&rules(&["tcp/22"]), HoleTimeout::clamped(10), secs(5));
        let longer = grants.holes(&rules(&["tcp/22"]), HoleTimeout::clamped(60), secs(5));

        assert_eq!(shorter, []);
        assert_eq!(longer.len(), 1);
        assert_eq!(longer[0].timeout.secs(), 60);
    }

    #[test]
    fn grants_end_in_the_order_of_their_deadlines() {
        let mut grants = Grants::default();
        grants.enter(1, live(&["tcp/22"], 30));
        grants.enter(2, live(&["tcp/80"], 10));

        assert_eq!(grants.next_deadline(), Some(secs(10)));
        assert!(grants.take_ended(secs(9)).is_none());
        assert_eq!(grants.take_ended(secs(31)).unwrap().0, 2);
        assert_eq!(grants.take_ended(secs(31)).unwrap().0, 1);
        assert!(grants.take_ended(secs(31)).is_none());
        assert!(grants.is_empty() && grants.rules.is_empty());
    }

    #[test]
    fn a_door_that_another_grant_holds_is_shortened_and_not_closed() {
        let mut grants = Grants::default();
        grants.enter(1, live(&["tcp/22", "tcp/80"], 60));
        grants.enter(2, live(&["tcp/22"], 30));

        let (gone, revoked) = grants.revoke(secs(5), |live| live.deadline == secs(30));

        assert_eq!(gone.len(), 1);
        assert_eq!(revoked.close, rules(&["tcp/80"]));
        assert_eq!(revoked.shorten.len(), 1);
        assert_eq!(revoked.shorten[0].timeout.secs(), 25);
        assert_eq!(grants.take_ended(secs(60)).unwrap().0, 2);
    }

    fn live(ports: &[&str], deadline_secs: u64) -> Live {
        Live {
            id: GrantId([0; 16]),
            origin: Origin::Adopted(Box::new(Event::new(EventKind::GrantOpened, 0))),
            rules: rules(ports),
            deadline: secs(deadline_secs),
            until_ms: 0,
        }
    }

    fn rules(ports: &[&str]) -> Vec<Rule> {
        let rule = |port: &&str| Rule::Accept {
            address: "192.0.2.7".parse().unwrap(),
            port: port.parse().unwrap(),
        };
        ports.iter().map(rule).collect()
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }
}
