//! The subcommands, each in its file.

pub mod flush;
pub mod join;
pub mod status;
