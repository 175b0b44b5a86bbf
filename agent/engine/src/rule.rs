//! What a grant changes in a packet filter: a rule, and for how long it stands.

mod text;

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use ipnet::IpNet;
pub use policy::SeenSource;
use serde::{Deserialize, Serialize};
use spa::{ProtoPort, Service};

pub use text::InvalidRule;

use crate::connection::Connection;

/// What may be opened for one source.
///
/// Every back end matches all variants: one that cannot do a rule must say so.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Forward {
    /// Where they come from.
    pub from: IpNet,
    /// What they ask for; `None` means everything (FORWARD_ALL).
    pub asked: Option<Service>,
    /// Where they are led.
    pub to: Destination,
    /// What the place that they are led to sees as their source.
    pub source: SeenSource,
}

/// Where packets are led.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum Destination {
    /// What is sent to this host goes to this address, of the sender's family.
    Translated {
        /// The address.
        address: IpAddr,
        /// The port there; `None` leaves the one that is asked for.
        port: Option<NonZeroU16>,
    },
    /// What is sent to this address is let through, whosever it is (DISABLE_DNAT,
    /// ENABLE_DESTINATION_RULE).
    Untranslated {
        /// The address.
        address: IpAddr,
    },
    /// To another port of this host, at the address at which they arrive.
    Here {
        /// The port.
        port: NonZeroU16,
    },
    /// What is sent to other hosts is let through.
    Anywhere,
}

/// A rule, and for how long it is to stand from now.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Hole {
    /// What is open.
    pub rule: Rule,
    /// For how long.
    pub timeout: HoleTimeout,
}

/// For how long a hole stays open: from 20 ms to 2,147,483 seconds (24 days).
///
/// In a kernel set, 0 means for ever, so 0 cannot be said, nor what it rounds to 0: it
/// counts in ticks of 10 ms at most. The upper bound is the set's own. Milliseconds, since what is
/// left of a hole that is laid again is no whole number of seconds, and it is to close when it was promised to.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
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
            Self::Forward(forward) => {
                forward.asked.as_ref().is_none_or(asked) && forward.to.is_of(connection)
            }
        }
    }

    /// Whether some packet that asks for something is for both rules.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (from, of_other) = (self.from(), other.from());
        let asked = self.asked().zip(other.asked());
        (from.contains(&of_other) || of_other.contains(&from))
            && asked.is_none_or(|(one, other)| one.overlaps(other))
    }

    /// Whether it leads just what the other one leads to another place, so that only one of them can
    /// stand in a packet filter.
    #[must_use]
    pub fn takes_place_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Forward(one), Self::Forward(other)) => {
                one != other
                    && (one.from, one.asked) == (other.from, other.asked)
                    && one.to.of_whom() == other.to.of_whom()
            }
            (Self::Accept { .. }, Self::Accept { .. } | Self::Forward(_))
            | (Self::Forward(_), Self::Accept { .. }) => false,
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

// === impl Destination ===

impl Destination {
    /// The one address that packets must be sent to; `None` for any of this host, or of others.
    const fn of_whom(self) -> Option<IpAddr> {
        match self {
            Self::Untranslated { address } => Some(address),
            Self::Translated { .. } | Self::Here { .. } | Self::Anywhere => None,
        }
    }

    /// Whether packets of this connection go there.
    fn is_of(self, connection: &Connection) -> bool {
        let Connection { asked, server, .. } = connection;
        match self {
            Self::Translated { address, port } => {
                let port = port.map_or_else(|| asked.port(), NonZeroU16::get);
                *server == SocketAddr::new(address, port)
            }
            Self::Untranslated { address } => asked.ip() == address,
            Self::Here { port } => server.port() == port.get(),
            Self::Anywhere => true,
        }
    }
}

// === impl HoleTimeout ===

impl HoleTimeout {
    /// The longest that a kernel set knows, in seconds.
    pub const MAX_SECS: u32 = 2_147_483;

    /// The shortest, in milliseconds: two ticks of the slowest kernel.
    pub const MIN_MILLIS: u32 = 20;

    /// Returns `secs`, or the nearest whole seconds that a hole can have.
    #[must_use]
    pub fn clamped(secs: u32) -> Self {
        Self::lasting(Duration::from_secs(secs.max(1).into()))
    }

