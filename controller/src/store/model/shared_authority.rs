//! The authorities, where several controllers have them from their database.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

/// Kept sealed, as JSON.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct SharedAuthority {
    pub(crate) fleet: String,
    /// All that there were, by name, the oldest first: the last is that of now. Sealed with it, so that whoever
    /// writes into the database cannot pass an older one off as newer than a controller's own.
    pub(crate) states: Vec<String>,
    /// As it stands in `authority.json`.
    pub(crate) text: String,
}

impl Drop for SharedAuthority {
    fn drop(&mut self) {
        self.text.zeroize();
    }
}

impl fmt::Debug for SharedAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedAuthority").finish_non_exhaustive()
    }
}
