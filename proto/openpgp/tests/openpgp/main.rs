//! Real GnuPG on one side, this crate on the other.
#![expect(clippy::unwrap_used, reason = "tests: a failed step should stop here")]

mod gnupg;
mod homes;
mod packets;
mod trust;
mod version6;