    /// Returns `time` in milliseconds, never less, or the nearest that a hole can have.
    #[must_use]
    pub fn lasting(time: Duration) -> Self {
        let millis = time.as_nanos().div_ceil(1_000_000);
        let millis = u32::try_from(millis).unwrap_or(u32::MAX);
        let millis = millis.clamp(Self::MIN_MILLIS, Self::MAX_SECS * 1_000);
        Self(NonZeroU32::new(millis).unwrap_or(NonZeroU32::MIN))
    }

    /// Returns what is left until `deadline`, by the same clock as `now`.
    #[must_use]
    pub fn until(deadline: Duration, now: Duration) -> Self {
        Self::lasting(deadline.saturating_sub(now))
    }

    /// Returns the seconds, 1 to [`MAX_SECS`](Self::MAX_SECS): never less than the time.
    #[must_use]
    pub const fn secs(self) -> u32 {
        self.0.get().div_ceil(1_000)
    }

    /// Returns the time.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0.get() as u64)
    }
}

/// Milliseconds.
impl From<HoleTimeout> for u32 {
    fn from(timeout: HoleTimeout) -> Self {
        timeout.0.get()
    }
}

/// Milliseconds that no hole can be open for: 0, which a kernel takes for ever, or too many.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a hole cannot be open for {0} ms")]
pub struct InvalidTimeout(u32);

/// From milliseconds.
impl TryFrom<u32> for HoleTimeout {
    type Error = InvalidTimeout;

    fn try_from(millis: u32) -> Result<Self, InvalidTimeout> {
        let timeout = Self::lasting(Duration::from_millis(millis.into()));
        (u32::from(timeout) == millis)
            .then_some(timeout)
            .ok_or(InvalidTimeout(millis))
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
        assert_eq!(HoleTimeout::try_from(30_000), Ok(HoleTimeout::clamped(30)));
        assert_eq!(HoleTimeout::try_from(0), Err(InvalidTimeout(0)));
        assert!(HoleTimeout::try_from(19).is_err());
        assert!(HoleTimeout::try_from(2_147_483_001).is_err());
    }

    #[test]
    fn what_is_left_of_a_hole_is_told_to_the_millisecond_and_never_as_nothing() {
        let millis = |time| u32::from(HoleTimeout::lasting(time));

        assert_eq!(millis(Duration::from_micros(2_400_001)), 2_401);
        assert_eq!(HoleTimeout::lasting(Duration::from_millis(2_001)).secs(), 3);
        assert_eq!(millis(Duration::ZERO), HoleTimeout::MIN_MILLIS);
        assert_eq!(millis(Duration::MAX), HoleTimeout::MAX_SECS * 1_000);
    }

    #[test]
    fn a_connection_begins_through_what_it_asked_for_and_not_through_where_it_ended_up() {
        let connection = Connection {
            protocol: Protocol::Tcp,
            client: "192.0.2.7:40000".parse().unwrap(),
            asked: "198.51.100.1:8080".parse().unwrap(),
            server: "172.17.0.2:80".parse().unwrap(),
            zone: 0,
        };
        let lets = |rule: &str| rule.parse::<Rule>().unwrap().lets_begin(&connection);

        assert!(lets("192.0.2.7 tcp/8080") && lets("192.0.2.0/24 tcp/8000-9000"));
        assert!(!lets("192.0.2.7 tcp/80") && !lets("192.0.2.7 udp/8080"));
        assert!(!lets("192.0.2.8 tcp/8080") && !lets("192.0.2.7 icmp/echo"));
        assert!(lets("192.0.2.7 tcp/8080 to 172.17.0.2 port 80"));
        assert!(!lets("192.0.2.7 any to 172.17.0.2"), "its port is not kept");
        assert!(!lets("192.0.2.7 tcp/8080 to 172.17.0.3 port 80"));
        assert!(!lets("192.0.2.7 tcp/8080 to 172.17.0.2 port 81"));
        assert!(!lets("192.0.2.7 tcp/8080 to 172.17.0.2 untranslated"));
        assert!(lets("192.0.2.7 tcp/8080 to 198.51.100.1 untranslated"));
        assert!(!lets("192.0.2.7 tcp/80 to 198.51.100.1 untranslated"));
        assert!(lets("192.0.2.7 tcp/8080 to here port 80") && lets("192.0.2.7 any to anywhere"));
        assert!(!lets("192.0.2.7 tcp/8080 to here port 8080"));
    }
}
