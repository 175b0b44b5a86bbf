//! In place of `metrics.rs` in an agent that is built without metrics.

use std::net::SocketAddr;

use super::RunError;
use super::status::Reporter;

/// Nothing is served.
#[derive(Debug)]
pub(super) enum Metrics {}

impl Drop for Metrics {
    fn drop(&mut self) {
        match *self {}
    }
}

/// Nothing to start: the configuration cannot name an address.
pub(super) fn start(
    _: Option<SocketAddr>,
    _: impl FnOnce() -> Result<Reporter, RunError>,
) -> Result<Option<Metrics>, RunError> {
    Ok(None)
}
