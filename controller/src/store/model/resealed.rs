//! What a rotation of the seal key came to.

/// How much is sealed under the new key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Resealed {
    /// Rows of the database.
    pub rows: u64,
}
