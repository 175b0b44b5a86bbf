//! What an earlier run of the agent left open.

use std::time::Duration;

use fleet::{Event, GrantId};
use gate::Now;
use hashbrown::HashSet;

use super::Engine;
use crate::grants::{LiveGrant, Origin};
use crate::record::End;
use crate::rule::{Hole, Rule};

/// A grant whose end has not been recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedGrant {
    /// Its name, which it keeps.
    pub id: GrantId,
    /// What it opened.
    pub rules: Vec<Rule>,
    /// The event that opened it.
    pub opened: Event,
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
    /// Takes over the grants of earlier runs that are still open, and records what became of the
    /// others. To be called before anything else.
    pub fn recover(&mut self, saved: Vec<SavedGrant>, kernel: Kernel<'_>, now: Now) {
        let open: HashSet<Rule> = match kernel {
            Kernel::Open(holes) => holes.iter().map(|hole| hole.rule).collect(),
            Kernel::Flushed | Kernel::Unknown => HashSet::new(),
        };
        for saved in saved {
            let live = live_of(saved, now);
            if live.until_ms <= now.wall_ms() {
                let reason = "while the agent was not running";
                let at_ms = live.until_ms;
                self.record_end(End::Closed, &live, at_ms, reason);
                continue;
            }
            let found_closed = match kernel {
                Kernel::Flushed => Some("closed at the start of the agent"),
                Kernel::Open(_) if !live.rules.iter().any(|rule| open.contains(rule)) => {
                    Some("found closed at the start of the agent")
                }
                Kernel::Open(_) | Kernel::Unknown => None,
            };
            match found_closed {
                Some(reason) => {
                    let at_ms = now.wall_ms();
                    self.record_end(End::Closed, &live, at_ms, reason);
                }
                None => self.grants.enter(live),
            }
        }
    }
}

fn live_of(saved: SavedGrant, now: Now) -> LiveGrant {
    let SavedGrant { id, rules, opened } = saved;
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
