//! postern-agent: captures SPA packets, asks the engine, records, and opens ports.
//!
//! The life of a packet is in docs/architecture.md: capture, engine, journal and firewall run on one
//! thread ([`turn`]); the link to the controller, the repair of the base rules, commands and signals
//! run beside it and reach it through its mailbox ([`orders`]). [`run`] puts all of it together.

mod accounts;
pub mod capture;
pub mod channels;
pub mod cli;
pub mod clock;
mod clock_evidence;
pub mod command_runner;
pub mod commands;
#[cfg(test)]
mod compatibility;
pub mod config;
pub mod connections;
mod descriptors;
pub mod domains;
pub mod explain;
mod failure;
pub mod firewall;
pub mod fwknopd;
mod gpg;
pub mod hide_first;
pub mod hostile;
pub mod journal;
mod kernel_switches;
#[cfg(feature = "link")]
mod leaving;
#[cfg(feature = "link")]
pub mod link;
mod link_state;
mod membership;
#[cfg(feature = "metrics")]
pub mod metrics;
mod netlink;
pub mod network;
pub mod orders;
pub mod os_signatures;
pub mod policies;
pub mod protection;
pub mod report;
pub mod resolver;
pub mod run;
pub mod start;
mod state_trust;
pub mod turn;
pub mod work;

/// Where the agent keeps its membership and its journal.
pub const STATE_DIR: &str = "/var/lib/postern-agent";
