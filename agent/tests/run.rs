//! The whole agent, alone, against stock fwknop: real packets, a real kernel, a real disk.
//!
//! Every test has a host of its own in a lab, and everything happens on that host's loopback.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

#[path = "run/captures.rs"]
mod captures;
#[path = "run/commands.rs"]
mod commands;
#[path = "run/cycles.rs"]
mod cycles;
#[path = "run/host.rs"]
mod host;
#[path = "run/lasting.rs"]
mod lasting;
#[path = "run/looking.rs"]
mod looking;
#[path = "run/memory.rs"]
mod memory;
#[path = "run/opening.rs"]
mod opening;
#[path = "run/policy.rs"]
mod policy;
#[path = "run/sudo.rs"]
mod sudo;
