//! Until when a host may grant under a text without a word from the controller.

use std::time::Duration;

use crate::store::model::Lease;
use crate::timestamp::Timestamp;

/// The part of a life by which hosts differ in when they are due again: an eighth.
const SPREAD: u32 = 8;

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

    /// A life by the host's own word; `None` when it names no text.
    pub(crate) fn said(digest: &[u8], not_after_secs: u64) -> Option<Self> {
        Some(Self {
            digest: digest.try_into().ok()?,
            not_after_secs,
        })
    }

    /// What is stored of it.
    pub(crate) const fn lease(self) -> Lease {
        Lease {
            digest: self.digest,
            until_secs: self.not_after_secs,
        }
    }

    /// How long until half of it has passed, counted from its beginning, and a part that is the
    /// host's own: then the text is due again. At once when the end is not what it would be by the
    /// settings of now.
    pub(crate) fn refresh_in(self, life: Option<Duration>, host: &str, now: Timestamp) -> Duration {
        let Some(life) = life else {
            return match self.not_after_secs {
                0 => Duration::MAX,
                _ => Duration::ZERO,
            };
        };
        let left = Duration::from_secs(self.not_after_secs.saturating_sub(now.secs()));
        if left > life {
            return Duration::ZERO;
        }
        left.saturating_sub(life / 2 - spread(host, life / SPREAD))
    }
}

impl From<Lease> for Validity {
    fn from(lease: Lease) -> Self {
        Self {
            digest: lease.digest,
            not_after_secs: lease.until_secs,
        }
    }
}

/// A part of `most`, the same for one host whenever it is asked: hosts that were told together are
/// not due together.
fn spread(host: &str, most: Duration) -> Duration {
    // FNV-1a; nobody gains by choosing a name.
    let hash = host.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let secs = most.as_secs().max(1);
    Duration::from_secs(hash % secs)
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
    fn a_policy_lives_for_a_week_and_is_due_again_after_half_of_it_and_a_part_of_the_hosts_own() {
        let validity = Validity::new([1; 32], Some(WEEK), NOW);
        let own = spread("web-1", WEEK / SPREAD);

        assert_eq!(validity.not_after_secs, NOW.secs() + WEEK.as_secs());
        let due = |now| validity.refresh_in(Some(WEEK), "web-1", now);
        assert_eq!(due(NOW), WEEK / 2 + own);
        let later = after(NOW, WEEK / 4);
        assert_eq!(due(later), WEEK / 4 + own);
    }

    #[test]
    fn a_policy_is_due_at_once_when_more_than_that_of_its_life_has_passed() {
        let validity = Validity::new([1; 32], Some(WEEK), NOW);

        for past in [WEEK / 2 + WEEK / SPREAD, WEEK, 2 * WEEK] {
            let late = after(NOW, past);
            let due = validity.refresh_in(Some(WEEK), "web-1", late);
            assert_eq!(due, Duration::ZERO);
        }
    }

    #[test]
    fn hosts_that_were_told_together_are_due_over_an_eighth_of_the_life() {
        let validity = Validity::new([1; 32], Some(WEEK), NOW);
        let names: Vec<_> = (0..1_000)
            .map(|number| format!("host-{number:04}"))
            .collect();

        let due = names
            .iter()
            .map(|name| validity.refresh_in(Some(WEEK), name, NOW));
        let due: Vec<_> = due.map(|due| due - WEEK / 2).collect();

        let part = WEEK / SPREAD;
        assert!(due.iter().all(|due| *due < part));
        for tenth in 0..10 {
            let within = part / 10 * tenth..part / 10 * (tenth + 1);
            let count = due.iter().filter(|due| within.contains(*due)).count();
            assert!((50..200).contains(&count), "{count} in tenth {tenth}");
        }
    }

    #[test]
    fn a_policy_that_is_valid_for_ever_is_not_due_again() {
        let validity = Validity::new([1; 32], None, NOW);

        assert_eq!(validity.not_after_secs, 0);
        assert_eq!(validity.refresh_in(None, "web-1", NOW), Duration::MAX);
    }

    #[test]
    fn what_was_said_under_other_settings_is_due_at_once() {
        let week = Validity::new([1; 32], Some(WEEK), NOW);
        let for_ever = Validity::new([1; 32], None, NOW);

        assert_eq!(week.refresh_in(None, "web-1", NOW), Duration::ZERO);
        assert_eq!(
            for_ever.refresh_in(Some(WEEK), "web-1", NOW),
            Duration::ZERO
        );
        let shorter = Some(WEEK / 2);
        assert_eq!(week.refresh_in(shorter, "web-1", NOW), Duration::ZERO);
    }
}
