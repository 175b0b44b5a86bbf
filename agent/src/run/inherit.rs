//! What an earlier run of the agent left open.

use std::collections::HashSet;
use std::time::Duration;

use engine::Rule;
use fleet::EventKind;
use gate::Now;

use super::events;
use super::grants::{Grants, Live, Origin};
use crate::config::Config;
use crate::firewall::Holes;
use crate::journal::{FoundGrant, LiveGrant, Start};

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

    for found in std::mem::take(&mut start.open_grants) {
        let seq = found.opened.seq;
        let live = live_of(found, now);
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
        start.journal.stage_closed(live.id, closed);
    }
    grants
}

fn live_of(found: FoundGrant, now: Now) -> Live {
    let FoundGrant { grant, opened } = found;
    let LiveGrant {
        id,
        until_ms,
        address,
        ports,
    } = grant;
    let rules = ports.into_iter();
    let rules = rules.map(|port| Rule::Accept { address, port });
    let left = Duration::from_millis(until_ms.saturating_sub(now.wall_ms()));
    Live {
        id,
        origin: Origin::Adopted(Box::new(opened)),
        rules: rules.collect(),
        deadline: now.steady + left,
        until_ms,
    }
}
