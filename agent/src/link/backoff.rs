//! How long to wait before trying again, so that a thousand agents do not try at once.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

const FIRST: Duration = Duration::from_millis(200);
const AFTER_SHORT: Duration = Duration::from_secs(1);
/// With the jitter, which adds up to as much again, no wait is longer than twice this.
const LAST: Duration = Duration::from_secs(15);

/// Waits that grow from 0.2 s to at most 30 s, each with a random part.
#[derive(Debug)]
pub(super) struct Backoff(ExponentialBackoff);

// === impl Backoff ===

impl Backoff {
    pub(super) fn new() -> Self {
        Self::between(FIRST, LAST)
    }

    /// The same with other bounds; the random part may double each wait.
    pub(super) fn between(first: Duration, last: Duration) -> Self {
        let builder = ExponentialBuilder::default()
            .with_min_delay(first)
            .with_max_delay(last)
            .with_jitter()
            .without_max_times();
        Self(builder.build())
    }

    /// How long to wait now.
    pub(super) fn next(&mut self) -> Duration {
        self.0.next().unwrap_or(LAST)
    }

    /// Begins anew after a success, and not quite where that was short: whoever ends every session at
    /// once is not dialled five times a second by everybody.
    pub(super) fn succeeded(&mut self, is_long: bool) {
        let first = if is_long { FIRST } else { AFTER_SHORT };
        *self = Self::between(first, LAST);
    }

    /// Begins anew, after a success.
    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_session_that_succeeded_however_short_it_is_dialled_again_soon() {
        for (is_long, most) in [(true, 2 * FIRST), (false, 2 * AFTER_SHORT)] {
            let mut backoff = Backoff::new();
            let last = (0..50).map(|_| backoff.next()).last();
            assert!(last >= Some(LAST), "{last:?}");

            backoff.succeeded(is_long);

            let next = backoff.next();
            assert!(next <= most, "{next:?}");
        }
    }

    #[test]
    fn waits_grow_and_are_capped_with_a_random_part() {
        let mut backoff = Backoff::new();

        let first = backoff.next();
        let later: Vec<_> = (0..50).map(|_| backoff.next()).skip(10).collect();

        assert!(first >= FIRST && first <= FIRST * 2, "{first:?}");
        assert!(later.iter().all(|wait| *wait >= LAST && *wait <= LAST * 2));
        assert!(later.iter().any(|wait| *wait != LAST));
    }
}
