//! What can be wrong with the file that holds the authorities, beside what is in it.

/// See the module. What can be done about it is in `failure`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AuthorityDoubt {
    /// The database knows that there was one.
    #[error("it is missing, and the database knows that it was there")]
    Missing,
    /// What has replaced it is gone.
    #[error(
        "it is older than the database: authorities or the directory's key were replaced since, and what \
         followed is not in it"
    )]
    Older,
    /// It never was this controller's.
    #[error("it is not the one that the database knows: it is another controller's, or was edited")]
    Foreign,
}
