//! What a request opens: a port, a range of ports, or echo.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::UnknownName;
use crate::text::number;

/// A transport protocol with ports.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A port, written `tcp/22`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ProtoPort {
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: NonZeroU16,
}

/// What may be opened for somebody: `tcp/22`, `tcp/8000-8010`, `icmp/echo`.
///
/// fwknop knows single ports only; ranges and echo are Postern's own.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum Service {
    /// One port, or several that follow each other.
    Ports(PortRange),
    /// Echo requests of ICMP and of ICMPv6.
    Echo,
}

/// Ports of one protocol from the first to the last, both included.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(
    try_from = "(Protocol, NonZeroU16, NonZeroU16)",
    into = "(Protocol, NonZeroU16, NonZeroU16)"
)]
pub struct PortRange {
    protocol: Protocol,
    first: NonZeroU16,
    last: NonZeroU16,
}

/// How echo is written.
const ECHO: &str = "icmp/echo";

// === impl Protocol ===

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl FromStr for Protocol {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        match name {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            _ => Err(UnknownName::Protocol),
        }
    }
}

// === impl ProtoPort ===

impl fmt::Display for ProtoPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.protocol, self.port)
    }
}

impl FromStr for ProtoPort {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let (protocol, port) = text.split_once('/').ok_or(UnknownName::ProtoPort)?;
        Ok(Self {
            protocol: protocol.parse()?,
            port: number::<u16>(port)
                .and_then(NonZeroU16::new)
                .ok_or(UnknownName::ProtoPort)?,
        })
    }
}

// === impl Service ===

impl Service {
    /// Whether a packet to this port is for this service.
    #[must_use]
    pub fn contains(self, port: ProtoPort) -> bool {
        self.covers(port.into())
    }

    /// Whether all of `other` is part of this service.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::Ports(own), Self::Ports(other)) => {
                own.protocol == other.protocol && own.first <= other.first && other.last <= own.last
            }
            (Self::Echo, Self::Echo) => true,
            (Self::Ports(_), Self::Echo) | (Self::Echo, Self::Ports(_)) => false,
        }
    }

    /// Whether some packet is for both services.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        match (self, other) {
            (Self::Ports(own), Self::Ports(other)) => {
                own.protocol == other.protocol && own.first <= other.last && other.first <= own.last
            }
            (Self::Echo, Self::Echo) => true,
            (Self::Ports(_), Self::Echo) | (Self::Echo, Self::Ports(_)) => false,
        }
    }

    /// Returns the same at this port alone; echo has none.
    #[must_use]
    pub fn at_port(self, port: NonZeroU16) -> Self {
        match self {
            Self::Ports(range) => Self::Ports(PortRange {
                protocol: range.protocol,
                first: port,
                last: port,
            }),
            Self::Echo => Self::Echo,
        }
    }

    /// Returns the port, if it is a single one.
    #[must_use]
    pub fn single(self) -> Option<ProtoPort> {
        match self {
            Self::Ports(range) if range.first == range.last => Some(ProtoPort {
                protocol: range.protocol,
                port: range.first,
            }),
            Self::Ports(_) | Self::Echo => None,
        }
    }
}

impl From<ProtoPort> for Service {
    fn from(ProtoPort { protocol, port }: ProtoPort) -> Self {
        Self::Ports(PortRange {
            protocol,
            first: port,
            last: port,
        })
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ports(range) => range.fmt(f),
            Self::Echo => f.write_str(ECHO),
        }
    }
}

impl FromStr for Service {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        if text == ECHO {
            return Ok(Self::Echo);
        }
        let Some((first, last)) = text.split_once('-') else {
            return Ok(text.parse::<ProtoPort>()?.into());
        };
        let ProtoPort { protocol, port } = first.parse()?;
        let last = number::<u16>(last).and_then(NonZeroU16::new);
        let range = last.and_then(|last| PortRange::new(protocol, port, last));
        range.map(Self::Ports).ok_or(UnknownName::ProtoPort)
    }
}

// === impl PortRange ===

impl PortRange {
    /// Returns the range; `None` when it ends before it begins.
    #[must_use]
    pub fn new(protocol: Protocol, first: NonZeroU16, last: NonZeroU16) -> Option<Self> {
        (first <= last).then_some(Self {
            protocol,
            first,
            last,
        })
    }

    /// Returns the protocol of all its ports.
    #[must_use]
    pub fn protocol(self) -> Protocol {
        self.protocol
    }

    /// Returns the lowest port.
    #[must_use]
    pub fn first(self) -> NonZeroU16 {
        self.first
    }

    /// Returns the highest port.
    #[must_use]
    pub fn last(self) -> NonZeroU16 {
        self.last
    }

    /// Returns how many ports it has, 1 to 65,535.
    #[must_use]
    pub fn count(self) -> u16 {
        self.last.get() - self.first.get() + 1
    }
}

impl From<PortRange> for (Protocol, NonZeroU16, NonZeroU16) {
    fn from(range: PortRange) -> Self {
        (range.protocol, range.first, range.last)
    }
}

impl TryFrom<(Protocol, NonZeroU16, NonZeroU16)> for PortRange {
    type Error = UnknownName;

    fn try_from(
        (protocol, first, last): (Protocol, NonZeroU16, NonZeroU16),
    ) -> Result<Self, UnknownName> {
        Self::new(protocol, first, last).ok_or(UnknownName::ProtoPort)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            protocol,
            first,
            last,
        } = self;
        if first == last {
            write!(f, "{protocol}/{first}")
        } else {
            write!(f, "{protocol}/{first}-{last}")
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn service(text: &str) -> Service {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_written_in_another_way_than_it_is_printed_is_refused() {
        for text in [
            "",
            "tcp",
            "tcp/",
            "tcp/0",
            "tcp/22-",
            "tcp/22-22-23",
            "tcp/23-22",
            "tcp/22-65536",
            "tcp/022",
            "icmp/8",
            "icmp",
            "TCP/22",
            " tcp/22",
            "sctp/22",
        ] {
            assert!(text.parse::<Service>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_service_covers_what_lies_within_it_and_overlaps_what_it_shares_a_port_with() {
        let range = service("tcp/8000-8010");

        assert!(range.covers(service("tcp/8000")) && range.covers(service("tcp/8003-8010")));
        assert!(!range.covers(service("tcp/8003-8011")) && !range.covers(service("udp/8003")));
        assert!(range.overlaps(service("tcp/8010-9000")) && !range.overlaps(service("tcp/8011")));
        assert!(Service::Echo.covers(Service::Echo) && !Service::Echo.overlaps(range));
        assert!(range.contains("tcp/8001".parse().unwrap()));
    }

    #[test]
    fn one_port_is_a_range_of_one() {
        assert_eq!(service("udp/53-53").to_string(), "udp/53");
        assert_eq!(service("udp/53").single(), Some("udp/53".parse().unwrap()));
        assert_eq!(service("udp/53-54").single(), None);
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_as_the_same(first in 1_u16.., more in 0_u16.., udp in any::<bool>()) {
            let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
            let first = NonZeroU16::new(first).unwrap();
            let range = PortRange::new(protocol, first, first.saturating_add(more)).unwrap();

            prop_assert_eq!(range.to_string().parse(), Ok(Service::Ports(range)));
        }
    }
}
