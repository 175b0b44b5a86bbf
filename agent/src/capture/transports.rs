//! What packets travel in: which protocols of IP are looked at, as the configuration chooses.

use std::str::FromStr;

use gate::Transport;
use serde::{Deserialize, Serialize};

/// A set of protocols that packets may come in.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Transports(u8);

/// No protocol is called so.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("is not udp, tcp, icmp, gre or other")]
pub struct NoTransport;

/// Each with its bit and what it is for reading them.
const NAMES: [(&str, Transports); 5] = [
    ("udp", Transports::UDP),
    ("tcp", Transports::TCP),
    ("icmp", Transports::ICMP),
    ("gre", Transports::GRE),
    ("other", Transports::OTHER),
];

// === impl Transports ===

impl Transports {
    /// Datagrams to the SPA ports.
    pub const UDP: Self = Self(1);
    /// Segments to the SPA ports.
    pub const TCP: Self = Self(2);
    /// What follows the first eight bytes of ICMP and `ICMPv6`.
    pub const ICMP: Self = Self(4);
    /// What follows the header of GRE.
    pub const GRE: Self = Self(8);
    /// What follows the IP headers, whatever else IP may carry but ESP.
    pub const OTHER: Self = Self(16);

    /// These and those.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are among them.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether what came in this is looked at.
    #[must_use]
    pub const fn takes(self, transport: Transport) -> bool {
        self.has(match transport {
            Transport::Udp => Self::UDP,
            Transport::Tcp => Self::TCP,
            Transport::Icmp => Self::ICMP,
            Transport::Gre => Self::GRE,
            Transport::Other(_) => Self::OTHER,
        })
    }
}

impl FromStr for Transports {
    type Err = NoTransport;

    fn from_str(name: &str) -> Result<Self, NoTransport> {
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, one)| *one).ok_or(NoTransport)
    }
}
