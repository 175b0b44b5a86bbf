//! What the end-to-end tests share: keys as people write them, an agent alone with its neighbours,
//! and a fleet.
//!
//! A test that says "nothing opened" must not pass because nothing was looked at: [`Alone::wait_until_judged`]
//! sends a packet of a key of its own after the one in question and waits until that has opened its
//! hole. Packets are judged in the order they arrive, so by then the one in question has been
//! judged too.

mod alone;
mod beside;
mod company;
pub mod page;

pub use alone::{Alone, HMAC_ARGS, KEY, STANZA, STOCK_ARGS};
pub use beside::Beside;
pub use company::{Company, POLICY, SHARED, SHARED_ARGS, shared_knock};

use harness::Result;
use serde_json::Value;

/// A text field of a JSON object; empty when it is not there.
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Insists that two things are equal, as an error instead of a panic, so that the lab prints its
/// logs.
///
/// # Errors
///
/// When they differ; the text shows both.
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, seen: &T, wanted: &T) -> Result<()> {
    anyhow::ensure!(seen == wanted, "{what}: {seen:?} instead of {wanted:?}");
    Ok(())
}
