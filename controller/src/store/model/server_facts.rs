//! What a database server says of itself.

/// See the module.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ServerFacts {
    /// As people read it.
    pub(crate) version: String,
    /// The same as a number: 150008 for 15.8.
    pub(crate) version_number: u64,
    /// Of its texts.
    pub(crate) encoding: String,
    /// Whether the role may do everything at the server.
    pub(crate) is_superuser: bool,
    /// When the role is told that something is committed, before it asks for more.
    pub(crate) synchronous_commit: String,
    /// Which standbys a commit waits for; empty for none.
    pub(crate) synchronous_standby_names: String,
    /// How many are connected that copy what it writes.
    pub(crate) standbys: u64,
    /// How far its clock is from this machine's, milliseconds.
    pub(crate) apart_ms: u64,
    /// Of the database.
    pub(crate) bytes: u64,
    /// Triggers, rules and policies in the database: nobody of ours has made them.
    pub(crate) strangers: Vec<String>,
}
