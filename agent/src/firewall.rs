//! The only room that changes the host: what is open, in the kernel's own sets.
//!
//! Two halves, because they run on different threads and cost a thousandfold different amounts:
//!
//! - [`Firewall`] opens and closes holes: elements with a timeout of their own in kernel sets, one
//!   netlink message for a whole batch (a few microseconds). The gate thread owns it. The agent
//!   only ever adds; every hole closes in the kernel by itself, whatever happens to the agent.
//! - [`Groundwork`] lays the chain, the jump and the sets at the start, and repairs them when
//!   someone else flushes the table. It spawns iptables (milliseconds), so it runs beside.
//!
//! The chain, in this order: what was revoked is dropped; what belongs to an established session is
//! accepted, so that a session outlives its hole; what matches the set is accepted; what is
//! protected is dropped.

pub mod fault;
mod ground;
mod ipset;
mod iptables;
mod lock;
pub mod memory;

use std::fmt;

use engine::{Hole, Rule};

pub use ground::{Drift, Groundwork, GroundworkOptions};
pub use ipset::{IpsetFirewall, SetNames};
pub use lock::ChainLock;

/// Opens and closes holes.
///
/// An implementation must have changed the host when it returns `Ok`. The dangerous error is a
/// hole without an end: no implementation may ever make one.
pub trait Firewall: Send + fmt::Debug {
    /// Opens every hole, for exactly its timeout from now: a rule that stands already gets the new
    /// timeout, longer or shorter. Who must not shorten (see [`crate::run::grants`]) says the
    /// later deadline.
    ///
    /// # Errors
    ///
    /// Some holes of the batch may be open after an error; each has its timeout.
    fn open(&mut self, holes: &[Hole]) -> Result<(), FirewallError>;

    /// Takes the rules back at once, also for sessions that are established through them. Opening
    /// one again lifts that.
    ///
    /// # Errors
    ///
    /// Some holes may still be open after an error, until their timeout.
    fn close(&mut self, rules: &[Rule]) -> Result<(), FirewallError>;

    /// What is open now, with the time left.
    ///
    /// # Errors
    ///
    /// When the host cannot be asked.
    fn list(&mut self) -> Result<Vec<Hole>, FirewallError>;

    /// Closes everything; established sessions live on.
    ///
    /// # Errors
    ///
    /// When the host refuses; what was open closes at its timeout.
    fn flush(&mut self) -> Result<(), FirewallError>;
}

/// Why the host's packet filter did not do as told.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FirewallError {
    #[error("cannot talk to the kernel over netlink ({doing}): {reason}")]
    Netlink { doing: &'static str, reason: String },
    #[error("the kernel refused to {doing} {set}: {reason}")]
    Set {
        doing: &'static str,
        set: String,
        reason: String,
    },
    #[error("cannot run {program}: {reason}")]
    Spawn {
        program: &'static str,
        reason: String,
    },
    #[error("{program} failed: {stderr}")]
    Refused {
        program: &'static str,
        stderr: String,
    },
    #[error(
        "IPv6 is on in this kernel but ip6tables cannot be used ({0}); protected ports would be \
         open over IPv6"
    )]
    NoIp6tables(String),
    #[error("another agent manages chain {chain} in this network namespace")]
    Locked { chain: String },
    #[error("`{0}` is no name for a chain: 1 to 24 of A-Z a-z 0-9 _ -")]
    ChainName(String),
    /// Made by [`fault::Faulty`] only.
    #[error("made to fail")]
    Fault,
}
