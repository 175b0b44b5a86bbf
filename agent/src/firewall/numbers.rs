//! The kernel's numbers, one file for each subsystem.

pub(super) mod ipset;
pub(super) mod nf_tables;
