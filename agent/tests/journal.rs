//! The journal across starts, crashes, damage and a full disk.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

#[path = "journal/damage.rs"]
mod damage;
#[path = "journal/events.rs"]
mod events;
#[path = "journal/floors.rs"]
mod floors;
#[path = "journal/grants.rs"]
mod grants;
#[path = "journal/replay.rs"]
mod replay;
#[path = "journal/support.rs"]
mod support;
