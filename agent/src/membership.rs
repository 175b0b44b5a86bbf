//! What is asked of this host's membership by whoever does not need it.

use std::path::Path;

/// What this host is called in its fleet now, as far as it has heard, if it is a member of one.
#[cfg(feature = "link")]
pub(crate) fn name_in_fleet(state_dir: &Path) -> Option<String> {
    let joined_as = member::Membership::load(state_dir).ok()?.name;
    let called = crate::link::called_now(state_dir, &joined_as);
    Some(called.unwrap_or(joined_as))
}

#[cfg(not(feature = "link"))]
pub(crate) fn name_in_fleet(_: &Path) -> Option<String> {
    None
}

/// Whether this host has joined, also where its membership cannot be read: who has joined does not go
/// back to old files by a fault.
#[cfg(feature = "link")]
pub(crate) fn has_joined(state_dir: &Path) -> bool {
    let loaded = member::Membership::load(state_dir);
    !matches!(loaded, Err(member::FilesError::NotMember { .. }))
}

#[cfg(not(feature = "link"))]
pub(crate) fn has_joined(_: &Path) -> bool {
    false
}
