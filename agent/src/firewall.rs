//! The only room that changes the host: which doors are open, in the kernel's own sets.
//!
//! Two halves, because they run on different threads and cost a thousandfold different amounts:
//!
//! - [`Firewall`] opens and closes doors: elements with a timeout of their own in kernel sets, one
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
mod netlink;

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;

use spa::ProtoPort;

pub use ground::{Drift, Groundwork, GroundworkOptions};
pub use ipset::{IpsetFirewall, SetNames};
pub use lock::ChainLock;

/// One source address and the one port that may be open for it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Door {
    pub address: IpAddr,
    pub port: ProtoPort,
}

/// A door and for how long it is to stay open from now.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Hole {
    pub door: Door,
    pub timeout: HoleTimeout,
}

/// For how long a hole stays open: 1 to 2,147,483 whole seconds (24 days).
///
/// In a kernel set, 0 means for ever, so 0 cannot be said. The upper bound is the set's own.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HoleTimeout(NonZeroU32);

/// Opens and closes doors.
///
/// An implementation must have changed the host when it returns `Ok`. The dangerous error is a
/// hole without an end: no implementation may ever make one.
pub trait Firewall: Send + fmt::Debug {
    /// Opens every hole, for exactly its timeout from now: a door that is open already gets the new
    /// timeout, longer or shorter. Who must not shorten (see [`crate::run::grants`]) says the
    /// later deadline.
    ///
    /// # Errors
    ///
    /// Some holes of the batch may be open after an error; each has its timeout.
    fn open(&mut self, holes: &[Hole]) -> Result<(), FirewallError>;

    /// Closes the doors at once, also for sessions that are established through them. Opening a
    /// door again lifts that.
    ///
    /// # Errors
    ///
    /// Some doors may still be open after an error, until their timeout.
    fn close(&mut self, doors: &[Door]) -> Result<(), FirewallError>;

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

// === impl HoleTimeout ===

impl HoleTimeout {
    pub const MAX_SECS: u32 = 2_147_483;

    /// `secs`, or the nearest that a hole can have.
    pub fn clamped(secs: u32) -> Self {
        Self(NonZeroU32::new(secs.min(Self::MAX_SECS)).unwrap_or(NonZeroU32::MIN))
    }

    pub const fn secs(self) -> u32 {
        self.0.get()
    }
}

// === impl Door ===

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.address, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_hole_is_open_for_ever() {
        assert_eq!(HoleTimeout::clamped(0).secs(), 1);
        assert_eq!(HoleTimeout::clamped(30).secs(), 30);
        assert_eq!(HoleTimeout::clamped(u32::MAX).secs(), 2_147_483);
    }
}
