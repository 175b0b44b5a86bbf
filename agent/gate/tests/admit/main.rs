//! The gate as the agent uses it: datagrams in, decisions out.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod addressees;
mod checks;
mod claims;
mod flood;
mod fragments;
mod invalid;
mod keys;
mod open_pgp;
mod payloads;
mod ports;
mod replay;
mod rules;
mod sender_os;
mod sequences;
mod support;
mod transport;
mod valid;
