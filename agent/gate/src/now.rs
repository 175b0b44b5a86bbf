//! Time, which the gate is told and never asks for.

use std::time::Duration;

/// One reading of the shell's two clocks, taken when a packet arrived.
///
/// Wall time decides whether a packet is recent; steady time refills the budgets, so that a step
/// of the wall clock can neither starve nor flood anything.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Now {
    /// Seconds since the Unix epoch.
    pub wall_secs: u64,
    /// Nanoseconds into that second, below 1,000,000,000.
    pub wall_nanos: u32,
    /// Time since an arbitrary start; never goes back.
    pub steady: Duration,
}

// === impl Now ===

impl Now {
    /// Returns the wall time in milliseconds since the Unix epoch, as the audit writes it.
    #[must_use]
    pub fn wall_ms(&self) -> u64 {
        self.wall_secs
            .saturating_mul(1_000)
            .saturating_add(u64::from(self.wall_nanos / 1_000_000))
    }
}
