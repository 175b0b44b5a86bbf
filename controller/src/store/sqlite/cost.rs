//! What a question may cost: work, time, and the patience of whoever asked.

use std::sync::{Arc, Weak};
use std::time::Duration;

use rusqlite::Connection;

use crate::clock;
use crate::store::error::StoreError;

/// Steps of SQLite's machine between two looks at the meter: some tens of microseconds.
const STEPS_PER_LOOK: i32 = 1_000;
/// After so long a question lets the processor go to whoever waits for it: what the fleet waits for wakes up
/// many times, and would wait for a whole slice of the scheduler at each. Less would leave a question nothing
/// of a machine that has others to do.
const TURN: Duration = Duration::from_micros(300);

/// What one page of an answer may cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    /// Steps of SQLite's virtual machine: a bound that is the same on every machine.
    pub(super) steps: u64,
    /// By the clock: a bound on a slow disk.
    pub(super) time: Duration,
}

impl Allowance {
    /// For as long as somebody waits.
    pub(super) const WITHOUT_END: Self = Self {
        steps: u64::MAX,
        time: Duration::MAX,
    };

    /// A question's. An index answers with some ten steps a row; 400 million are about ten
    /// seconds of a processor.
    pub(super) const QUESTION: Self = Self {
        steps: 400_000_000,
        time: Duration::from_secs(10),
    };
}

/// Alive as long as somebody waits for the answer.
#[derive(Debug, Default)]
pub(super) struct Asked(Arc<()>);

/// Interrupts what costs too much.
#[derive(Debug)]
pub(super) struct Meter {
    allowance: Allowance,
    asked: Weak<()>,
}

/// When a question gives way to others.
#[derive(Debug, Default)]
struct Turns {
    begun: Duration,
}

/// How long it is since this was called, whenever it is asked.
pub(super) fn watch() -> impl Fn() -> Duration {
    let began = clock::instant();
    move || began.elapsed()
}

// === impl Meter ===

impl Meter {
    pub(super) fn new(allowance: Allowance, asked: &Asked) -> Self {
        Self {
            allowance,
            asked: Arc::downgrade(&asked.0),
        }
    }

    /// Does `work` on `connection` under this meter.
    pub(super) fn during<T>(
        self,
        connection: &Connection,
        work: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let began = clock::instant();
        let (mut steps, mut turns) = (0, Turns::default());
        connection.progress_handler(
            STEPS_PER_LOOK,
            Some(move || {
                steps += u64::from(STEPS_PER_LOOK.unsigned_abs());
                let taken = began.elapsed();
                if turns.is_over(taken) {
                    std::thread::yield_now();
                }
                self.is_over(steps, taken)
            }),
        )?;
        let result = work();
        connection.progress_handler(0, None::<fn() -> bool>)?;
        result
    }

    fn is_over(&self, steps: u64, taken: Duration) -> bool {
        steps > self.allowance.steps
            || self.asked.strong_count() == 0
            || taken > self.allowance.time
    }
}

// === impl Turns ===

impl Turns {
    /// Whether the turn that lasts is over; then the next has begun. Times are since the first began.
    fn is_over(&mut self, taken: Duration) -> bool {
        let is_over = taken.saturating_sub(self.begun) >= TURN;
        if is_over {
            self.begun = taken;
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_gives_way_once_in_each_turn_and_not_at_each_look() {
        let mut turns = Turns::default();
        let looks = (1..=100).map(|number| TURN / 10 * number);

        let given = looks.filter(|taken| turns.is_over(*taken)).count();

        assert_eq!(given, 10);
    }
}
