//! The experiments, by their numbers in the README: E1 to E8 at the gate, E9 to E11 in a fleet,
//! E12 beside the owner's rules, E13 in floods that last, E14 one controller with many hosts.

pub(crate) mod audit;
mod audit_log;
pub(crate) mod beside;
pub(crate) mod claims;
pub(crate) mod closing;
pub(crate) mod endurance;
pub(crate) mod fleet_apply;
pub(crate) mod flood;
pub(crate) mod grants;
mod questions;
pub(crate) mod scale;
mod scale_host;
pub(crate) mod start;
