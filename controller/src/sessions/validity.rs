//! Until when a host may grant under a text without a word from the controller.

use std::time::Duration;

use crate::timestamp::Timestamp;

/// The life of one text on one host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Validity {
    /// SHA-256 of the text.
    pub(crate) digest: [u8; 32],
    /// Seconds since the Unix epoch; 0 for ever.
    pub(crate) not_after_secs: u64,
}

// === impl Validity ===

impl Validity {
    /// A life that begins now; `life` is `None` for ever.
    pub(crate) fn new(digest: [u8; 32], life: Option<Duration>, now: Timestamp) -> Self {
        let end = life.map(|life| now.secs().saturating_add(life.as_secs()));
        Self {
            digest,
            not_after_secs: end.unwrap_or(0),
        }
    }

    /// How long until half of it has passed, counted from its beginning: then the text is sent
    /// again.
    pub(crate) fn refresh_in(self, life: Option<Duration>, now: Timestamp) -> Duration {
        let Some(life) = life else {
            return Duration::MAX;
        };
        let left = self.not_after_secs.saturating_sub(now.secs());
        Duration::from_secs(left).saturating_sub(life / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
    const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);

    fn after(now: Timestamp, time: Duration) -> Timestamp {
        Timestamp::from_ms(now.ms() + u64::try_from(time.as_millis()).unwrap())
    }

    #[test]
    fn a_policy_lives_for_a_week_and_is_due_again_after_half_of_it() {
        let validity = Validity::new([1; 32], Some(WEEK), NOW);

        assert_eq!(validity.not_after_secs, NOW.secs() + WEEK.as_secs());
        assert_eq!(validity.refresh_in(Some(WEEK), NOW), WEEK / 2);
        let later = after(NOW, WEEK / 4);
        assert_eq!(validity.refresh_in(Some(WEEK), later), WEEK / 4);
    }

    #[test]
    fn a_policy_is_due_at_once_when_more_than_half_of_its_life_has_passed() {
        let validity = Validity::new([1; 32], Some(WEEK), NOW);

        for past in [WEEK / 2, WEEK, 2 * WEEK] {
            let late = after(NOW, past);
            assert_eq!(validity.refresh_in(Some(WEEK), late), Duration::ZERO);
        }
    }

    #[test]
    fn a_policy_that_is_valid_for_ever_is_not_due_again() {
        let validity = Validity::new([1; 32], None, NOW);

        assert_eq!(validity.not_after_secs, 0);
        assert_eq!(validity.refresh_in(None, NOW), Duration::MAX);
    }
}
