//! What a start finds in a database.

/// What is wrong, as far as a start looks.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct AtStart {
    /// Tables that are damaged, each with what the engine says.
    pub(crate) damaged: Vec<String>,
    /// The first of the newest records of the log that does not follow from the one before it.
    pub(crate) broken_at: Option<u64>,
    /// Rows that something else than the controller has written, each with its table.
    pub(crate) altered: Vec<(&'static str, String)>,
    /// How members and tokens are other than the log says.
    pub(crate) disagreements: Vec<String>,
}
