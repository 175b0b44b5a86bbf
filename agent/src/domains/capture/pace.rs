//! How often a source is looked at while it never pauses.
//!
//! A packet that comes alone is read at once. In a flood the way to sleep and back would cost more than what is done for
//! a packet in between, so what comes within a short rest is read together, as network cards do it (ethtool(8),
//! `adaptive-rx`).

use std::time::Duration;

/// How long a rest is, and so how much later than at once a packet of a user is read in a flood.
const REST: Duration = Duration::from_micros(300);
/// What is counted at once.
const WINDOW: Duration = Duration::from_millis(10);
/// So many packets in a window are a flood: three in each rest, 10,000 a second.
const FLOOD: usize = 100;

/// The rate of one source.
#[derive(Debug, Default)]
pub(super) struct Pace {
    window_ends: Duration,
    taken: usize,
    is_flood: bool,
    rests_until: Duration,
}

// === impl Pace ===

impl Pace {
    /// So many packets were read at `steady`.
    pub(super) fn took(&mut self, taken: usize, steady: Duration) {
        if self.window_ends <= steady {
            self.is_flood = self.taken >= FLOOD && steady < self.window_ends + WINDOW;
            self.window_ends = steady + WINDOW;
            self.taken = 0;
        }
        self.taken += taken;
        if self.is_flood && taken > 0 {
            self.rests_until = steady + REST;
        }
    }

    /// How long nothing is to be read yet, if so.
    pub(super) fn rest(&self, steady: Duration) -> Option<Duration> {
        let left = self.rests_until.saturating_sub(steady);
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads one packet each `every`, for so long, and says how often it rested.
    fn rests(pace: &mut Pace, from: Duration, every: Duration, span: Duration) -> usize {
        let mut steady = from;
        let mut rests = 0;
        while steady < from + span {
            pace.took(1, steady);
            rests += usize::from(pace.rest(steady).is_some());
            steady += every;
        }
        rests
    }

    #[test]
    fn who_comes_alone_is_read_at_once_and_a_flood_rests_until_it_ends() {
        let mut pace = Pace::default();
        let (second, start) = (Duration::from_secs(1), Duration::from_secs(100));

        // A thousand a second is none.
        let busy = rests(&mut pace, start, Duration::from_millis(1), second);
        assert_eq!(busy, 0);

        // 50,000 are one, from the second window on.
        let in_flood = rests(&mut pace, start + second, Duration::from_micros(20), second);
        assert_eq!(in_flood, 49_500);

        // After it nobody waits longer than a rest, nor does who comes next.
        let after = start + 2 * second;
        assert!(pace.rest(after).is_some_and(|left| left <= REST));
        assert_eq!(pace.rest(after + REST), None);
        pace.took(1, after + second);
        assert_eq!(pace.rest(after + second), None);
    }

    #[test]
    fn a_rest_is_for_what_was_read_and_not_for_looking() {
        let mut pace = Pace::default();
        let start = Duration::from_secs(100);
        pace.took(FLOOD, start);
        pace.took(FLOOD, start + WINDOW);
        assert_eq!(pace.rest(start + WINDOW), Some(REST));
        let later = start + WINDOW + REST;
        pace.took(0, later);
        assert_eq!(pace.rest(later), None);
    }
}
