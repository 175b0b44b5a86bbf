//! What the database knows of the file that holds the authorities.

/// The states that the file had, by name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct AuthorityStates {
    /// All of them, the oldest first: the last is that of now. Empty in a database of before.
    pub(crate) settled: Vec<String>,
    /// The one that is being written, or was when its writer was killed.
    pub(crate) begun: Option<String>,
    /// The name of the last run; the directory names the same, unless the database was put back.
    pub(crate) run: Option<String>,
}
