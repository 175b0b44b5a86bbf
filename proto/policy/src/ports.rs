//! Sets of services: the values of OPEN_PORTS, RESTRICT_PORTS and PROTECT.

use std::fmt;
use std::num::NonZeroU16;

use spa::{PortRange, ProtoPort, Protocol, Service};

use crate::network::shortened;

/// The longest range that [`PortSet::spelled_out`] writes port by port.
const SPELLED_OUT_MAX: u16 = 64;

/// Ports and echo. There is one form of each set: ranges that overlap or touch are one, and they are
/// sorted by protocol and port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSet(Box<[Service]>);

/// A text that names no service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPort {
    /// The list has an empty place or no entries.
    #[error("an entry of the list is empty")]
    Empty,
    /// Not `tcp/N`, `udp/N` or a range of them with ports from 1 to 65535, nor `icmp/echo`.
    #[error(
        "`{}` is not a port such as tcp/22 or udp/53, a range such as tcp/8000-8010, or icmp/echo{}",
        .0, meant(.0)
    )]
    Malformed(String),
}

/// ` (did you mean tcp/22?)` of a text whose protocol was mistyped, or nothing.
#[must_use]
pub fn meant(text: &str) -> String {
    let near = text.split_once('/').and_then(|(protocol, port)| {
        let near = crate::nearest_of(protocol, ["tcp", "udp", "icmp"])?;
        (near != protocol).then(|| format!(" (did you mean {near}/{port}?)"))
    });
    near.unwrap_or_default()
}

// === impl PortSet ===

impl PortSet {
    /// Everything that can be opened.
    #[must_use]
    pub fn everything() -> Self {
        let all = |protocol| PortRange::new(protocol, NonZeroU16::MIN, NonZeroU16::MAX);
        let ports = [Protocol::Tcp, Protocol::Udp].into_iter().filter_map(all);
        let services = ports.map(Service::Ports).chain([Service::Echo]);
        services.collect()
    }

    /// Whether all of this is in the set.
    #[must_use]
    pub fn contains(&self, service: impl Into<Service>) -> bool {
        let service = service.into();
        // Ranges that touch are one, so that what is in the set is in one of them.
        let after = self.0.partition_point(|own| *own <= service);
        let at = |index: usize| self.0.get(index).is_some_and(|own| own.covers(service));
        at(after) || after.checked_sub(1).is_some_and(at)
    }

    /// Whether any of this is in the set.
    #[must_use]
    pub fn touches(&self, service: impl Into<Service>) -> bool {
        let service = service.into();
        self.0.iter().any(|own| own.overlaps(service))
    }

