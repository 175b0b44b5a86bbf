//! The one place that reads the clock.
//!
//! Only the outermost code calls it: the handlers of `grpc`, the loops of `housekeeping`, `start`,
//! and the store's writer for the length of a batch. Everything else has its time as an argument;
//! a test (`tests/laws.rs`) sees to that.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::timestamp::Timestamp;

/// Now; the Unix epoch on a machine that believes to be before it.
#[expect(clippy::disallowed_methods, reason = "this is the shell's clock")]
pub(crate) fn now() -> Timestamp {
    let age = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp::from_ms(age.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)))
}

/// A moment that only serves to measure how long something takes.
#[expect(clippy::disallowed_methods, reason = "this is the shell's clock")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}
