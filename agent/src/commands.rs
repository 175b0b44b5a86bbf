//! The subcommands, each in its file.

pub mod floor;
pub mod flush;
#[cfg(feature = "link")]
pub mod join;
pub mod protect;
pub mod status;
