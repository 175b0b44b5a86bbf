//! What a start finds in a database.

/// What is wrong, as far as a start looks.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct AtStart {
    /// Tables that are damaged, each with what the engine says.
    pub(crate) damaged: Vec<String>,
    /// The first of the newest records of the log that does not follow from the one before it.
    pub(crate) broken_at: Option<u64>,
}
