//! What an earlier run of the agent left open.

use std::time::Duration;

use fleet::{Event, GrantId};
use gate::Now;
use hashbrown::HashSet;

use super::Engine;
use crate::connection::Connection;
use crate::effect::Effect;
use crate::end::End;
use crate::grants::{LiveGrant, Origin};
use crate::rule::{Hole, Rule};
use crate::rule_index::RuleIndex;

/// A grant whose end has not been recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedGrant {
    /// Its name, which it keeps.
    pub id: GrantId,
    /// What it opened.
    pub rules: Vec<Rule>,
    /// The event that opened it.
    pub opened: Event,
    /// Whether it is recorded that its hole has closed: then it lives on in connections, or did.
    pub is_closed: bool,
    /// Whether its user wants its connections ended, as [`Effect::GiveUp`] said.
    pub is_given_up: bool,
}

/// What the kernel says about what is open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kernel<'h> {
    /// Everything has just been closed.
    Flushed,
    /// This is open.
    Open(&'h [Hole]),
    /// It cannot be asked: everything may be open that has not ended.
    Unknown,
}

// === impl Engine ===

impl Engine {
    /// Takes over the grants of earlier runs that are still open, or that live on in these
    /// connections, and records what became of the others. To be called before anything else.
    pub fn recover(
        &mut self,
        saved: Vec<SavedGrant>,
        kernel: Kernel<'_>,
        connections: &[Connection],
        now: Now,
    ) {
        self.attribute_found(&saved, connections);
        let given_up = saved.iter().filter(|saved| saved.is_given_up);
        self.connections
            .give_up(&given_up.map(|saved| saved.id).collect());
        let holes = match kernel {
            Kernel::Open(holes) => holes,
            Kernel::Flushed | Kernel::Unknown => &[],
        };
        let open: HashSet<Rule> = holes.iter().map(|hole| hole.rule).collect();
        // A packet filter may hold a range in parts, and show two as one.
        let is_open = |rule: &Rule| {
            open.contains(rule)
                || rule.is_wide() && holes.iter().any(|hole| hole.rule.overlaps(rule))
        };
        for saved in saved {
            let is_closed = saved.is_closed;
            let live = live_of(saved, now);
            if is_closed {
                self.go_on_or_forget(live, now);
                continue;
            }
            if live.until_ms <= now.wall_ms() {
                let at_ms = live.until_ms;
                let reason = "while the agent was not running";
                self.record_end(End::Closed, &live, at_ms, reason);
                self.put_by(live, None, now);
                continue;
            }
            let found_closed = match kernel {
                Kernel::Flushed => Some("closed at the start of the agent"),
                Kernel::Open(_) if !live.rules.iter().any(is_open) => {
                    Some("found closed at the start of the agent")
                }
                Kernel::Open(_) | Kernel::Unknown => None,
            };
            match found_closed {
                Some(reason) => {
                    self.record_end(End::Closed, &live, now.wall_ms(), reason);
                    self.put_by(live, None, now);
                }
                None => self.grants.enter(live),
            }
        }
    }

    /// Nobody saw these begin: every grant is a candidate that gives such a rule.
    fn attribute_found(&mut self, saved: &[SavedGrant], connections: &[Connection]) {
        let mut holders = RuleIndex::default();
        for saved in saved {
            for rule in &saved.rules {
                holders.insert(*rule, saved.id);
            }
        }
        for connection in connections {
            let candidates = holders.letting_begin(connection);
            if !candidates.is_empty() {
                let candidates = candidates.into_iter().collect();
                self.connections.enter(*connection, candidates);
            }
        }
    }

    /// The end of its hole is recorded; it has connections still, or none.
    fn go_on_or_forget(&mut self, live: LiveGrant, now: Now) {
        if self.connections.count_of(live.id) > 0 {
            self.put_by(live, None, now);
        } else {
            self.effects.push_back(Effect::Forget(live.id));
        }
    }
}

fn live_of(saved: SavedGrant, now: Now) -> LiveGrant {
    let SavedGrant {
        id,
        rules,
        opened,
        is_closed: _,
        is_given_up: _,
    } = saved;
    let until_ms = opened.until_ms;
    let left = Duration::from_millis(until_ms.saturating_sub(now.wall_ms()));
    LiveGrant {
        id,
        origin: Origin::Recovered(Box::new(opened)),
        rules,
        deadline: now.steady + left,
        until_ms,
    }
}
