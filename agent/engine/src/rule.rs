//! What a grant changes in a packet filter: a rule, and for how long it stands.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;

use spa::ProtoPort;

/// What may be opened for one source address.
///
/// Every back end matches all variants: one that cannot do a rule must say so.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Rule {
    /// Packets from this address to this port of the host itself are let in.
    Accept {
        /// Where they come from.
        address: IpAddr,
        /// Where they go to.
        port: ProtoPort,
    },
}

/// A rule, and for how long it is to stand from now.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Hole {
    /// What is open.
    pub rule: Rule,
    /// For how long.
    pub timeout: HoleTimeout,
}

/// For how long a hole stays open: 1 to 2,147,483 whole seconds (24 days).
///
/// In a kernel set, 0 means for ever, so 0 cannot be said. The upper bound is the set's own.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HoleTimeout(NonZeroU32);

// === impl Rule ===

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept { address, port } => write!(f, "{address} {port}"),
        }
    }
}

// === impl HoleTimeout ===

impl HoleTimeout {
    /// The longest that a kernel set knows, in seconds.
    pub const MAX_SECS: u32 = 2_147_483;

    /// Returns `secs`, or the nearest that a hole can have.
    #[must_use]
    pub fn clamped(secs: u32) -> Self {
        Self(NonZeroU32::new(secs.min(Self::MAX_SECS)).unwrap_or(NonZeroU32::MIN))
    }

    /// Returns the seconds, 1 to [`MAX_SECS`](Self::MAX_SECS).
    #[must_use]
    pub const fn secs(self) -> u32 {
        self.0.get()
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
