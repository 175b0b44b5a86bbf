//! What an earlier run of the agent left open.

use engine::{Connection, Engine, Kernel, SavedGrant};
use gate::Now;

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
        Ok(open) => engine.recover(saved, Kernel::Open(&open), connections, now),
        Err(cause) => {
            tracing::error!(error = %program::one_line(&cause), "cannot see what an earlier run left open; it ends by itself");
            engine.recover(saved, Kernel::Unknown, connections, now);
        }
    }
}

fn saved(found: FoundGrant) -> SavedGrant {
    let FoundGrant {
        grant,
        opened,
        is_closed,
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
    }
}
