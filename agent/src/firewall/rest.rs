//! How long to rest after a look at rules of others, so that looks never take more than a share of the
//! time, however much the others change. Pure.

use std::time::Duration;

/// Looks may take one part of so many of the time.
const SHARE: u32 = 100;

/// When the next look may be. All times are steady.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    /// How much of the share is saved up for when others change much at once.
    saved_max: Duration,
    /// Between two looks, at least.
    least: Duration,
    /// When as much as can be will have been saved up.
    saved_at: Duration,
    until: Duration,
}

// === impl Rest ===

impl Rest {
    /// Everything is saved up.
    pub(super) const fn new(now: Duration, saved_max: Duration, least: Duration) -> Self {
        Self {
            saved_max,
            least,
            saved_at: now,
            until: now,
        }
    }

    /// A look has begun and ended at these times, with so much processor time: on a busy machine a look
    /// takes long and costs little.
    pub(super) fn looked(&mut self, began: Duration, ended: Duration, worked: Duration) {
        let cost = worked.min(ended.saturating_sub(began));
        self.saved_at = self.saved_at.max(began) + cost * SHARE;
        let spent_until = self.saved_at.saturating_sub(self.saved_max * SHARE);
        self.until = spent_until.max(ended + self.least);
    }

    /// Until when.
    pub(super) const fn until(&self) -> Duration {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_take_their_share_in_the_end_and_what_is_saved_up_at_once() {
        let (saved, least) = (Duration::from_secs(3), Duration::from_millis(200));
        for ms in [1, 40, 150, 2_500] {
            let mut rest = Rest::new(Duration::ZERO, saved, least);
            let (mut now, mut spent, mut first) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
            let cost = Duration::from_millis(ms);
            while now < Duration::from_secs(36_000) {
                rest.looked(now, now + cost, cost);
                now = rest.until();
                spent += cost;
                if now < Duration::from_secs(20) {
                    first = spent;
                }
            }
            assert!(spent <= Duration::from_secs(366), "{ms} ms: {spent:?}");
            assert!(first <= saved + 2 * cost + least, "{ms} ms: {first:?}");
        }
    }

    #[test]
    fn a_busy_machine_makes_no_rest_longer_than_the_work_is_worth() {
        let (saved, least) = (Duration::from_secs(3), Duration::from_millis(200));
        let (took, worked) = (Duration::from_secs(8), Duration::from_millis(20));
        let mut rest = Rest::new(Duration::ZERO, saved, least);
        rest.looked(Duration::ZERO, took, worked);
        assert_eq!(rest.until(), took + least);
        // Children of others that ended meanwhile are in the sum: never more than the time that went by.
        let mut rest = Rest::new(Duration::ZERO, saved, least);
        rest.looked(Duration::ZERO, worked, took);
        assert_eq!(rest.until(), worked + least);
    }
}