    /// What is in this set, and not in the other one.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let left = self.iter().flat_map(|own| other.cut_out_of(own));
        left.collect()
    }

    /// The ranges, and echo, sorted.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Service> + '_ {
        self.0.iter().copied()
    }

    /// The same with every range of at most 64 ports as single ports: programs that do not know
    /// ranges read what is written so.
    pub fn spelled_out(&self) -> impl Iterator<Item = Service> + '_ {
        self.iter().flat_map(|service| match service {
            Service::Ports(range) if range.count() <= SPELLED_OUT_MAX => {
                let ports = range.first().get()..=range.last().get();
                let ports = ports.filter_map(NonZeroU16::new);
                let one = |port| {
                    let protocol = range.protocol();
                    Service::from(ProtoPort { protocol, port })
                };
                ports.map(one).collect()
            }
            Service::Ports(_) | Service::Echo => vec![service],
        })
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many ranges there are, echo counted as one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Reads a list such as `tcp/22, udp/8000-8010, icmp/echo`, separated by commas or blanks.
    ///
    /// # Errors
    ///
    /// [`InvalidPort`] names the first entry that is none.
    pub fn parse(text: &str) -> Result<Self, InvalidPort> {
        let mut ports: Vec<Service> = Vec::new();
        for entry in text.split(',') {
            let before = ports.len();
            for word in entry.split_whitespace() {
                let port = word
                    .to_ascii_lowercase()
                    .parse()
                    .map_err(|_| InvalidPort::Malformed(shortened(word)))?;
                ports.push(port);
            }
            if ports.len() == before {
                return Err(InvalidPort::Empty);
            }
        }
        Ok(ports.into_iter().collect())
    }

    /// What is left of a service without this set.
    fn cut_out_of(&self, service: Service) -> Vec<Service> {
        let range = match service {
            Service::Echo if self.contains(Service::Echo) => return Vec::new(),
            Service::Echo => return vec![Service::Echo],
            Service::Ports(range) => range,
        };
        let mut left = Vec::new();
        let mut keep = |first: u16, last: u16| {
            let ends = NonZeroU16::new(first).zip(NonZeroU16::new(last));
            let kept = ends.and_then(|(first, last)| PortRange::new(range.protocol(), first, last));
            left.extend(kept.map(Service::Ports));
        };
        // The lowest port that is not decided yet; none after the highest port there is.
        let mut next = Some(range.first().get());
        for own in self.iter().filter(|own| own.overlaps(service)) {
            let Service::Ports(own) = own else { continue };
            if let Some(first) = next {
                keep(first, own.first().get() - 1);
            }
            next = own.last().get().checked_add(1);
        }
        if let Some(first) = next {
            keep(first, range.last().get());
        }
        left
    }
}

impl<S: Into<Service>> FromIterator<S> for PortSet {
    fn from_iter<I: IntoIterator<Item = S>>(services: I) -> Self {
        let mut services: Vec<Service> = services.into_iter().map(Into::into).collect();
        join_all(&mut services, Joined::Touching);
        Self(services.into_boxed_slice())
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        listed(f, self.iter())
    }
}

/// Writes services as a list that [`PortSet::parse`] reads.
pub(crate) fn listed(
    f: &mut fmt::Formatter<'_>,
    services: impl Iterator<Item = Service>,
) -> fmt::Result {
    for (index, service) in services.enumerate() {
        if index > 0 {
            f.write_str(",")?;
        }
        write!(f, "{service}")?;
    }
    Ok(())
}

/// Which ranges become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    /// Those that share a port.
    Overlapping,
    /// Those as well between which no port lies.
    Touching,
}

/// Sorts services, and makes one of several.
pub(crate) fn join_all(services: &mut Vec<Service>, which: Joined) {
    services.sort_unstable();
    services.dedup_by(|next, kept| {
        let joined = joined(*kept, *next, which);
        *kept = joined.unwrap_or(*kept);
        joined.is_some()
    });
}

