//! Conditions with a deadline, and the only place of the harness that reads the clock.
//!
//! Tests never sleep and hope: they name a condition and the time it may take.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::bail;

use crate::Result;

/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(20);

/// For what should be quick, on a machine that may be busy with something else.
pub const SOON: Duration = Duration::from_secs(20);

/// The steady clock.
#[expect(
    clippy::disallowed_methods,
    reason = "the harness is a shell; this is its clock"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// The wall clock in whole Unix seconds.
#[expect(
    clippy::disallowed_methods,
    reason = "the harness is a shell; this is its clock"
)]
pub fn wall_secs() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Sleeps until the second that it is, as messages are dated, is over.
pub fn until_next_second() {
    let second = wall_secs();
    while wall_secs() == second {
        until_instant(now() + PAUSE);
    }
}

/// Waits until `look` sees something, and says how long that took.
///
/// # Errors
///
/// When `look` has seen nothing for `limit`; the text names `what` was awaited. An error of `look`
/// itself ends the wait at once.
pub fn some<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<(T, Duration)> {
    let start = now();
    loop {
        if let Some(seen) = look()? {
            return Ok((seen, start.elapsed()));
        }
        if start.elapsed() > limit {
            bail!("waited {limit:?} in vain for: {what}");
        }
        thread::sleep(PAUSE);
    }
}

/// Waits until `condition` holds, and says how long that took.
///
/// # Errors
///
/// As [`some`].
pub fn until(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<Duration> {
    some(what, limit, || Ok(condition()?.then_some(()))).map(|((), took)| took)
}

/// Checks that `condition` holds now and keeps holding for `span`.
///
/// # Errors
///
/// As soon as it does not hold.
pub fn throughout(
    what: &str,
    span: Duration,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let start = now();
    loop {
        if !condition()? {
            bail!("after {:?} no longer true: {what}", start.elapsed());
        }
        if start.elapsed() >= span {
            return Ok(());
        }
        thread::sleep(PAUSE);
    }
}

/// Waits until a moment of the steady clock.
///
/// For deadlines that the product itself promised ("closes after 4 s"), never as a guess.
pub fn until_instant(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(now()));
}
