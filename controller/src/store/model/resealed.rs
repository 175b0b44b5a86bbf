//! What a rotation of the seal key came to.

/// How much is sealed under the new key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Resealed {
    /// Rows of the database.
    pub rows: u64,
    /// Other controllers over the same database, which need the new key, too.
    pub others: u64,
}
