//! The benchmark's clocks are the harness's; beside them, waits of microseconds.

use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

pub(crate) use harness::wait::{now, until_next_second, wall_secs};

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

/// Microseconds by a clock that all programs of this machine share.
pub(crate) fn shared_us() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap_or(TimeSpec::new(0, 0));
    let secs = u64::try_from(now.tv_sec()).unwrap_or(0);
    secs * 1_000_000 + u64::try_from(now.tv_nsec() / 1_000).unwrap_or(0)
}
