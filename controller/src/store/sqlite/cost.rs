//! What a question may cost: work, time, and the patience of whoever asked.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::clock;
use crate::store::error::StoreError;

/// Steps of SQLite's machine between two looks at the meter: some tens of microseconds.
const STEPS_PER_LOOK: i32 = 2_000;

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
        let mut steps = 0;
        connection.progress_handler(
            STEPS_PER_LOOK,
            Some(move || {
                steps += u64::from(STEPS_PER_LOOK.unsigned_abs());
                self.is_over(steps, began)
            }),
        )?;
        let result = work();
        connection.progress_handler(0, None::<fn() -> bool>)?;
        result
    }

    fn is_over(&self, steps: u64, began: Instant) -> bool {
        steps > self.allowance.steps
            || self.asked.strong_count() == 0
            || began.elapsed() > self.allowance.time
    }
}
