//! What is known of a sink while the controller runs.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::settings::SinkSettings;
use crate::timestamp::Timestamp;

/// All sinks of a running controller.
#[derive(Debug, Default)]
pub(crate) struct Sinks(Vec<Arc<SinkState>>);

/// One sink, as whoever asks sees it.
#[derive(Debug)]
pub(crate) struct SinkState {
    name: String,
    type_name: &'static str,
    standing: Mutex<Standing>,
}

/// How far a sink is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Standing {
    /// Everything up to this record has been delivered.
    pub(crate) delivered_id: u64,
    /// When that was, milliseconds since the Unix epoch; 0 for never.
    pub(crate) delivered_at_ms: u64,
    /// When the oldest record that is not delivered was stored; `None` when all are.
    pub(crate) pending_since_ms: Option<u64>,
    /// Why the last attempt failed; empty when it did not.
    pub(crate) error: String,
    /// Records that were delivered since the controller started.
    pub(crate) records: u64,
    /// Attempts that failed since the controller started.
    pub(crate) failures: u64,
}

// === impl Sinks ===

impl Sinks {
    pub(crate) fn new(settings: &[SinkSettings]) -> Self {
        let states = settings.iter().map(SinkState::new);
        Self(states.map(Arc::new).collect())
    }

    /// In the order of the settings.
    pub(crate) fn states(&self) -> impl Iterator<Item = &SinkState> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// The same, for whoever works on them.
    pub(super) fn shared(&self) -> &[Arc<SinkState>] {
        &self.0
    }
}

// === impl SinkState ===

impl SinkState {
    pub(super) fn new(settings: &SinkSettings) -> Self {
        Self {
            name: settings.name.clone(),
            type_name: settings.target.type_name(),
            standing: Mutex::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn type_name(&self) -> &'static str {
        self.type_name
    }

    pub(crate) fn standing(&self) -> Standing {
        self.standing.lock().clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Standing)) {
        change(&mut self.standing.lock());
    }
}

// === impl Standing ===

impl Standing {
    /// Age of the oldest record that is not delivered, milliseconds; 0 when all are.
    pub(crate) fn lag_ms(&self, now: Timestamp) -> u64 {
        let pending = self.pending_since_ms;
        pending.map_or(0, |since| now.ms().saturating_sub(since))
    }
}
