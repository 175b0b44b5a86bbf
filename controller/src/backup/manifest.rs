//! What an archive says of itself, in its first file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::store::Place;

/// The first file of an archive.
pub(super) const NAME: &str = "postern-backup.json";
/// The newest form of archives that this program reads: the settings in it may say that the database is at a server.
pub(super) const FORMAT: u32 = 2;

/// The oldest form that says all of a controller whose database is there: programs of before read it.
pub(super) const fn format_of(place: &Place) -> u32 {
    match place {
        Place::File(_) => 1,
        Place::Postgres(_) => FORMAT,
    }
}

/// See the module.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Manifest {
    /// Up to [`FORMAT`].
    pub(super) format: u32,
    /// The fleet's name.
    pub(super) fleet: String,
    /// When it was made, for people.
    pub(super) made_at: String,
    /// `postern-controller 0.1.0`
    pub(super) made_by: String,
    /// Number of the database's schema.
    pub(super) schema: u32,
    /// The controller that it was made of does not serve any more: nothing happened since.
    pub(super) moved: bool,
    /// The database is at a server, and not in here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_without_database: bool,
    /// Whose the directory was, by name; `None` in archives of before, and where the machine knew none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<String>,
    /// Every other file.
    pub(super) files: BTreeMap<String, Entry>,
}

/// One file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Entry {
    pub(super) bytes: u64,
    /// Lower-case hexadecimal.
    pub(super) sha256: String,
}
