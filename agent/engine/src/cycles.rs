//! Command cycles that are open: commands of the host's owner have opened something, and others are to
//! close it.
//!
//! | stage | recorded | a start finds it and |
//! |---|---|---|
//! | opening | before the opening command runs | takes it for open: what it did is not known |
//! | open | when the opening command has ended | closes it at its time, or at once if that is over |
//! | closing | before the closing command runs | runs that again: how far it came is not known |
//! | (gone) | when the closing command has ended | knows nothing of it |
//!
//! So the closing command runs exactly once, but for an agent that is killed while it runs: then it
//! runs again. An opening command never runs again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use fleet::{Event, GrantId};
use gate::Identity;
use spa::{ReplayDigest, Service};

use crate::end::End;
use crate::grants::Origin;

/// Cycles that may be open at once.
pub(crate) const CYCLES_MAX: usize = 4_096;
/// After so long a closing command is tried again that could not be started.
const RETRY: Duration = Duration::from_secs(10);

/// How far a cycle is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CycleStage {
    /// Its opening command runs, or was about to.
    Opening,
    /// Its opening command has ended.
    Open,
    /// Its closing command runs, or was about to.
    Closing,
}

/// A cycle whose end has not been recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedCycle {
    /// Its name, which it keeps.
    pub id: GrantId,
    /// The command that closes it.
    pub close: String,
    /// The event that opened it.
    pub opened: Event,
    /// How far it was.
    pub stage: CycleStage,
}

/// One cycle that has been opened, or is about to be.
#[derive(Debug)]
pub(crate) struct LiveCycle {
    pub(crate) id: GrantId,
    pub(crate) origin: Origin,
    /// Whom it lets in, and to what.
    pub(crate) address: IpAddr,
    pub(crate) port: Service,
    /// The command that closes it.
    pub(crate) close: String,
    /// Steady time at which that is to run.
    pub(crate) deadline: Duration,
    /// The same, in milliseconds since the Unix epoch, as the audit says it.
    pub(crate) until_ms: u64,
    pub(crate) stage: CycleStage,
    /// Why it ends before its time, if it does.
    pub(crate) ends: Option<EarlyEnd>,
    /// How often its closing command could not be started.
    pub(crate) failures: u32,
}

/// Why a cycle ends before its time.
#[derive(Clone, Debug)]
pub(crate) struct EarlyEnd {
    pub(crate) end: End,
    pub(crate) reason: String,
    /// The request that closes, if it was one.
    pub(crate) request: Option<ReplayDigest>,
}

/// All cycles that are open.
#[derive(Debug, Default)]
pub(crate) struct Cycles {
    live: BTreeMap<GrantId, LiveCycle>,
    /// Those whose closing command is to run, by the time at which.
    due: BTreeSet<(Duration, GrantId)>,
}

// === impl LiveCycle ===

impl LiveCycle {
    /// Whether it was given to this user for a message with the same key.
    pub(crate) fn is_of(&self, asking: &Identity) -> bool {
        self.origin.is_of(asking)
    }

    /// When its closing command is to run.
    fn due_at(&self) -> Duration {
        if self.ends.is_some() {
            Duration::ZERO
        } else {
            self.deadline
        }
    }
}

// === impl Cycles ===

impl Cycles {
    pub(crate) fn len(&self) -> usize {
        self.live.len()
    }

    pub(crate) fn get(&self, id: GrantId) -> Option<&LiveCycle> {
        self.live.get(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &LiveCycle> {
        self.live.values()
    }

    /// Enters a cycle whose opening is recorded.
    pub(crate) fn enter(&mut self, cycle: LiveCycle) {
        if cycle.stage == CycleStage::Open {
            self.due.insert((cycle.due_at(), cycle.id));
        }
        self.live.insert(cycle.id, cycle);
    }

    /// Its opening command has ended: it waits for its time.
    pub(crate) fn opened(&mut self, id: GrantId) {
        if let Some(cycle) = self.live.get_mut(&id) {
            cycle.stage = CycleStage::Open;
            self.due.insert((cycle.due_at(), id));
        }
    }

    /// It is to end now, for this reason, if it has not begun to. The first reason counts.
    pub(crate) fn end_now(&mut self, id: GrantId, ends: EarlyEnd) {
        let Some(cycle) = self.live.get_mut(&id) else {
            return;
        };
        if cycle.stage == CycleStage::Closing || cycle.ends.is_some() {
            return;
        }
        let is_waiting = self.due.remove(&(cycle.due_at(), id));
        cycle.ends = Some(ends);
        if is_waiting {
            self.due.insert((cycle.due_at(), id));
        }
    }

    /// When the next closing command is to run.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The next cycle whose closing command is to run by now. It is closing from here on.
    pub(crate) fn take_due(&mut self, steady: Duration) -> Option<&LiveCycle> {
        let (at, id) = *self.due.first()?;
        if at > steady {
            return None;
        }
        self.due.pop_first();
        let cycle = self.live.get_mut(&id)?;
        cycle.stage = CycleStage::Closing;
        Some(cycle)
    }

    /// Its closing command could not be started: it is tried again. Whether that is so for the first
    /// time.
    pub(crate) fn retry(&mut self, id: GrantId, steady: Duration) -> bool {
        let Some(cycle) = self.live.get_mut(&id) else {
            return false;
        };
        cycle.stage = CycleStage::Open;
        cycle.failures += 1;
        self.due.insert((steady + RETRY, id));
        cycle.failures == 1
    }

    /// It is over.
    pub(crate) fn remove(&mut self, id: GrantId) -> Option<LiveCycle> {
        let cycle = self.live.remove(&id)?;
        self.due.retain(|(_, other)| *other != id);
        Some(cycle)
    }
}
