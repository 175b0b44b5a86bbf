//! A table whose rows have MACs (`sqlite/rows.rs`): what is covered of each.

/// See the module.
#[derive(Debug)]
pub(in crate::store) struct Table {
    pub(in crate::store) name: &'static str,
    /// What is unique in it.
    pub(in crate::store) key: &'static [&'static str],
    /// What decides, beside the key.
    pub(in crate::store) columns: &'static [&'static str],
    /// The keys of the rows that have one; empty where all have.
    pub(in crate::store) only: &'static [&'static str],
    /// How a row is named to people, as SQL; `{}` is the row.
    pub(in crate::store) named: &'static str,
}
