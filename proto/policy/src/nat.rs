//! What a stanza says about NAT: where packets are led to, and where a message may have them led.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use spa::Service;

use crate::network::{Networks, shortened};

/// The lines of a stanza about NAT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatRules {
    /// FORCE_NAT: every request leads there.
    pub force: Option<ForcedTarget>,
    /// FORCE_SNAT, FORCE_MASQUERADE: what the place sees as the source. `None` leaves it to the host.
    pub source: Option<SeenSource>,
    /// DISABLE_DNAT: packets are sent to the place already, and are only let through.
    pub disable_dnat: bool,
    /// FORWARD_ALL: every port and protocol is led on, not only what is asked for.
    pub forward_all: bool,
    /// NAT_ACCESS: where a message may have packets led.
    pub access: NatAccess,
}

/// FORCE_NAT: an address, which may be this host's own, and a port there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForcedTarget {
    /// The address; never unspecified, multicast or broadcast. Loopback means this host.
    pub address: IpAddr,
    /// The port there.
    pub port: NonZeroU16,
}

/// What the place to which packets are led sees as their source.
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize,
)]
pub enum SeenSource {
    /// The sender's own address.
    #[default]
    Own,
    /// This address (FORCE_SNAT).
    Address(IpAddr),
    /// The address of the interface through which they leave (FORCE_MASQUERADE).
    Masquerade,
}

/// NAT_ACCESS: where a message may have packets led.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NatAccess {
    /// There is no line, in a fleet's policy: nowhere.
    #[default]
    Nowhere,
    /// There is no line, in an access file of a host alone: everywhere, as with fwknop.
    Everywhere,
    /// What one of the lines permits; `NONE` is none.
    Lines(Box<[NatLine]>),
}

/// One line of NAT_ACCESS: places, and ports there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatLine {
    /// Never empty.
    places: Box<[NatPlace]>,
    /// None means every port and protocol.
    ports: Box<[Service]>,
}

/// A place of NAT_ACCESS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NatPlace {
    /// `ANY`: every address, and this host.
    Any,
    /// `LOCAL`: this host.
    Local,
    /// The addresses of this network, other hosts' all.
    Network(IpNet),
}

/// Where packets are to be led, as NAT_ACCESS is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// This host.
    Local,
    /// Another one.
    Inner(IpAddr),
}

/// A text that is no line of NAT_ACCESS, or no FORCE_NAT.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNat {
    /// The list has an empty place.
    #[error("an entry of the list is empty")]
    Empty,
    /// Neither a network nor a port.
    #[error(
        "`{0}` is neither an address or network, ANY, LOCAL or NONE, nor a port such as tcp/22"
    )]
    Malformed(String),
    /// A place behind the first port.
    #[error("`{0}` stands behind a port: places come first, then their ports")]
    Order(String),
    /// Ports without a place.
    #[error("no place is given in front of the ports")]
    NoPlace,
    /// NONE beside something.
    #[error("NONE stands alone")]
    NoneAndMore,
    /// No packet can be led there.
    #[error("`{0}` is not the address of another host; LOCAL is this one")]
    NotInner(String),
    /// FORCE_NAT.
    #[error("the value is not an address and a port, such as 192.168.10.5 22")]
    NotForced,
}

// === impl ForcedTarget ===

impl ForcedTarget {
    /// Reads `IP PORT`; a comma or colon between them passes, too.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidNat> {
        let mut words = text.split([' ', '\t', ',']).filter(|word| !word.is_empty());
        let (address, port) = (words.next(), words.next());
        let (Some(address), Some(port), None) = (address, port, words.next()) else {
            return Err(InvalidNat::NotForced);
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidNat::NotForced)?;
        let address = address.to_canonical();
        let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| is_number);
        match port.and_then(NonZeroU16::new) {
            Some(_) if is_nowhere(address) => Err(InvalidNat::NotInner(address.to_string())),
            Some(port) => Ok(Self { address, port }),
            None => Err(InvalidNat::NotForced),
        }
    }
}

impl fmt::Display for ForcedTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.address, self.port)
    }
}

// === impl NatAccess ===

impl NatAccess {
    /// Whether packets may be led there, to this service; `None` is everything.
    pub(crate) fn permits(&self, place: Place, service: Option<Service>) -> bool {
        match self {
            Self::Nowhere => false,
            Self::Everywhere => true,
            Self::Lines(lines) => lines.iter().any(|line| line.permits(place, service)),
        }
    }

