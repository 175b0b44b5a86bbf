//! The engine of the agent, pure: what opens, for whom and until when, without opening anything.
//!
//! It performs no I/O, reads no clock and starts no thread.

mod rule;

pub use rule::{Hole, HoleTimeout, Rule};
