//! What crews are told, and what they say.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a crew is to play.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Part {
    /// The directory of the operator who lets them join.
    pub(super) operator: PathBuf,
    /// Where the hosts keep what they are, while they join.
    pub(super) members: PathBuf,
    /// Where they join.
    pub(super) controller: String,
    pub(super) first: usize,
    pub(super) count: usize,
}

/// What a crew is told.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) enum Told {
    /// Connect, and stay connected.
    Connect,
    /// Count from now on who has got another policy, under this number.
    Mark(u64),
}

/// How far a crew is, or all of them together.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct State {
    pub(crate) joined: u64,
    /// Hosts that have a session,
    pub(crate) open: u64,
    /// and sessions that have ended so far.
    pub(crate) ended: u64,
    /// When the last was opened, by [`clock::shared_us`].
    pub(crate) opened_us: u64,
    /// The number of the mark.
    pub(crate) mark: u64,
    /// Hosts that have got another policy since, and whose controller has noted that they have it,
    pub(crate) changed: u64,
    /// when the last of them had,
    pub(crate) changed_us: u64,
    /// and what travelled to one of them at most.
    pub(crate) bytes: u64,
    /// Policies that came, and words that the one there is is good, of all times.
    pub(crate) sent: u64,
}

// === impl State ===

impl State {
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            joined: self.joined + other.joined,
            open: self.open + other.open,
            ended: self.ended + other.ended,
            opened_us: self.opened_us.max(other.opened_us),
            mark: self.mark.min(other.mark),
            changed: self.changed + other.changed,
            changed_us: self.changed_us.max(other.changed_us),
            bytes: self.bytes.max(other.bytes),
            sent: self.sent + other.sent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_crews_say_is_added_up_and_the_slowest_decides() {
        let one = State {
            open: 3,
            changed: 1,
            changed_us: 50,
            mark: 2,
            bytes: 10,
            ..State::default()
        };
        let other = State {
            open: 4,
            changed: 2,
            changed_us: 40,
            mark: 1,
            bytes: 20,
            ..State::default()
        };

        let both = one.and(other);

        assert_eq!((both.open, both.changed, both.changed_us), (7, 3, 50));
        assert_eq!((both.mark, both.bytes), (1, 20));
    }
}
