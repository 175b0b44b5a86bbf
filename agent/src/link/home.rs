//! When a host that is not at its first controller tries to go back to an earlier one. Pure: the moment and a share of
//! chance come in.
//!
//! It waits once to three times as long as [`Home::new`] says, so that hosts do not return in one storm; and twice as long
//! each time that it failed, or that the one it went to did not last, up to [`LONGER_MAX`] doublings.

use std::time::Duration;

/// Eight times as long: 80 minutes to four hours, where the owner says nothing.
const LONGER_MAX: u32 = 3;

/// What is remembered of it.
#[derive(Debug)]
pub(super) struct Home {
    wait: Duration,
    /// How often it came to nothing, one after another.
    in_vain: u32,
    /// When it is tried next, by the steady clock; `None` where it is at its first.
    due: Option<Duration>,
    /// Since when it is where it is.
    since: Duration,
}

// === impl Home ===

impl Home {
    pub(super) fn new(wait: Duration) -> Self {
        Self {
            wait,
            in_vain: 0,
            due: None,
            since: Duration::ZERO,
        }
    }

    /// When it is tried next.
    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }

    /// A session was opened, at the first or at another.
    pub(super) fn opened(&mut self, is_first: bool, now: Duration, share: f64) {
        self.since = now;
        self.reordered(is_first, now, share);
    }

    /// The order is another, and with it perhaps which the first is; a moment that was waited for still is.
    pub(super) fn reordered(&mut self, is_first: bool, now: Duration, share: f64) {
        self.due = match (is_first, self.due) {
            (true, _) => None,
            (false, Some(due)) if due > now => Some(due),
            (false, _) => Some(self.next(now, share)),
        };
    }

    /// Nobody took it.
    pub(super) fn failed(&mut self, now: Duration, share: f64) {
        self.in_vain = self.in_vain.saturating_add(1);
        self.due = Some(self.next(now, share));
    }

    /// It has ended at the first, or at another. What did not last at the first is one of those that die after each start.
    pub(super) fn ended(&mut self, is_first: bool, now: Duration) {
        if !is_first {
            return;
        }
        self.in_vain = match now.saturating_sub(self.since) >= self.wait {
            true => 0,
            false => self.in_vain.saturating_add(1),
        };
    }

    fn next(&self, now: Duration, share: f64) -> Duration {
        let longer = 2_u32.pow(self.in_vain.min(LONGER_MAX));
        now + (self.wait * longer).mul_f64(1.0 + 2.0 * share.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_mins(10);
    const NOW: Duration = Duration::from_secs(1_000);

    #[test]
    fn returns_are_spread_and_whoever_is_at_its_first_goes_nowhere() {
        let mut home = Home::new(WAIT);
        home.opened(true, NOW, 0.5);
        assert_eq!(home.due(), None);

        home.opened(false, NOW, 0.0);
        assert_eq!(home.due(), Some(NOW + Duration::from_mins(10)));
        let mut home = Home::new(WAIT);
        home.opened(false, NOW, 1.0);
        assert_eq!(home.due(), Some(NOW + Duration::from_mins(30)));
        // Nothing of what happens in between puts it off.
        home.reordered(false, NOW + WAIT, 0.0);
        home.ended(false, NOW + WAIT);
        home.opened(false, NOW + WAIT, 0.0);
        assert_eq!(home.due(), Some(NOW + Duration::from_mins(30)));
        home.reordered(true, NOW + WAIT, 0.0);
        assert_eq!(home.due(), None);
    }

    #[test]
    fn a_controller_that_dies_soon_after_each_start_makes_no_host_go_to_and_fro() {
        let mut home = Home::new(WAIT);
        let (mut now, end, mut returns) = (NOW, NOW + Duration::from_hours(24), 0);
        while now < end {
            home.opened(false, now, 0.5);
            now = home.due().unwrap();
            home.opened(true, now, 0.5);
            returns += 1;
            now += Duration::from_mins(1);
            home.ended(true, now);
        }
        assert!(returns <= 12, "{returns}");
        // One that lasted counts as new.
        home.opened(true, now, 0.5);
        home.ended(true, now + WAIT);
        home.opened(false, now, 0.0);
        assert_eq!(home.due(), Some(now + WAIT));
    }

    #[test]
    fn who_finds_nobody_tries_less_often_and_not_less_than_some_times_a_day() {
        let mut home = Home::new(WAIT);
        home.opened(false, NOW, 0.0);
        let mut waits = Vec::new();
        for _ in 0..5 {
            let now = home.due().unwrap();
            home.failed(now, 0.0);
            waits.push((home.due().unwrap() - now).as_secs() / 60);
        }
        assert_eq!(waits, [20, 40, 80, 80, 80]);
    }
}
