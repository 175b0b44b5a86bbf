//! The only place in this crate that reads the clock: certificates and tokens are about wall time.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch by this machine's clock; 0 when the clock stands before the epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "the shell's one clock; everything below takes the time as an argument"
)]
pub(crate) fn now_secs() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
