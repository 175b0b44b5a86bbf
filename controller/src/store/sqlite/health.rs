//! What the writer remembers of its disk: whether it writes, and how long the log has become.

use std::time::{Duration, Instant};

use crate::store::error::NotCommitted;

/// Between two lines of the log while writes fail.
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// A write-ahead log above this is to be emptied, in bytes. SQLite itself does so when nobody
/// reads; beside readers that never rest it never gets round to it.
const LONG: u64 = 64 * 1024 * 1024;
/// One above this is emptied whatever it costs: readers are waited for, who are bounded in time.
const TOO_LONG: u64 = 512 * 1024 * 1024;
/// How long the writer waits for readers, and how often it does.
const PATIENCE: Duration = Duration::from_millis(50);
const PATIENCE_WHEN_TOO_LONG: Duration = Duration::from_secs(12);
const PAUSE: Duration = Duration::from_millis(500);

/// Whether writes succeed, as the log is told: once when they no longer do, again after a while,
/// and once when they do again.
#[derive(Debug, Default)]
pub(in crate::store) struct Health {
    said: Option<Instant>,
    refused: usize,
}

/// When the write-ahead log was last to be emptied.
#[derive(Debug, Default)]
pub(super) struct WriteAhead {
    tried: Option<Instant>,
}

// === impl Health ===

impl Health {
    pub(in crate::store) fn failed(&mut self, cause: &NotCommitted, writes: usize, now: Instant) {
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

    pub(in crate::store) fn worked(&mut self) {
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

// === impl WriteAhead ===

impl WriteAhead {
    /// How long to wait for readers, when a log of so many bytes is to be emptied now.
    pub(super) fn is_due(&mut self, bytes: u64, now: Instant) -> Option<Duration> {
        if bytes < LONG {
            return None;
        }
        let patience = if bytes < TOO_LONG {
            PATIENCE
        } else {
            PATIENCE_WHEN_TOO_LONG
        };
        // At most a third of the time is spent on waiting.
        let pause = PAUSE.max(patience * 3);
        let just_tried = |tried: Instant| now.saturating_duration_since(tried) < pause;
        if self.tried.is_some_and(just_tried) {
            return None;
        }
        self.tried = Some(now);
        Some(patience)
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
        let mut health = Health::default();
        let full = NotCommitted::Disk(Trouble::Full);

        health.failed(&full, 3, begin);
        assert!(!health.is_due(begin + Duration::from_secs(59)));
        assert!(health.is_due(begin + SAID_AGAIN_AFTER));
        health.worked();
        assert_eq!((health.said, health.refused), (None, 0));
    }

    #[test]
    fn a_long_log_is_emptied_now_and_then_and_one_that_is_too_long_waits_for_readers() {
        let begin = clock::instant();
        let mut log = WriteAhead::default();

        assert_eq!(log.is_due(LONG - 1, begin), None);
        assert_eq!(log.is_due(LONG, begin), Some(PATIENCE));
        assert_eq!(log.is_due(LONG, begin), None);
        let later = begin + PATIENCE_WHEN_TOO_LONG * 3;
        assert_eq!(log.is_due(TOO_LONG, later), Some(PATIENCE_WHEN_TOO_LONG));
    }
}
