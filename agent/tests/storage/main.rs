//! The journal under load, on disks that fill or fail, and with very much in it.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod disk;
mod flood;
mod log;
mod loss;
mod siblings;
mod start;
mod support;
