//! In place of `enforced.rs` in an agent that is built without the link to a controller.

use std::path::Path;
use std::sync::Arc;

use gate::{CompiledPolicy, Now};

/// No host of this agent belongs to a fleet.
#[derive(Debug, thiserror::Error)]
#[error("no access file is named")]
pub struct NotEnforced;

/// Says that it cannot.
pub(super) fn policy(_: &Path, _: Now) -> Result<Arc<CompiledPolicy>, NotEnforced> {
    Err(NotEnforced)
}
