//! A real controller in this process, on a port of its own, and members that speak its contract.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that is wrong may panic"
)]

mod access;
mod authority_file;
mod backup;
mod claims;
mod clocks;
mod controllers;
mod disk;
mod events;
mod following;
mod half_open;
mod hosts;
mod joining;
mod key_rotation;
mod lasting;
mod log_keys;
mod members;
mod metrics;
mod owners;
mod policy;
mod proof;
mod questions;
mod raw;
mod rotation;
mod sinks;
mod strangers;
mod support;
mod version_1;
mod who_can;
