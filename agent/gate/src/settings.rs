//! What the host's own configuration decides about packets; the rest is policy.

use std::time::Duration;

use policy::NatSettings;

use crate::budget::Budget;
use crate::seen_texts::SeenTexts;

/// The gate's settings, fixed for its life.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How old a message may be by its own date, in whole seconds; `None` accepts any date and then
    /// remembers every message for ever.
    pub ageing: Option<Duration>,
    /// How far a message may be dated ahead of the host's clock, in whole seconds. Without ageing it
    /// means nothing.
    pub max_future: Duration,
    /// For how long the same text from the same address and port is the same packet, seen by another capture;
    /// zero where every text is a packet of its own.
    pub duplicate_within: Duration,
    /// Whether packets in the form of HTTP requests are read (`ENABLE_SPA_OVER_HTTP`).
    pub spa_over_http: bool,
    /// Whether such a request is read whatever program says that it made it
    /// (`ALLOW_ANY_USER_AGENT`).
    pub any_user_agent: bool,
    /// Whether an HTTP request for "the source" means the address in `X-Forwarded-For`
    /// (`ENABLE_X_FORWARDED_FOR`). Only behind a proxy of one's own: anyone can write that header.
    pub x_forwarded_for: bool,
    /// Whether stanzas may run commands at all, where they say so.
    pub commands: bool,
    /// What the host does about NAT. Whether it is possible is for its packet filter to say.
    pub nat: NatSettings,
    /// Whether the sender is looked for also where no sender of a permitted packet can be: among the
    /// keys of stanzas with other SOURCE networks or another SPA_SERVER_PORT, and behind tags of
    /// other minutes. It changes no grant, only reasons ("the message is 600 s old" instead of "no
    /// key"), and costs trials: for explaining packets.
    pub thorough: bool,
    /// How much work strangers may cause.
    pub budget: Budget,
    /// What another program let through here before, each of which is a replay.
    pub seen_texts: SeenTexts,
}

/// fwknop's default for `MAX_SPA_PACKET_AGE`, which it allows in both directions.
pub const AGEING_DEFAULT: Duration = Duration::from_secs(120);
/// A bridge and its port, or `any`, show one packet twice within milliseconds; a loaded host judges
/// the second later.
const DUPLICATE_WITHIN: Duration = Duration::from_secs(2);

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            ageing: Some(AGEING_DEFAULT),
            max_future: AGEING_DEFAULT,
            duplicate_within: DUPLICATE_WITHIN,
            spa_over_http: false,
            any_user_agent: false,
            x_forwarded_for: false,
            commands: true,
            nat: NatSettings::default(),
            thorough: false,
            budget: Budget::default(),
            seen_texts: SeenTexts::default(),
        }
    }
}
