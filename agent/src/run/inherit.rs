//! What an earlier run of the agent left open.

use std::collections::HashSet;
use std::time::Duration;

use engine::Rule;
use fleet::{Event, EventKind};
use gate::Now;

use super::events;
use super::grants::{Grants, Live, Origin};
use crate::config::Config;
use crate::firewall::Holes;
use crate::journal::Start;

/// Closes, or takes over, the grants of earlier runs, and records what became of them.
pub(super) fn settle_the_past(
    start: &mut Start,
    firewall: &mut dyn Holes,
    config: &Config,
    now: Now,
) -> Grants {
    let mut grants = Grants::default();
    let flush = config.firewall.flush_at_start;
    let flushed = if flush { firewall.flush() } else { Ok(()) };
    let open = flushed
        .and_then(|()| firewall.list())
        .unwrap_or_else(|cause| {
            tracing::error!(%cause, "cannot see what an earlier run left open; it ends by itself");
            Vec::new()
        });
    let open: HashSet<Rule> = open.iter().map(|hole| hole.rule).collect();

    for event in std::mem::take(&mut start.open_grants) {
        let seq = event.seq;
        let live = live_of(event, now);
        let has_ended = live.until_ms <= now.wall_ms();
        if !has_ended && live.rules.iter().all(|rule| open.contains(rule)) {
            grants.enter(seq, live);
            continue;
        }
        let (at_ms, reason) = match (has_ended, flush) {
            (true, _) => (live.until_ms, "while the agent was not running"),
            (false, true) => (now.wall_ms(), "closed at the start of the agent"),
            (false, false) => (now.wall_ms(), "found closed at the start of the agent"),
        };
        let closed = events::closed(EventKind::GrantClosed, &live, at_ms, reason);
        start.journal.stage_closed(seq, closed);
    }
    grants
}

fn live_of(event: Event, now: Now) -> Live {
    let address = event.opened.parse();
    let rules = event
        .ports
        .iter()
        .filter_map(|port| {
            let address = address.clone().ok()?;
            let port = port.parse().ok()?;
            Some(Rule::Accept { address, port })
        })
        .collect();
    let until_ms = event.until_ms;
    let left = Duration::from_millis(until_ms.saturating_sub(now.wall_ms()));
    Live {
        origin: Origin::Adopted(Box::new(event)),
        rules,
        deadline: now.steady + left,
        until_ms,
    }
}
