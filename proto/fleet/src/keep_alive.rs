//! How soon both ends of a line know that it was cut.
//!
//! A host asks whether its controller is there whenever nothing was said for a while, and so both know: the host
//! because what it sends is not taken, the controller because it hears nothing. What one end waits for is what the
//! other does, so their times stand here together.

use std::time::Duration;

/// Both ends know of a cut line within this.
pub const KNOWN_WITHIN: Duration = Duration::from_secs(20);
/// A host that has heard nothing for so long asks. Each question of an idle fleet costs its controller, so they are as
/// rare as [`KNOWN_WITHIN`] allows.
pub const ASKED_AFTER: Duration = Duration::from_secs(14);
/// What a host has sent and the controller's machine has not taken within this ends the connection.
pub const TAKEN_WITHIN: Duration = Duration::from_secs(5);
/// A host of which the controller has heard nothing for so long is gone.
pub const GONE_AFTER: Duration = Duration::from_secs(18);
/// How exactly either of them knows how long ago it heard something.
pub const LOOKED_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_know_of_a_cut_line_in_time_and_who_asks_in_time_is_not_given_up() {
        assert!(ASKED_AFTER + TAKEN_WITHIN < KNOWN_WITHIN);
        assert!(GONE_AFTER + LOOKED_EVERY < KNOWN_WITHIN);
        // A question may be lost twice on its way, and sent again by TCP.
        assert!(ASKED_AFTER + 3 * LOOKED_EVERY < GONE_AFTER);
    }
}
