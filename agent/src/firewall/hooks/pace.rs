//! When to look at the owner's chains. Pure.

use std::time::Duration;

use super::super::rest::Rest;

/// How much of their share of the time is saved up for when others change much at once.
const SAVED_MAX: Duration = Duration::from_millis(300);
/// Between two looks at least.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Between two looks where nobody tells of changes, at least.
const POLL: Duration = Duration::from_secs(5);
/// Looks that nothing asks for take one part of so many of the time.
const POLL_SHARE: u32 = 1_000;
/// The times of looks at one ruleset. All times are steady.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// When to look; `None` waits for a notice.
    look_at: Option<Duration>,
    /// Not before, but for what is urgent.
    rest: Rest,
    ended_at: Duration,
    is_silent: bool,
}

// === impl Pace ===

impl Pace {
    /// Looks at once. `is_silent` says that nobody tells of changes.
    pub(super) const fn new(now: Duration, is_silent: bool) -> Self {
        Self {
            look_at: Some(now),
            rest: Rest::new(now, SAVED_MAX, LOOK_EVERY),
            ended_at: now,
            is_silent,
        }
    }

    /// Somebody has changed something; `is_urgent` says that a line of ours is gone.
    pub(super) fn noticed(&mut self, now: Duration, is_urgent: bool) {
        let rests_until = if is_urgent {
            self.ended_at + LOOK_EVERY
        } else {
            self.rest.until()
        };
        let at = now.max(rests_until);
        self.look_at = Some(self.look_at.map_or(at, |before| before.min(at)));
    }

    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.look_at.is_some_and(|at| at <= now)
    }

    /// A look has begun and ended at these times, with so much processor time.
    pub(super) fn looked(&mut self, began: Duration, ended: Duration, worked: Duration) {
        let cost = worked.min(ended.saturating_sub(began));
        self.rest.looked(began, ended, worked);
        self.ended_at = ended;
        self.look_at = self.is_silent.then(|| ended + POLL.max(cost * POLL_SHARE));
    }

    /// For how long there is nothing to do; `None` until somebody changes something.
    pub(super) fn sleep(&self, now: Duration) -> Option<Duration> {
        self.look_at.map(|at| at.saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    /// How many looks there are, and what they take, beside somebody who never stops changing.
    fn looks(cost: Duration, is_urgent: bool, during: Duration) -> (u32, Duration) {
        let mut pace = Pace::new(SEC, false);
        let (mut now, mut looks) = (SEC, 0);
        while now < SEC + during {
            pace.noticed(now, is_urgent);
            if pace.is_due(now) {
                pace.looked(now, now + cost, cost);
                looks += 1;
            }
            now += Duration::from_millis(10);
        }
        (looks, cost * looks)
    }

    #[test]
    fn looks_take_one_part_of_a_hundred_of_the_time_however_much_others_change() {
        for ms in [1, 5, 150, 400] {
            let (_, spent) = looks(Duration::from_millis(ms), false, SEC * 3_600);

            assert!(spent <= SEC * 37 && spent > SEC * 30, "{ms} ms: {spent:?}");
        }
    }

    #[test]
    fn short_looks_follow_each_change_at_once_and_so_does_any_when_a_line_of_ours_is_gone() {
        let (short, _) = looks(Duration::from_millis(5), false, SEC);
        assert!(short > 30, "{short}");
        let (long, _) = looks(Duration::from_millis(400), false, SEC * 5);
        assert_eq!(long, 1);
        let (urgent, _) = looks(Duration::from_millis(400), true, SEC * 5);
        assert!(urgent > 10, "{urgent}");
    }

    #[test]
    fn nothing_is_looked_at_where_changes_are_told_of_and_there_are_none() {
        let mut pace = Pace::new(SEC, false);
        pace.looked(SEC, SEC, Duration::ZERO);
        assert_eq!(pace.sleep(SEC), None);

        let mut silent = Pace::new(SEC, true);
        silent.looked(
            SEC,
            SEC + Duration::from_millis(20),
            Duration::from_millis(20),
        );
        assert_eq!(silent.sleep(SEC).map(|sleep| sleep.as_secs()), Some(20));
    }
}
