//! One run of the controller.

/// What the database knows at the beginning of a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct RunBegun {
    /// Packets dated before this cannot be claimed.
    pub(crate) replay_floor_secs: u64,
    /// It is not the database that the last run left.
    pub(crate) restored: bool,
}
