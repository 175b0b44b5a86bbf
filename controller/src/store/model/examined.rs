//! What reading a whole database has found.

/// Faults that are named one by one.
const FAULTS_MAX: usize = 10;

/// What is so, and what is wrong.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Examined {
    /// Number of its schema.
    pub(crate) schema: u32,
    /// The version of the program that brought it to its schema; empty for one that does not say.
    pub(crate) written_by: String,
    /// The name of the last run; `None` before the first.
    pub(crate) run: Option<String>,
    /// What the engine says is wrong; then, and where the schema is another, nothing more was read.
    pub(crate) damage: Vec<String>,
    /// Records of the log.
    pub(crate) records: u64,
    /// The log's chain value at its end.
    pub(crate) head: [u8; 32],
    /// The first places where a chain is broken, and how many there are.
    pub(crate) broken: Vec<String>,
    pub(crate) broken_count: u64,
    /// The policy in force; 0 for none.
    pub(crate) generation: u64,
    /// Why its text cannot be read; empty when it can.
    pub(crate) unsealed: String,
}

// === impl Examined ===

impl Examined {
    pub(crate) fn fault(&mut self, words: String) {
        if self.broken.len() < FAULTS_MAX {
            self.broken.push(words);
        }
        self.broken_count += 1;
    }
}
