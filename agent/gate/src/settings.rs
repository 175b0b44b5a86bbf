//! What the host's own configuration decides about packets; the rest is policy.

use std::time::Duration;

use crate::budget::Budget;

/// The gate's settings, fixed for its life.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How far a message's time stamp may be from the host's clock, either way, in whole seconds;
    /// `None` accepts any age and then remembers every message for ever.
    ///
    /// A shell that widens it must raise `not_before_secs` to the time of the change: messages that
    /// were forgotten under the narrower window would otherwise be fresh again.
    pub ageing: Option<Duration>,
    /// Messages dated before this are refused, seconds since the epoch; 0 for none. It is the time
    /// of the start after a start without a provably whole journal.
    pub not_before_secs: u64,
    /// Whether packets in the form of HTTP requests are read (`ENABLE_SPA_OVER_HTTP`).
    pub spa_over_http: bool,
    /// Whether an HTTP request for "the source" means the address in `X-Forwarded-For`
    /// (`ENABLE_X_FORWARDED_FOR`). Only behind a proxy of one's own: anyone can write that header.
    pub x_forwarded_for: bool,
    /// Whether stanzas may run commands at all, where they say so.
    pub commands: bool,
    /// Whether the sender is looked for also where no sender of a permitted packet can be: among the
    /// keys of stanzas with other SOURCE networks or another SPA_SERVER_PORT, and behind tags of
    /// other minutes. It changes no grant, only reasons ("the message is 600 s old" instead of "no
    /// key"), and costs trials: for explaining packets.
    pub thorough: bool,
    /// How much work strangers may cause.
    pub budget: Budget,
}

/// fwknop's default for `MAX_SPA_PACKET_AGE`.
pub const AGEING_DEFAULT: Duration = Duration::from_secs(120);

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            ageing: Some(AGEING_DEFAULT),
            not_before_secs: 0,
            spa_over_http: false,
            x_forwarded_for: false,
            commands: true,
            thorough: false,
            budget: Budget::default(),
        }
    }
}
