//! How long the write-ahead log of a database has become, and when it is emptied.

use std::time::{Duration, Instant};

/// A write-ahead log above this is to be emptied, in bytes. SQLite itself does so when nobody
/// reads; beside readers that never rest it never gets round to it.
const LONG: u64 = 64 * 1024 * 1024;
/// One above this is emptied whatever it costs: readers are waited for, who are bounded in time.
const TOO_LONG: u64 = 512 * 1024 * 1024;
/// How long the writer waits for readers, and how often it does.
const PATIENCE: Duration = Duration::from_millis(50);
const PATIENCE_WHEN_TOO_LONG: Duration = Duration::from_secs(12);
const PAUSE: Duration = Duration::from_millis(500);

/// When the write-ahead log was last to be emptied.
#[derive(Debug, Default)]
pub(super) struct WriteAhead {
    tried: Option<Instant>,
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
