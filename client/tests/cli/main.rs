//! The command line as scripts see it: output, exit codes, packets.
//!
//! Expected packets come from fwknop's own client (vectors) and from openssl, never from our code.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails here"
)]

mod as_fwknop;
mod complete;
mod desktop;
mod exit_codes;
mod fleet_profile;
mod fwknop_vectors;
mod help;
mod keyring;
mod keys;
mod knocks;
mod named_files;
mod policy_import;
mod rc_file;
mod sandbox;
