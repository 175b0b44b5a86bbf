//! What the hosts of a crew have done.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::words::State;
use crate::clock;

/// What the hosts of this crew have done.
#[derive(Debug, Default)]
pub(super) struct Tally {
    joined: AtomicU64,
    open: AtomicU64,
    ended: AtomicU64,
    opened_us: AtomicU64,
    bytes: AtomicU64,
    sent: AtomicU64,
    changed: Mutex<Changed>,
}

/// Who has got another policy since the mark.
#[derive(Debug, Default)]
struct Changed {
    mark: u64,
    hosts: Vec<bool>,
    count: u64,
    at_us: u64,
}

// === impl Tally ===

impl Tally {
    /// Of so many hosts.
    pub(super) fn of(hosts: usize) -> Self {
        let tally = Self::default();
        tally.changed().hosts = vec![false; hosts];
        tally
    }

    /// One more has joined.
    pub(super) fn joined(&self) {
        self.joined.fetch_add(1, Ordering::Relaxed);
    }

    fn changed(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.opened_us
            .fetch_max(clock::shared_us(), Ordering::Relaxed);
    }

    pub(super) fn ended(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// The controller has noted that this host of the crew has what it was sent.
    pub(super) fn applied(&self, host: usize, bytes: usize) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes.fetch_max(bytes, Ordering::Relaxed);
        let mut changed = self.changed();
        let is_news = changed.hosts.get_mut(host);
        if is_news.is_some_and(|seen| !std::mem::replace(seen, true)) {
            changed.count += 1;
            changed.at_us = clock::shared_us();
        }
    }

    pub(super) fn mark(&self, mark: u64) {
        let mut changed = self.changed();
        changed.hosts.fill(false);
        (changed.mark, changed.count, changed.at_us) = (mark, 0, 0);
        self.bytes.store(0, Ordering::Relaxed);
    }

    pub(super) fn state(&self) -> State {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let changed = self.changed();
        State {
            joined: of(&self.joined),
            open: of(&self.open),
            ended: of(&self.ended),
            opened_us: of(&self.opened_us),
            mark: changed.mark,
            changed: changed.count,
            changed_us: changed.at_us,
            bytes: of(&self.bytes),
            sent: of(&self.sent),
        }
    }
}
