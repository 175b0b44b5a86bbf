//! postern-agent: captures SPA packets, asks the gate, records, and opens doors.
//!
//! The life of a packet is design.md part 3: capture, gate, journal and firewall run on one thread
//! ([`run`]); the link to the controller, the repair of the firewall's ground, commands and signals
//! run beside it and reach it through its mailbox ([`orders`]).

pub mod capture;
pub mod clock;
pub mod firewall;
pub mod journal;
pub mod orders;
pub mod policies;
