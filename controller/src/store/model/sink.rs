//! How far events have been sent on.

/// Where a sink stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct SinkCursor {
    /// Events up to this one are delivered; by [`LogRow::id`](super::LogRow::id).
    pub(crate) delivered_id: u64,
    /// When that was, milliseconds since the Unix epoch; 0 for never.
    pub(crate) delivered_at_ms: u64,
    /// Since when it is an alarm that this sink lags.
    pub(crate) alarm_since_ms: Option<u64>,
    /// Of several controllers the one that sends: the number of its run.
    pub(crate) sender: Option<u64>,
}