/// Two services, of which the second does not begin before the first, as one, if they are to be.
fn joined(kept: Service, next: Service, which: Joined) -> Option<Service> {
    let (Service::Ports(own), Service::Ports(other)) = (kept, next) else {
        return (kept == next).then_some(kept);
    };
    let gap = match which {
        Joined::Overlapping => 0,
        Joined::Touching => 1,
    };
    let is_near = other.first().get() <= own.last().get().saturating_add(gap);
    if own.protocol() != other.protocol() || !is_near {
        return None;
    }
    let last = own.last().max(other.last());
    PortRange::new(own.protocol(), own.first(), last).map(Service::Ports)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn service(text: &str) -> Service {
        text.parse().unwrap()
    }

    fn set(text: &str) -> PortSet {
        PortSet::parse(text).unwrap()
    }

    #[test]
    fn a_port_written_twice_is_in_the_set_once() {
        let ports = PortSet::parse("tcp/22,udp/53, tcp/22").unwrap();

        assert_eq!(ports.to_string(), "tcp/22,udp/53");
    }

    #[test]
    fn a_protocol_that_was_mistyped_is_answered_with_the_one_that_was_meant() {
        for (text, expected) in [
            ("tpc/22", " (did you mean tcp/22?)"),
            ("UPD/53", " (did you mean udp/53?)"),
            ("tcp/0", ""),
            ("sctp-ish/1", ""),
            ("22", ""),
        ] {
            assert_eq!(meant(text), expected, "{text}");
            let refused = PortSet::parse(text).unwrap_err().to_string();
            assert!(refused.ends_with(expected), "{refused}");
        }
    }

    #[test]
    fn the_protocol_belongs_to_the_port() {
        let ports = PortSet::parse("tcp/53").unwrap();

        assert!(ports.contains(service("tcp/53")));
        assert!(!ports.contains(service("udp/53")));
    }

    #[test]
    fn what_is_not_a_port_is_refused() {
        for text in [
            "",
            ",",
            "tcp",
            "tcp/0",
            "tcp/65536",
            "icmp/8",
            "tcp/22,,tcp/23",
            "tcp/23-22",
            "tcp/22-",
            "tcp/22-tcp/23",
            "icmp/echo-reply",
            "tcp/echo",
            "22",
        ] {
            assert!(PortSet::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn ranges_that_overlap_or_touch_are_one() {
        let ports =
            set("tcp/8010-8020, udp/1, TCP/8000-8010, tcp/8021, tcp/9000, icmp/echo icmp/echo");

        assert_eq!(ports.to_string(), "tcp/8000-8021,tcp/9000,udp/1,icmp/echo");
        assert_eq!(ports, set("icmp/echo,udp/1-1,tcp/9000,tcp/8000-8021"));
    }

    #[test]
    fn a_range_is_in_the_set_only_with_all_its_ports() {
        let ports = set("tcp/8000-8004,tcp/8005-8010,icmp/echo");

        assert!(ports.contains(service("tcp/8003-8007")) && ports.contains(Service::Echo));
        assert!(!ports.contains(service("tcp/7999-8001")) && !ports.contains(service("udp/8001")));
        assert!(ports.touches(service("tcp/1-8000")) && !ports.touches(service("tcp/1-7999")));
    }

    #[test]
    fn short_ranges_are_spelled_out_and_long_ones_are_not() {
        let ports = set("tcp/80-82,udp/1-65535,icmp/echo");
        let words: Vec<String> = ports.spelled_out().map(|s| s.to_string()).collect();

        assert_eq!(
            words,
            ["tcp/80", "tcp/81", "tcp/82", "udp/1-65535", "icmp/echo"]
        );
        assert_eq!(ports.spelled_out().collect::<PortSet>(), ports);
    }

    fn sets() -> impl Strategy<Value = (PortSet, Vec<u16>)> {
        prop::collection::vec((1..40_u16, 0..9_u16), 0..6).prop_map(|ranges| {
            let text = |(first, more): &(u16, u16)| format!("tcp/{first}-{}", first + more);
            let words = ranges.iter().map(text);
            let set: PortSet = words.map(|word| service(&word)).collect();
            let ports = ranges
                .iter()
                .flat_map(|(first, more)| *first..=first + more);
            (set, ports.collect())
        })
    }

    proptest! {
        #[test]
        fn a_set_has_the_ports_of_its_ranges_and_no_others((set, ports) in sets()) {
            for port in 1..60 {
                let one = service(&format!("tcp/{port}"));
                prop_assert_eq!(set.contains(one), ports.contains(&port));
                prop_assert_eq!(set.touches(one), ports.contains(&port));
            }
            prop_assert_eq!(&set.iter().collect::<PortSet>(), &set);
            if !set.is_empty() {
                prop_assert_eq!(PortSet::parse(&set.to_string()), Ok(set));
            }
        }

        #[test]
        fn what_is_left_is_in_the_one_and_not_in_the_other((one, _) in sets(), (other, _) in sets()) {
            let left = one.without(&other);

            for port in 1..60 {
                let port = service(&format!("tcp/{port}"));
                prop_assert_eq!(left.contains(port), one.contains(port) && !other.contains(port));
            }
            prop_assert!(PortSet::everything().without(&one).iter().all(|s| !one.touches(s)));
        }
    }
}
