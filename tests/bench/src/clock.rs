//! The benchmark's clocks: measuring is what this program is for.

use std::time::{Duration, Instant, SystemTime};

/// Monotonic time.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Seconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "packets carry the wall time")]
pub(crate) fn wall_secs() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Waits without sleeping until `deadline`, so that sends are spaced by microseconds.
pub(crate) fn spin_until(deadline: Instant) {
    while now() < deadline {
        std::hint::spin_loop();
    }
}

/// Sleeps for most of the time and spins for the rest.
pub(crate) fn wait_until(deadline: Instant) {
    let left = deadline.saturating_duration_since(now());
    if left > Duration::from_micros(300) {
        std::thread::sleep(left - Duration::from_micros(200));
    }
    spin_until(deadline);
}
