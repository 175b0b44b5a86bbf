//! When to open a ring again; pure.

use std::time::Duration;

use crate::network::Place;

/// What is known of the place to capture on, and how often it was tried.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reopening {
    /// Where the name leads, as far as anybody has told.
    place: Option<Place>,
    failures: u32,
    /// Steady times.
    retry_at: Duration,
    opened_at: Duration,
}

/// How long a ring must have been open for its loss to be news: then it is opened again at once.
const STEADY: Duration = Duration::from_secs(1);
/// After the first failure, and after each further one twice as long.
const PAUSE: Duration = Duration::from_millis(100);
/// Never longer than this; and where nobody can capture, until somebody tells of a change.
const PAUSE_MAX: Duration = Duration::from_secs(30);

// === impl Reopening ===

impl Reopening {
    /// The name leads here now. Another device, or one that was switched on, is tried at once.
    pub(super) fn told(&mut self, place: Place) {
        if self.place == Some(place) {
            return;
        }
        self.place = Some(place);
        if let Place::Up(_) = place {
            self.failures = 0;
            self.retry_at = Duration::ZERO;
        }
    }

    pub(super) fn is_due(&self, steady: Duration) -> bool {
        self.retry_at <= steady
    }

    pub(super) fn due_in(&self, steady: Duration) -> Duration {
        self.retry_at.saturating_sub(steady)
    }

    pub(super) fn opened(&mut self, steady: Duration) {
        self.opened_at = steady;
    }

    /// The ring that was open is of no use any more.
    pub(super) fn lost(&mut self, steady: Duration) {
        if self.opened_at.saturating_add(STEADY) <= steady && !self.is_hopeless() {
            self.failures = 0;
            self.retry_at = steady;
        } else {
            self.failed(steady);
        }
    }

    /// It was tried, and could not be opened.
    pub(super) fn failed(&mut self, steady: Duration) {
        let pause = if self.is_hopeless() {
            PAUSE_MAX
        } else {
            PAUSE
                .saturating_mul(1 << self.failures.min(10))
                .min(PAUSE_MAX)
        };
        self.failures = self.failures.saturating_add(1);
        self.retry_at = steady.saturating_add(pause);
    }

    fn is_hopeless(&self) -> bool {
        matches!(self.place, Some(Place::Nowhere | Place::Down(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn an_interface_that_comes_is_tried_at_once_however_long_it_was_away() {
        let mut reopening = Reopening::default();
        reopening.told(Place::Nowhere);
        for n in 0..40 {
            reopening.failed(NOW + Duration::from_secs(n));
        }
        assert!(!reopening.is_due(NOW + Duration::from_secs(50)));

        reopening.told(Place::Down(7));
        assert!(!reopening.is_due(NOW + Duration::from_secs(50)));
        reopening.told(Place::Up(7));

        assert!(reopening.is_due(NOW + Duration::from_secs(50)));
    }

    #[test]
    fn news_that_are_none_are_no_reason_to_try() {
        let mut reopening = Reopening::default();
        reopening.told(Place::Up(7));
        reopening.failed(NOW);

        reopening.told(Place::Up(7));

        assert!(!reopening.is_due(NOW));
        assert_eq!(reopening.due_in(NOW), PAUSE);
    }

    #[test]
    fn what_cannot_be_opened_though_it_is_up_is_tried_less_and_less_often() {
        let mut reopening = Reopening::default();
        reopening.told(Place::Up(7));
        let mut pauses = Vec::new();
        for _ in 0..20 {
            reopening.failed(NOW);
            pauses.push(reopening.due_in(NOW));
        }

        assert!(pauses.is_sorted());
        assert_eq!((pauses[0], pauses[19]), (PAUSE, PAUSE_MAX));
        // Several in the first second: who comes up half ready is not kept waiting.
        assert!(pauses[..3].iter().sum::<Duration>() < Duration::from_secs(1));
    }

    #[test]
    fn a_ring_that_was_well_is_opened_again_at_once_and_one_that_never_was_is_not() {
        let mut reopening = Reopening::default();
        reopening.told(Place::Up(7));
        reopening.opened(NOW);

        reopening.lost(NOW + Duration::from_millis(900));
        assert_eq!(reopening.due_in(NOW + Duration::from_millis(900)), PAUSE);
        reopening.opened(NOW);
        reopening.lost(NOW + STEADY);
        assert!(reopening.is_due(NOW + STEADY));
    }

    #[test]
    fn where_there_is_nothing_nobody_looks_often() {
        for place in [Place::Nowhere, Place::Down(7)] {
            let mut reopening = Reopening::default();
            reopening.told(place);
            reopening.lost(NOW);

            assert_eq!(reopening.due_in(NOW), PAUSE_MAX);
        }
    }
}
