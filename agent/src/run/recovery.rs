//! What an earlier run of the agent left open.

use engine::{Connection, Engine, Hole, HoleTimeout, Kernel, Rule, SavedCycle, SavedGrant};
use gate::Now;
use hashbrown::HashMap;

use crate::firewall::Holes;
use crate::journal::{FoundGrant, LiveGrant};

/// Closes what earlier runs left open, if it is to be closed, and lets the engine take over the rest
/// or record what became of it.
pub(super) fn recover(
    engine: &mut Engine,
    found: Vec<FoundGrant>,
    holes: &mut dyn Holes,
    flush: bool,
    connections: &[Connection],
    now: Now,
) {
    let (cycles, found): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|found| found.cycle.is_some());
    engine.recover_cycles(cycles.into_iter().filter_map(saved_cycle).collect(), now);
    let may_be_open = may_be_open(&found, now);
    let saved = found.into_iter().map(saved).collect();
    if flush {
        match holes.flush() {
            Ok(()) => return engine.recover(saved, Kernel::Flushed, connections, now),
            Err(cause) => {
                tracing::error!(error = %program::one_line(&cause), "cannot close what was left open; it ends by itself");
            }
        }
    }
    match holes.list() {
        Ok(open) => {
            correct(&open, &may_be_open, holes);
            engine.recover(saved, Kernel::Open(&open), connections, now);
        }
        Err(cause) => {
            tracing::error!(error = %program::one_line(&cause), "cannot see what an earlier run left open; it ends by itself");
            engine.recover(saved, Kernel::Unknown, connections, now);
        }
    }
}

/// For how many seconds from now each rule of a grant that is known may still be open.
fn may_be_open(found: &[FoundGrant], now: Now) -> HashMap<Rule, u64> {
    let mut left_secs = HashMap::new();
    for found in found.iter().filter(|found| !found.is_closed) {
        let until_ms = found.opened.until_ms.max(found.grant.until_ms);
        let left = until_ms.saturating_sub(now.wall_ms()).div_ceil(1_000);
        for rule in &found.grant.rules {
            let longest: &mut u64 = left_secs.entry(*rule).or_default();
            *longest = left.max(*longest);
        }
    }
    left_secs
}

/// Takes away what is open and no grant gave, and the time beyond a grant's: a ruleset that somebody
/// saved and loaded again brings old holes back, with the time that they had.
fn correct(open: &[Hole], may_be_open: &HashMap<Rule, u64>, holes: &mut dyn Holes) {
    let (close, shorten) = excess(open, may_be_open);
    if close.is_empty() && shorten.is_empty() {
        return;
    }
    tracing::warn!(
        closed = close.len(),
        shortened = shorten.len(),
        "found open what no grant gave, or for longer: it is taken back"
    );
    let result = holes.close(&close, &[]).and_then(|()| holes.open(&shorten));
    if let Err(cause) = result {
        tracing::error!(error = %program::one_line(&cause), "cannot take it back; it ends by itself");
    }
}

/// What is to be closed, and what is to be opened for less.
fn excess(open: &[Hole], may_be_open: &HashMap<Rule, u64>) -> (Vec<Rule>, Vec<Hole>) {
    /// The kernel's clock and ours may differ by so much.
    const SLACK_SECS: u64 = 3;
    let (mut close, mut shorten) = (Vec::new(), Vec::new());
    for hole in open {
        match may_be_open.get(&hole.rule) {
            None => close.push(hole.rule),
            Some(left) if u64::from(hole.timeout.secs()) <= left + SLACK_SECS => {}
            Some(0) => close.push(hole.rule),
            Some(left) => {
                let secs = u32::try_from(*left).unwrap_or(u32::MAX);
                shorten.push(Hole {
                    rule: hole.rule,
                    timeout: HoleTimeout::clamped(secs),
                });
            }
        }
    }
    (close, shorten)
}

fn saved_cycle(found: FoundGrant) -> Option<SavedCycle> {
    let (close, stage) = found.cycle?;
    Some(SavedCycle {
        id: found.grant.id,
        close,
        opened: found.opened,
        stage,
    })
}

fn saved(found: FoundGrant) -> SavedGrant {
    let FoundGrant {
        grant,
        opened,
        is_closed,
        is_given_up,
        cycle: _,
    } = found;
    let LiveGrant {
        id,
        until_ms: _,
        rules,
    } = grant;
    SavedGrant {
        id,
        rules,
        opened,
        is_closed,
        is_given_up,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hole(rule: &str, secs: u32) -> Hole {
        Hole {
            rule: rule.parse().unwrap(),
            timeout: HoleTimeout::clamped(secs),
        }
    }

    #[test]
    fn what_is_found_open_and_no_grant_gave_is_closed_and_what_is_open_for_longer_is_shortened() {
        let may_be_open = [
            ("192.0.2.7 tcp/22", 30),
            ("192.0.2.8 tcp/22", 30),
            ("192.0.2.9 tcp/22", 0),
            ("192.0.2.9 tcp/23", 0),
        ];
        let may_be_open = may_be_open
            .map(|(rule, left)| (rule.parse().unwrap(), left))
            .into();
        let open = [
            hole("192.0.2.7 tcp/22", 32),
            hole("192.0.2.8 tcp/22", 60),
            hole("192.0.2.9 tcp/22", 60),
            hole("192.0.2.7 tcp/23", 1),
            hole("192.0.2.9 tcp/23", 2),
        ];

        let (close, shorten) = excess(&open, &may_be_open);

        assert_eq!(close, [open[2].rule, open[3].rule]);
        assert_eq!(shorten, [hole("192.0.2.8 tcp/22", 30)]);
    }
}
