//! Whether writes succeed, for the log and for whoever asks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::store::error::NotCommitted;

/// Between two lines of the log while writes fail.
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Whether writes succeed, as the log is told: once when they no longer do, again after a while,
/// and once when they do again.
#[derive(Debug, Default)]
pub(super) struct Health {
    said: Option<Instant>,
    refused: usize,
    fault: Fault,
}

/// Why writes fail now, for whoever asks; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Fault(Arc<Mutex<Option<String>>>);

// === impl Health ===

impl Fault {
    /// `None` while they succeed.
    pub(super) fn get(&self) -> Option<String> {
        self.0.lock().clone()
    }
}

impl Health {
    /// One that also tells this.
    pub(super) fn telling(fault: &Fault) -> Self {
        Self {
            fault: fault.clone(),
            ..Self::default()
        }
    }

    pub(super) fn failed(&mut self, cause: &NotCommitted, writes: usize, now: Instant) {
        *self.fault.0.lock() = Some(program::one_line(cause).to_string());
        self.refused += writes;
        if self.is_due(now) {
            self.said = Some(now);
            let refused = self.refused;
            tracing::error!(
                error = %program::one_line(cause), refused,
                "the database takes no writes: nothing is granted, applied or joined by it"
            );
        }
    }

    pub(super) fn worked(&mut self) {
        *self.fault.0.lock() = None;
        if self.said.take().is_some() {
            let refused = std::mem::take(&mut self.refused);
            tracing::warn!(refused, "the database takes writes again");
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let long_ago = |said: Instant| now.saturating_duration_since(said) >= SAID_AGAIN_AFTER;
        self.said.is_none_or(long_ago)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::store::error::Trouble;

    #[test]
    fn that_writes_fail_is_said_once_in_a_while_and_that_they_work_again_once() {
        let begin = clock::instant();
        let fault = Fault::default();
        let mut health = Health::telling(&fault);
        let full = NotCommitted::Disk(Trouble::Full);

        health.failed(&full, 3, begin);
        assert_eq!(fault.get().as_deref(), Some("the disk is full"));
        assert!(!health.is_due(begin + Duration::from_secs(59)));
        assert!(health.is_due(begin + SAID_AGAIN_AFTER));
        health.worked();
        assert_eq!((health.said, health.refused), (None, 0));
        assert_eq!(fault.get(), None);
    }
}