    /// Whether it is written, and does not say that everything may be reached everywhere.
    pub(crate) fn is_limit(&self) -> bool {
        let is_all = |line: &NatLine| line.places.contains(&NatPlace::Any) && line.ports.is_empty();
        match self {
            Self::Nowhere | Self::Everywhere => false,
            Self::Lines(lines) => !lines.iter().any(is_all),
        }
    }

    /// Whether there is nothing that it permits.
    pub(crate) fn permits_nothing(&self) -> bool {
        match self {
            Self::Nowhere => true,
            Self::Everywhere => false,
            Self::Lines(lines) => lines.is_empty(),
        }
    }

    /// Adds a line; `None` is `NONE`.
    pub(crate) fn add(&mut self, line: Option<NatLine>) -> Result<(), InvalidNat> {
        let (Self::Lines(lines), Some(line)) = (&mut *self, &line) else {
            if matches!(self, Self::Lines(_)) {
                return Err(InvalidNat::NoneAndMore);
            }
            *self = Self::Lines(line.into_iter().collect());
            return Ok(());
        };
        if lines.is_empty() {
            return Err(InvalidNat::NoneAndMore);
        }
        *lines = lines.iter().chain([line]).cloned().collect();
        Ok(())
    }
}

// === impl NatLine ===

impl NatLine {
    fn permits(&self, place: Place, service: Option<Service>) -> bool {
        let covers = |own: &Service| service.is_some_and(|service| own.covers(service));
        self.places.iter().any(|own| own.contains(place))
            && (self.ports.is_empty() || self.ports.iter().any(covers))
    }

    /// Reads places, then ports, separated by commas or blanks. `NONE` is none.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, InvalidNat> {
        let (mut places, mut ports) = (Vec::new(), Vec::new());
        let mut none = false;
        for entry in text.split(',') {
            let mut words = entry.split_whitespace().peekable();
            if words.peek().is_none() {
                return Err(InvalidNat::Empty);
            }
            for word in words {
                if word.eq_ignore_ascii_case("NONE") {
                    none = true;
                } else if let Ok(service) = word.to_ascii_lowercase().parse::<Service>() {
                    ports.push(service);
                } else if ports.is_empty() {
                    places.push(NatPlace::parse(word)?);
                } else {
                    return Err(InvalidNat::Order(shortened(word)));
                }
            }
        }
        match (none, places.is_empty(), ports.is_empty()) {
            (true, true, true) => return Ok(None),
            (true, _, _) => return Err(InvalidNat::NoneAndMore),
            (false, true, _) => return Err(InvalidNat::NoPlace),
            (false, false, _) => {}
        }
        ports.sort_unstable();
        ports.dedup();
        Ok(Some(Self {
            places: places.into(),
            ports: ports.into(),
        }))
    }
}

impl fmt::Display for NatLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, all: &[T]) -> fmt::Result {
            for (index, one) in all.iter().enumerate() {
                let gap = if index > 0 { "," } else { "" };
                write!(f, "{gap}{one}")?;
            }
            Ok(())
        }
        list(f, &self.places)?;
        if !self.ports.is_empty() {
            f.write_str(" ")?;
            list(f, &self.ports)?;
        }
        Ok(())
    }
}

// === impl NatPlace ===

impl NatPlace {
    fn contains(self, place: Place) -> bool {
        match (self, place) {
            (Self::Any, _) | (Self::Local, Place::Local) => true,
            (Self::Network(network), Place::Inner(address)) => network.contains(&address),
            (Self::Local, Place::Inner(_)) | (Self::Network(_), Place::Local) => false,
        }
    }

    fn parse(word: &str) -> Result<Self, InvalidNat> {
        if word.eq_ignore_ascii_case("LOCAL") {
            return Ok(Self::Local);
        }
        let malformed = |_| InvalidNat::Malformed(shortened(word));
        match Networks::parse(word).map_err(malformed)? {
            Networks::Any => Ok(Self::Any),
            Networks::Only(networks) => match &*networks {
                [network] if is_nowhere(network.addr()) && network.prefix_len() > 0 => {
                    Err(InvalidNat::NotInner(shortened(word)))
                }
                [network] if network.addr().is_loopback() => {
                    Err(InvalidNat::NotInner(shortened(word)))
                }
                [network] => Ok(Self::Network(*network)),
                _ => Err(InvalidNat::Malformed(shortened(word))),
            },
        }
    }
}

