//! When to look at the base rules, and how often to put them back. Pure.

use std::time::Duration;

/// Between two looks at everything where the host tells nobody of changes: some short processes.
const POLL: Duration = Duration::from_secs(5);
/// The same where it does: for what it does not tell of.
const POLL_RARELY: Duration = Duration::from_secs(30);
/// After a repair, to say that all is well again.
const POLL_AFTER_REPAIR: Duration = Duration::from_secs(1);
/// Between two glances. Notices may come by the thousand.
const GLANCE: Duration = Duration::from_millis(5);
/// Repairs in a row before another program is believed to undo each of them. Then one a second.
const REPAIRS_MAX: u32 = 100;
const REPAIR_EVERY: Duration = Duration::from_secs(1);

/// What to look at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Look {
    /// Nothing is due.
    None,
    /// Our chain and what leads to it, because somebody has changed something.
    Glance,
    /// Everything.
    All,
}

/// Whether to put back what differs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Repair {
    Now,
    /// It was put back so often that somebody must be undoing it.
    Later,
}

/// The times of looks and repairs. All times are steady.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    poll_at: Duration,
    /// When to look because of a notice.
    glance_at: Option<Duration>,
    last_glance: Duration,
    repairs_left: u32,
    refilled_at: Duration,
}

// === impl Pace ===

impl Pace {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            poll_at: now + POLL,
            glance_at: None,
            last_glance: Duration::ZERO,
            repairs_left: REPAIRS_MAX,
            refilled_at: now,
        }
    }

    /// Somebody has changed something that may be ours.
    pub(super) fn noticed(&mut self, now: Duration) {
        let at = now.max(self.last_glance + GLANCE);
        self.glance_at = Some(self.glance_at.map_or(at, |before| before.min(at)));
    }

    /// What to look at now. `hears` says whether the host tells of changes.
    pub(super) fn due(&mut self, now: Duration, hears: bool) -> Look {
        if self.poll_at <= now {
            self.poll_at = now + if hears { POLL_RARELY } else { POLL };
            self.glance_at = None;
            self.last_glance = now;
            return Look::All;
        }
        if self.glance_at.is_some_and(|at| at <= now) {
            self.glance_at = None;
            self.last_glance = now;
            return Look::Glance;
        }
        Look::None
    }

    /// For how long there is nothing to do.
    pub(super) fn sleep(&self, now: Duration) -> Duration {
        let next = self
            .glance_at
            .map_or(self.poll_at, |at| at.min(self.poll_at));
        next.saturating_sub(now)
    }

    /// Whether to put back what was found to differ.
    pub(super) fn repair(&mut self, now: Duration) -> Repair {
        while self.refilled_at + REPAIR_EVERY <= now && self.repairs_left < REPAIRS_MAX {
            self.refilled_at += REPAIR_EVERY;
            self.repairs_left += 1;
        }
        if self.repairs_left == REPAIRS_MAX {
            self.refilled_at = now;
        }
        let Some(left) = self.repairs_left.checked_sub(1) else {
            self.glance_at = Some(self.refilled_at + REPAIR_EVERY);
            return Repair::Later;
        };
        self.repairs_left = left;
        self.poll_at = self.poll_at.min(now + POLL_AFTER_REPAIR);
        Repair::Now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_notice_is_looked_at_at_once_and_a_storm_of_them_every_few_milliseconds() {
        let mut pace = Pace::new(Duration::ZERO);
        let mut looks = 0;

        for ms in 1_000..2_000 {
            pace.noticed(ms * MS);
            looks += u32::from(pace.due(ms * MS, true) == Look::Glance);
            if ms == 1_000 {
                assert_eq!(looks, 1);
            }
        }

        assert_eq!(looks, 200);
    }

    #[test]
    fn everything_is_looked_at_now_and_then_and_rarely_where_the_host_tells() {
        for (hears, expected) in [(false, 12), (true, 2)] {
            let mut pace = Pace::new(Duration::ZERO);
            let looks =
                (1..=60).filter(|secs| pace.due(Duration::from_secs(*secs), hears) == Look::All);

            assert_eq!(looks.count(), expected, "{hears}");
        }
    }

    #[test]
    fn a_fight_is_one_repair_a_second_and_forgotten_when_it_is_over() {
        let mut pace = Pace::new(Duration::ZERO);
        let mut fight = |from: u64, to: u64| {
            let (mut repairs, mut later) = (0, 0);
            for ms in from..to {
                let now = Duration::from_millis(ms);
                pace.noticed(now);
                if pace.due(now, true) == Look::None {
                    continue;
                }
                match pace.repair(now) {
                    Repair::Now => repairs += 1,
                    Repair::Later => later += 1,
                }
            }
            (repairs, later > 0)
        };

        assert_eq!(fight(1_000, 61_000), (REPAIRS_MAX + 59, true));
        assert_eq!(fight(1_000_000, 1_000_010), (2, false));
    }
}
