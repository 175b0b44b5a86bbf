//! One run of the controller.

use super::FleetState;

/// What the database knows at the beginning of a run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RunBegun {
    pub(crate) fleet: FleetState,
    /// It is not the database that the last run left.
    pub(crate) restored: bool,
}
