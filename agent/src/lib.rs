//! postern-agent: captures SPA packets, asks the gate, records, and opens ports.
//!
//! The life of a packet is in docs/architecture.md: capture, gate, journal and firewall run on one
//! thread ([`run`]); the link to the controller, the repair of the firewall's ground, commands and signals
//! run beside it and reach it through its mailbox ([`orders`]).

pub mod capture;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod explain;
mod failure;
pub mod firewall;
pub mod journal;
pub mod link;
mod netlink;
pub mod orders;
pub mod policies;
pub mod run;

/// Where the agent keeps its membership and its journal.
pub const STATE_DIR: &str = "/var/lib/postern-agent";
