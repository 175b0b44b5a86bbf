//! What of a question must be looked up before it can be asked.

use super::addresses::Addresses;

/// What was looked up before.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// `event_hosts.id` of the hosts that are asked for; empty for all.
    pub(super) hosts: Vec<i64>,
    /// Where `hosts` has former names of those, too: the ones by whose name of now they are asked for.
    pub(super) asked: Vec<i64>,
    /// The reasons that begin as is asked for; `None` when they are too many.
    pub(super) reasons: Option<Vec<i64>>,
    /// What the log names of the prefix that is asked for; `None` when that is much.
    pub(super) addresses: Option<Addresses>,
    /// Whether any event names networks or long ranges of ports.
    pub(super) has_blocks: bool,
}
