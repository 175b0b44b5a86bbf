//! The one place where this program reads the clock; everything else takes the time as an argument.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A moment that only ever comes later, for waiting.
#[expect(
    clippy::disallowed_methods,
    reason = "the shell's one look at the steady clock"
)]
pub(crate) fn moment() -> Instant {
    Instant::now()
}

/// Seconds since the Unix epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "the shell's one look at the clock"
)]
pub(crate) fn now_secs() -> u64 {
    // A clock before 1970 is shown as 1970; whoever receives the packet refuses it as stale.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
