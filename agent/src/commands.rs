//! What the program is asked to do besides running.

pub mod audit;
pub mod control;
pub mod doctor;
pub mod floor;
pub mod flush;
pub mod grants;
pub mod import;
#[cfg(feature = "link")]
pub mod join;
pub mod local;
pub mod protect;
pub mod reload;
pub mod rotate_keys;
pub mod status;
pub mod syns;
