//! When a sink is tried again, and when it is an alarm that it lags. Pure: time is an argument.

use std::time::Duration;

/// Between two attempts, at first and at last.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Longer and longer pauses while nothing is delivered.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

/// What has become of an alarm.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Change {
    Begins,
    Ends,
}

// === impl Backoff ===

impl Backoff {
    /// The pause before the next attempt.
    pub(super) fn failed(&mut self) -> Duration {
        let pause = PAUSE_MIN.saturating_mul(1 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        pause.min(PAUSE_MAX)
    }

    /// How many attempts have failed since something was delivered.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn worked(&mut self) {
        self.failures = 0;
    }
}

/// Whether an alarm begins or ends with this lag. One that lasts ends when the lag is half of what
/// began it, so that a sink at the edge does not begin and end one with every record: the event that
/// says so is a record itself.
pub(super) fn change(is_alarm: bool, lag: Duration, alarm_after: Duration) -> Option<Change> {
    match is_alarm {
        false if lag > alarm_after => Some(Change::Begins),
        true if lag <= alarm_after / 2 => Some(Change::Ends),
        false | true => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(300);

    #[test]
    fn pauses_double_up_to_half_a_minute_and_begin_anew_when_something_is_delivered() {
        let mut backoff = Backoff::default();

        let pauses: Vec<u64> = (0..7).map(|_| backoff.failed().as_secs()).collect();
        backoff.worked();

        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(backoff.failed(), PAUSE_MIN);
    }

    #[test]
    fn an_alarm_begins_once_and_ends_once_however_the_lag_wavers() {
        let lags = [0, 299, 300, 301, 299, 400, 151, 301, 150, 151, 300, 0];
        let mut is_alarm = false;
        let mut changes = Vec::new();

        for lag in lags.map(Duration::from_secs) {
            if let Some(change) = change(is_alarm, lag, AFTER) {
                is_alarm = change == Change::Begins;
                changes.push((lag.as_secs(), change));
            }
        }

        assert_eq!(changes, [(301, Change::Begins), (150, Change::Ends)]);
    }
}
