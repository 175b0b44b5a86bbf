//! What vouches for this host's clock.
//!
//! Forgetting by a clock, and lowering a floor that a clock has set, need a clock that is right. That
//! is said by the kernel, or by the controller's clock, if it agrees. Without either, nothing is
//! forgotten that there is room for, and a floor stays where it is.

use std::time::Duration;

use gate::Now;

/// How far the controller's clock may be away and still agree: as far as a packet may be dated ahead
/// in a fleet.
const AGREES_MS: u64 = 30_000;
/// How much a clock may be slewed, not set, and stay the one that was compared.
const SLEW_MS: u64 = 5_000;

/// What is known of the clock; pure.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClockEvidence {
    /// What wall time was ahead of steady time when the controller's clock agreed, in milliseconds.
    agreed: Option<u64>,
}

// === impl ClockEvidence ===

impl ClockEvidence {
    /// This host's clock is so many milliseconds ahead of the controller's.
    pub(crate) fn note_offset(&mut self, ms: i64, now: Now) {
        let agrees = ms.unsigned_abs() <= AGREES_MS;
        self.agreed = agrees.then(|| ahead_of_steady(now));
    }

    /// Whether the clock is right, for all that is known. A clock that was set since the controller
    /// agreed is another one.
    pub(crate) fn is_proven(&self, now: Now, is_synchronised: bool) -> bool {
        let same = |agreed: u64| ahead_of_steady(now).abs_diff(agreed) <= SLEW_MS;
        is_synchronised || self.agreed.is_some_and(same)
    }
}

fn ahead_of_steady(now: Now) -> u64 {
    now.wall_ms().saturating_sub(millis(now.steady))
}

fn millis(steady: Duration) -> u64 {
    u64::try_from(steady.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall_secs: u64, steady_secs: u64) -> Now {
        Now {
            wall_secs,
            wall_nanos: 0,
            steady: Duration::from_secs(steady_secs),
        }
    }

    const T: u64 = 1_800_000_000;

    #[test]
    fn a_clock_is_right_when_the_kernel_or_the_controller_says_so() {
        let mut evidence = ClockEvidence::default();
        assert!(!evidence.is_proven(at(T, 10), false));
        assert!(evidence.is_proven(at(T, 10), true));

        evidence.note_offset(-1_500, at(T, 10));

        assert!(evidence.is_proven(at(T + 3_600, 3_610), false));
        evidence.note_offset(40_000, at(T, 20));
        assert!(!evidence.is_proven(at(T, 20), false));
    }

    #[test]
    fn a_clock_that_was_set_since_the_controller_agreed_is_not_right_for_it() {
        let mut evidence = ClockEvidence::default();
        evidence.note_offset(0, at(T, 10));

        assert!(!evidence.is_proven(at(T + 600, 11), false));
        assert!(!evidence.is_proven(at(T - 600, 11), false));
        assert!(evidence.is_proven(at(T + 1, 11), false));
    }
}
