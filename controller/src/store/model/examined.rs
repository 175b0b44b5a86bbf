//! What reading a whole database has found.

use fleet::audit::Verdict;

use super::{AuthorityStates, ServerFacts};

/// Whose database it is thought to be.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Whose<'a> {
    /// The fleet's name.
    pub(crate) fleet: &'a str,
    /// The controller's own name, where it is one of several.
    pub(crate) controller: Option<&'a str>,
}

/// What is so, and what is wrong.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Examined {
    /// What its server says of itself; `None` of a file.
    pub(crate) server: Option<ServerFacts>,
    /// Number of its schema.
    pub(crate) schema: u32,
    /// The version of the program that brought it to its schema; empty for one that does not say.
    pub(crate) written_by: String,
    /// The name of the last run; `None` before the first.
    pub(crate) run: Option<String>,
    /// What it knows of the file that holds the authorities; `None` where something else has written that.
    pub(crate) authority_states: Option<AuthorityStates>,
    /// The states of the authorities that several controllers have from here, the oldest first; empty where they
    /// have none from here.
    pub(crate) shared_authorities: Vec<String>,
    /// What the engine says is wrong; then, and where the schema is another, nothing more was read.
    pub(crate) damage: Vec<String>,
    /// No row of it was written under the seal key of the directory: nothing that is sealed can be read.
    pub(crate) is_of_another_key: bool,
    /// What the log is found to be.
    pub(crate) log: Verdict,
    /// What would not be found by searches, beside what the log names; empty for nothing.
    pub(crate) search_fault: String,
    /// The key that signs it, as text; empty for none yet. And why it cannot be read.
    pub(crate) audit_key: String,
    pub(crate) audit_key_fault: String,
    /// Those that signed it before, the oldest first.
    pub(crate) audit_keys_former: Vec<String>,
    /// What a start could not read, or what is gone, by what it is of.
    pub(crate) unserved: Vec<(&'static str, String)>,
    /// The policy in force; 0 for none.
    pub(crate) generation: u64,
    /// Why its text cannot be read; empty when it can.
    pub(crate) unsealed: String,
}
