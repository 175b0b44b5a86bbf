//! The experiments, by their numbers in the README: E1 to E8 at the gate, E9 to E11 in a fleet, E12 to E14 with several
//! controllers and many hosts, E15 beside the owner's rules, E16 in floods that last.

pub(crate) mod audit;
mod audit_log;
pub(crate) mod beside;
pub(crate) mod claims;
pub(crate) mod closing;
pub(crate) mod endurance;
pub(crate) mod fleet_apply;
pub(crate) mod flood;
pub(crate) mod grants;
mod pushes;
mod questions;
pub(crate) mod scale;
pub(crate) mod several;
pub(crate) mod start;
