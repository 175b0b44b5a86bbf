//! The policy of a host that has joined, as its journal has it.

use std::path::Path;
use std::sync::Arc;

use gate::{CompiledPolicy, Now};
use member::{FilesError, Membership};

use crate::journal::{FILE_NAME, JournalError, JournalReader};
use crate::policies;

/// Why there is no policy of a fleet to judge by.
#[derive(Debug, thiserror::Error)]
pub enum NotEnforced {
    /// This host is none of a fleet, or its keys cannot be read.
    #[error(transparent)]
    Member(#[from] FilesError),
    /// The journal has it, and cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It has never been sent one.
    #[error("this host has no policy yet: it lets nobody in")]
    None,
    /// What the journal has cannot be enforced.
    #[error("the policy of this host cannot be used\n{}", .0.join("\n"))]
    Unusable(Vec<String>),
}

/// With the host's own keys, which nobody is shown.
pub(super) fn policy(state: &Path, now: Now) -> Result<Arc<CompiledPolicy>, NotEnforced> {
    let member = Membership::load(state)?;
    let saved = JournalReader::look(&state.join(FILE_NAME))?.policy()?;
    let saved = saved.ok_or(NotEnforced::None)?;
    let policy = policies::compile(saved, &member.exchanges(now.wall_secs)?, now);
    Ok(policy.map_err(NotEnforced::Unusable)?.compiled)
}