impl fmt::Display for NatPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("ANY"),
            Self::Local => f.write_str("LOCAL"),
            Self::Network(network) => Networks::Only([*network].into()).fmt(f),
        }
    }
}

/// Whether no host can have this address. Loopback is this host's.
pub(crate) fn is_nowhere(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast(),
        // One of a link means nothing without the link's name.
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(lines: &[&str]) -> NatAccess {
        let mut access = NatAccess::Nowhere;
        for line in lines {
            access.add(NatLine::parse(line).unwrap()).unwrap();
        }
        access
    }

    fn permits(lines: &[&str], address: &str, service: &str) -> bool {
        let place = match address {
            "here" => Place::Local,
            address => Place::Inner(address.parse().unwrap()),
        };
        let service = (service != "any").then(|| service.parse().unwrap());
        access(lines).permits(place, service)
    }

    #[test]
    fn packets_may_be_led_to_what_one_line_permits_with_its_own_ports() {
        let lines = [
            "10.0.0.0/24, 2001:db8::/64 tcp/22,tcp/8000-8010",
            "LOCAL udp/53",
        ];

        assert!(permits(&lines, "10.0.0.5", "tcp/22"));
        assert!(permits(&lines, "10.0.0.5", "tcp/8001-8010"));
        assert!(permits(&lines, "2001:db8::5", "tcp/22"));
        assert!(permits(&lines, "here", "udp/53"));
        assert!(!permits(&lines, "10.0.0.5", "udp/22"));
        assert!(!permits(&lines, "10.0.0.5", "tcp/8001-8011"));
        assert!(!permits(&lines, "10.0.1.5", "tcp/22"));
        assert!(!permits(&lines, "here", "tcp/22"));
        assert!(!permits(&lines, "10.0.0.5", "any"));
        assert!(permits(&["10.0.0.5"], "10.0.0.5", "any"));
        assert!(permits(&["ANY"], "here", "any") && permits(&["any"], "192.0.2.1", "udp/1"));
        assert!(!permits(&["NONE"], "192.0.2.1", "udp/1"));
    }

    #[test]
    fn a_line_is_printed_as_it_is_read() {
        for (text, printed) in [
            ("any", "ANY"),
            ("local TCP/22 tcp/22", "LOCAL tcp/22"),
            (
                "10.0.0.7/24,10.1.0.5 udp/53, tcp/1-2",
                "10.0.0.0/24,10.1.0.5 tcp/1-2,udp/53",
            ),
        ] {
            let line = NatLine::parse(text).unwrap().unwrap();
            assert_eq!(line.to_string(), printed);
            assert_eq!(NatLine::parse(printed), Ok(Some(line)));
        }
    }

    #[test]
    fn what_permits_nothing_that_could_be_told_is_refused() {
        for text in [
            "",
            "tcp/22",
            "10.0.0.5 tcp/22 10.0.0.6",
            "10.0.0.5,,tcp/22",
            "NONE tcp/22",
            "NONE, ANY",
            "db.internal tcp/22",
            "127.0.0.1 tcp/22",
            "::1",
            "224.0.0.1",
            "10.0.0.5 tcp/0",
        ] {
            assert!(NatLine::parse(text).is_err(), "{text:?}");
        }
        let mut none = access(&["NONE"]);
        assert_eq!(
            none.add(NatLine::parse("ANY").unwrap()),
            Err(InvalidNat::NoneAndMore)
        );
        assert_eq!(access(&["ANY"]).add(None), Err(InvalidNat::NoneAndMore));
    }

    #[test]
    fn a_forced_target_is_an_address_and_a_port() {
        let forced = |text| ForcedTarget::parse(text).map(|forced| forced.to_string());

        assert_eq!(
            forced("192.168.77.7 2222"),
            Ok("192.168.77.7 2222".to_owned())
        );
        assert_eq!(forced("2001:db8::7\t22"), Ok("2001:db8::7 22".to_owned()));
        for text in [
            "",
            "192.168.77.7",
            "22 192.168.77.7",
            "h 22",
            "10.0.0.1 0",
            "10.0.0.1 +22",
            "10.0.0.1 22 23",
        ] {
            assert_eq!(forced(text), Err(InvalidNat::NotForced), "{text:?}");
        }
        for text in ["0.0.0.0 22", "224.0.0.1 22", "fe80::1 22"] {
            assert!(
                matches!(forced(text), Err(InvalidNat::NotInner(_))),
                "{text:?}"
            );
        }
    }
}
