//! In place of `joined.rs` in an agent that is built without the link to a controller.

use std::time::Duration;

use gate::Now;

use super::RunError;
use crate::channels::Channels;
use crate::config::Config;

/// No host of this agent belongs to a fleet.
#[derive(Debug)]
pub(super) enum Joined {}

/// No link runs.
#[derive(Debug)]
pub(super) enum RunningLink {}

// === impl Joined ===

impl Joined {
    /// Says that it cannot.
    pub(super) fn load(_: &Config, _: &[String]) -> Result<Self, RunError> {
        Err(RunError::NoLink)
    }

    pub(super) fn exchanges(&self, _: Now) -> Result<Vec<spa::ExchangeSecret>, RunError> {
        match *self {}
    }

    pub(super) fn start(self, _: Channels) -> Result<RunningLink, RunError> {
        match self {}
    }
}

// === impl RunningLink ===

impl RunningLink {
    pub(super) fn finish(self, _: Duration) {
        match self {}
    }
}
