//! Asking again for what is open: the one grant goes on for longer, and there is no second one that
//! would have to be taken back as well.
//!
//! The same is asked for when user, key, addresses and ports are the same. What is longer is recorded
//! before it is opened, as a grant is; nothing is ever shortened.

use std::collections::BTreeSet;
use std::hash::BuildHasher as _;
use std::time::Duration;

use fleet::GrantId;
use gate::{Grant, Identity, Now};
use hashbrown::{DefaultHashBuilder, HashMap};

use super::Engine;
use crate::batch::{Item, Permits};
use crate::effect::{Closing, Effect};
use crate::end::End;
use crate::grants::{LiveGrant, Origin, Restore};
use crate::record::{self, Change, Record};
use crate::rule::Rule;

/// When something ends, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until {
    pub(super) deadline: Duration,
    pub(super) ms: u64,
}

/// Where the grants stand that the next batch opens or extends, by what they are; where two are
/// taken for the same, the later one.
#[derive(Debug, Default)]
pub(super) struct Staged {
    places: HashMap<u64, usize>,
    hasher: DefaultHashBuilder,
}

// === impl Engine ===

impl Engine {
    /// Extends the grant that gives the same to the same user already; gives everything back if
    /// there is none.
    pub(super) fn refresh(
        &mut self,
        grant: Grant,
        rules: Vec<Rule>,
        until: Until,
        now: Now,
    ) -> Option<(Grant, Vec<Rule>)> {
        if let Some((id, event)) = self.join(&grant, &rules, until, now) {
            self.stage(Record::extends(event, id), Permits::Join);
            return None;
        }
        let Some(same) = self.grants.same(grant.identity(), &rules, now.steady) else {
            return Some((grant, rules));
        };
        let (id, before) = (same.id, Until::of(same));
        self.extend_after_all(id, now);
        let until = until.later(before);
        let is_longer = until.deadline > before.deadline;
        let blocked = self.blocked(&rules);
        let event = record::refreshed(&grant, id, until.ms, is_longer, &blocked, now);
        let live = LiveGrant {
            id,
            origin: Origin::Given(Box::new(grant)),
            rules,
            deadline: until.deadline,
            until_ms: until.ms,
        };
        self.note_staged(&live);
        self.stage(Record::extends(event, id), Permits::Extend(Box::new(live)));
        None
    }

    /// Lets what the next batch opens be open for as long as is asked for now.
    fn join(
        &mut self,
        grant: &Grant,
        rules: &[Rule],
        until: Until,
        now: Now,
    ) -> Option<(GrantId, fleet::Event)> {
        let place = self.staged.place(grant.identity(), rules)?;
        let blocked = self.blocked(rules);
        let live = self.items.get_mut(place).and_then(Item::staged)?;
        if !live.is_same(grant.identity(), rules) {
            return None;
        }
        let before = Until::of(live);
        let until = until.later(before);
        live.deadline = until.deadline;
        live.until_ms = until.ms;
        let is_longer = until.deadline > before.deadline;
        let event = record::refreshed(grant, live.id, until.ms, is_longer, &blocked, now);
        Some((live.id, event))
    }

    /// Remembers where this grant will stand among the records.
    pub(super) fn note_staged(&mut self, live: &LiveGrant) {
        if let Origin::Given(grant) = &live.origin {
            let place = self.items.len();
            self.staged.note(grant.identity(), &live.rules, place);
        }
    }

    /// The firewall did not extend these, or not all of it. They are open as is recorded until it is
    /// sure that they are not.
    pub(super) fn take_back_extensions(&mut self, extended: Vec<LiveGrant>, reason: String) {
        let mut closing = Closing::of(Vec::new(), End::NotExtended, reason);
        for live in extended {
            let before = self.grants.get(live.id).map(Until::of);
            closing.restore.extend(before.map(|before| Restore {
                id: live.id,
                deadline: before.deadline,
                until_ms: before.ms,
            }));
            self.grants.enter(live);
        }
        if !closing.restore.is_empty() {
            self.effects.push_back(Effect::Close(closing));
        }
    }

    /// Whoever asks again for what could not be extended, and is still recorded as extended, wants that
    /// it is.
    fn extend_after_all(&mut self, id: GrantId, now: Now) {
        for (_, closing) in &mut self.unclosed {
            let before = closing.restore.len();
            closing.restore.retain(|restore| restore.id != id);
            if closing.restore.len() < before {
                self.reopen_at = Some(now.steady);
            }
        }
    }

    /// Refuses what the next batch was to open; how many grants that are. What it was to extend ends
    /// with what is open.
    pub(super) fn withdraw(
        &mut self,
        is_meant: impl Fn(&LiveGrant) -> bool,
        reason: &str,
    ) -> usize {
        let mut gone = BTreeSet::new();
        for item in &mut self.items {
            let is_gone = match &item.permits {
                Permits::Open(live) if is_meant(live) => gone.insert(live.id),
                Permits::Join => {
                    let change = item.record.change();
                    matches!(change, Change::Extends(id) if gone.contains(id))
                }
                Permits::Open(_)
                | Permits::Extend(_)
                | Permits::Nothing
                | Permits::Publish
                | Permits::Run(_, _)
                | Permits::Cycle(_, _)
                | Permits::CloseCycle(_) => false,
            };
            if is_gone {
                item.permits = Permits::Nothing;
                item.record.refuse(reason);
            }
        }
        self.opening -= gone.len();
        gone.len()
    }
}

// === impl Until ===

impl Until {
    fn of(live: &LiveGrant) -> Self {
        Self {
            deadline: live.deadline,
            ms: live.until_ms,
        }
    }

    fn later(self, other: Self) -> Self {
        if self.deadline > other.deadline {
            self
        } else {
            other
        }
    }
}

// === impl Staged ===

impl Staged {
    /// The next batch is empty again, or its records stand elsewhere.
    pub(super) fn clear(&mut self) {
        self.places.clear();
    }

    fn note(&mut self, asking: &Identity, rules: &[Rule], place: usize) {
        self.places.insert(self.what(asking, rules), place);
    }

    fn place(&self, asking: &Identity, rules: &[Rule]) -> Option<usize> {
        if self.places.is_empty() {
            return None;
        }
        self.places.get(&self.what(asking, rules)).copied()
    }

    fn what(&self, asking: &Identity, rules: &[Rule]) -> u64 {
        self.hasher.hash_one((asking.key(), asking.user(), rules))
    }
}
