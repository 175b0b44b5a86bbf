//! The experiments of the gate, by the numbers of the issue.

pub(crate) mod closing;
pub(crate) mod flood;
pub(crate) mod grants;
pub(crate) mod start;
