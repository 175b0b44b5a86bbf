//! The engine of the agent, pure: what opens, for whom and until when, without opening anything.
//!
//! It performs no I/O, reads no clock and starts no thread.

mod capabilities;
mod rule;

pub use capabilities::{Capabilities, Unsupported};
pub use rule::{Hole, HoleTimeout, Rule};
