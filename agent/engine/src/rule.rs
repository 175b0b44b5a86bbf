//! What a grant changes in a packet filter: a rule, and for how long it stands.

mod text;

use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};

use ipnet::IpNet;
use spa::{ProtoPort, Service};

pub use text::InvalidRule;

use crate::connection::Connection;

/// What may be opened for one source.
///
/// Every back end matches all variants: one that cannot do a rule must say so.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Rule {
    /// Packets from there to this service of the host are let in, by the port that they ask for: also
    /// where the host's own rules lead them on to a container.
    Accept {
        /// Where they come from: one address, or a network around it.
        from: IpNet,
        /// What they ask for.
        to: Service,
    },
    /// Packets from there are led on to another place.
    Forward(Forward),
}

/// Where packets from somewhere are led to.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Forward {
    /// Where they come from.
    pub from: IpNet,
    /// What they ask this host for; `None` means everything (FORWARD_ALL).
    pub asked: Option<Service>,
    /// The address where they are led to, of the same family.
    pub address: IpAddr,
    /// The port there; `None` leaves the one they ask for.
    pub port: Option<NonZeroU16>,
    /// Whether they are translated here. With DISABLE_DNAT they are sent to that place already, and
    /// are only let through.
    pub is_translated: bool,
    /// What the place that they are led to sees as their source.
    pub source: SeenSource,
}

/// What the place to which packets are led sees as their source.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SeenSource {
    /// The sender's own address.
    #[default]
    Own,
    /// This address (FORCE_SNAT).
    Address(IpAddr),
    /// The address of the interface through which they leave (FORCE_MASQUERADE).
    Masquerade,
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

impl Rule {
    /// Lets one address in to a service.
    #[must_use]
    pub fn accept(address: IpAddr, to: impl Into<Service>) -> Self {
        Self::Accept {
            from: address.into(),
            to: to.into(),
        }
    }

    /// Where the packets come from.
    #[must_use]
    pub const fn from(&self) -> IpNet {
        match self {
            Self::Accept { from, .. } | Self::Forward(Forward { from, .. }) => *from,
        }
    }

    /// What they ask this host for; `None` means everything.
    #[must_use]
    pub const fn asked(&self) -> Option<Service> {
        match self {
            Self::Accept { to, .. } => Some(*to),
            Self::Forward(forward) => forward.asked,
        }
    }

    /// Whether a connection may begin through this rule.
    #[must_use]
    pub fn lets_begin(&self, connection: &Connection) -> bool {
        let asked = |asked: &Service| connection.asked().is_some_and(|port| asked.contains(port));
        if !self.from().contains(&connection.client.ip()) {
            return false;
        }
        match self {
            Self::Accept { from: _, to } => asked(to),
            Self::Forward(forward) if forward.is_translated => {
                forward.asked.as_ref().is_none_or(asked)
                    && forward.address == connection.server.ip()
            }
            // It is sent to that place, and to the port there.
            Self::Forward(forward) => {
                let port = |port: NonZeroU16| port.get() == connection.asked.port();
                forward.address == connection.asked.ip()
                    && match (forward.port, &forward.asked) {
                        (Some(own), _) => port(own),
                        (None, Some(service)) => asked(service),
                        (None, None) => true,
                    }
            }
        }
    }

    /// Whether connections of several addresses or ports may begin through it, so that it cannot be
    /// looked up by those of one.
    pub(crate) fn is_wide(&self) -> bool {
        match self {
            Self::Accept { from, to } => {
                from.prefix_len() != from.max_prefix_len() || to.single().is_none()
            }
            Self::Forward(_) => true,
        }
    }

    /// The rule that is not wide and lets this connection begin; `None` for one to port 0.
    pub(crate) fn narrow(connection: &Connection) -> Option<Self> {
        let port: ProtoPort = connection.asked()?;
        Some(Self::accept(connection.client.ip(), port))
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
    use spa::Protocol;

    use super::*;

    #[test]
    fn no_hole_is_open_for_ever() {
        assert_eq!(HoleTimeout::clamped(0).secs(), 1);
        assert_eq!(HoleTimeout::clamped(30).secs(), 30);
        assert_eq!(HoleTimeout::clamped(u32::MAX).secs(), 2_147_483);
    }

    #[test]
    fn a_connection_begins_through_what_it_asked_for_and_not_through_where_it_ended_up() {
        let connection = Connection {
            protocol: Protocol::Tcp,
            client: "192.0.2.7:40000".parse().unwrap(),
            asked: "198.51.100.1:8080".parse().unwrap(),
            server: "172.17.0.2:80".parse().unwrap(),
        };
        let lets = |rule: &str| rule.parse::<Rule>().unwrap().lets_begin(&connection);

        assert!(lets("192.0.2.7 tcp/8080") && lets("192.0.2.0/24 tcp/8000-9000"));
        assert!(!lets("192.0.2.7 tcp/80") && !lets("192.0.2.7 udp/8080"));
        assert!(!lets("192.0.2.8 tcp/8080") && !lets("192.0.2.7 icmp/echo"));
        assert!(lets("192.0.2.7 tcp/8080 to 172.17.0.2 port 80"));
        assert!(lets("192.0.2.7 any to 172.17.0.2"));
        assert!(!lets("192.0.2.7 tcp/8080 to 172.17.0.3 port 80"));
        assert!(!lets(
            "192.0.2.7 tcp/8080 to 172.17.0.2 port 80 untranslated"
        ));
        assert!(lets(
            "192.0.2.7 tcp/80 to 198.51.100.1 port 8080 untranslated"
        ));
    }
}
