//! The engine's rules about grants, claims, commands, limits, revocation and recovery, without a
//! thread, a clock or a disk: its caller here is a host whose kernel and journal are values, which
//! checks after every turn that nothing is open without a record.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod claims;
mod closing;
mod commands;
mod connections;
mod cycles;
mod faults;
mod grants;
mod host;
mod limits;
mod model;
mod names;
mod nat;
mod networks;
mod packets;
mod policy;
mod recovery;
mod refreshing;
