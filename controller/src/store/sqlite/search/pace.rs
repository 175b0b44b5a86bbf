//! How much of the log one turn looks at: as much as it has time for, in windows that are measured as
//! they are read.

use std::time::Duration;

/// What a turn may look at, about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Rows of the driving index in the first window of all.
    pub(super) first: usize,
    /// In one turn.
    pub(super) most: usize,
    pub(super) time: Duration,
}

/// Whoever waits for a place waits for as much of each who has one.
pub(super) const EFFORT: Effort = Effort {
    first: 256,
    most: 16_384,
    time: Duration::from_millis(20),
};
/// Less is not worth the look-ups that each window costs.
const LEAST: usize = 64;

/// One turn at a place.
pub(super) struct Turn<'a> {
    pub(super) effort: Effort,
    /// How long it lasts already.
    pub(super) taken: &'a dyn Fn() -> Duration,
}

/// The windows of a turn. Each has as many rows as the one before, twice or half as many: few statements are ever
/// prepared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    effort: Effort,
    /// Of the next window.
    rows: usize,
    examined: usize,
    began: Duration,
}

// === impl Turn ===

impl Turn<'_> {
    /// `rows` is where the turn before stopped.
    pub(super) fn pace(&self, rows: Option<usize>) -> Pace {
        Pace {
            effort: self.effort,
            rows: rows.unwrap_or(self.effort.first),
            examined: 0,
            began: Duration::ZERO,
        }
    }
}

// === impl Pace ===

impl Pace {
    /// Rows of the next window of this turn.
    pub(super) fn rows(&self) -> usize {
        self.rows
            .min(self.effort.most.saturating_sub(self.examined))
    }

    /// Rows of the first window of the next turn.
    pub(super) const fn next_turn(&self) -> usize {
        self.rows
    }

    /// A window begins when so much of the turn is gone.
    pub(super) const fn begin(&mut self, taken: Duration) {
        self.began = taken;
    }

    /// It has ended, with so many rows, when so much of the turn is gone. False when the turn is over.
    pub(super) fn end(&mut self, rows: usize, taken: Duration) -> bool {
        self.examined += rows;
        let of_window = taken.saturating_sub(self.began);
        let left = self.effort.time.saturating_sub(taken);
        let next = if of_window > self.effort.time {
            self.rows = (self.rows / 2).max(LEAST.min(self.rows));
            of_window
        } else if of_window * 2 > self.effort.time {
            of_window
        } else {
            self.rows = self.rows.saturating_mul(2).min(self.effort.most);
            of_window * 2
        };
        self.examined < self.effort.most && next <= left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The windows of one turn, where each row takes so long, and how long it took.
    fn turn(rows: Option<usize>, per_row: Duration) -> (Vec<usize>, usize, Duration) {
        let taken = || Duration::ZERO;
        let of = Turn {
            effort: EFFORT,
            taken: &taken,
        };
        let mut pace = of.pace(rows);
        let (mut windows, mut taken) = (Vec::new(), Duration::ZERO);
        loop {
            pace.begin(taken);
            let rows = pace.rows();
            windows.push(rows);
            taken += per_row * u32::try_from(rows).unwrap();
            if !pace.end(rows, taken) {
                return (windows, pace.next_turn(), taken);
            }
        }
    }

    #[test]
    fn a_turn_ends_in_time_however_long_a_row_takes_and_the_next_begins_where_it_was() {
        // From what an index alone gives to what a slow disk does.
        for micros in [1, 5, 20, 50, 100, 250] {
            let per_row = Duration::from_micros(micros);
            let mut rows = None;
            for number in 0..20 {
                let (windows, next, taken) = turn(rows, per_row);
                let is_first = number < 4;
                assert!(is_first || taken <= EFFORT.time, "{micros}: {windows:?}");
                // Half of it at least is used.
                let is_used = taken * 2 >= EFFORT.time * 9 / 10;
                let is_all = windows.iter().sum::<usize>() >= EFFORT.most;
                assert!(is_first || is_used || is_all, "{micros}: {windows:?}");
                rows = Some(next);
            }
        }
    }

    #[test]
    fn a_turn_ends_after_so_many_rows_also_where_they_take_no_time() {
        let (windows, next, _) = turn(None, Duration::ZERO);

        assert_eq!(windows.iter().sum::<usize>(), EFFORT.most);
        assert_eq!(windows.first(), Some(&EFFORT.first));
        assert_eq!(next, EFFORT.most);
    }

    #[test]
    fn no_window_is_smaller_than_what_is_worth_its_look_ups() {
        let mut rows = None;
        for _ in 0..20 {
            rows = Some(turn(rows, Duration::from_secs(1)).1);
        }

        assert_eq!(rows, Some(LEAST));
    }
}
