//! What of the host's own rules would still drop what a grant opens. Data; found by those who read
//! the packet filter.

use std::net::IpAddr;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};
use spa::{PortRange, Service};

use crate::rule::{Destination, Forward, Rule};

/// Everything that would still drop what a grant opens, as far as can be seen.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(
    from = "(Vec<Obstacle>, Vec<IpAddr>)",
    into = "(Vec<Obstacle>, Vec<IpAddr>)"
)]
pub struct Obstacles {
    all: Vec<Obstacle>,
    /// Those that stand in the way of everybody; places in `all`.
    general: Vec<usize>,
    /// Ranges of sources with their obstacles, sorted by where they begin; and for each the furthest
    /// end of it and of all before.
    narrow: Vec<(Span, usize)>,
    furthest: Vec<(bool, u128)>,
    /// The host's own addresses: what is led on to one of them comes in.
    own: Vec<IpAddr>,
}

/// Something that would still drop what a grant opens.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Obstacle {
    /// Whose packets: ranges of addresses of one family, both ends included.
    pub from: Vec<(IpAddr, IpAddr)>,
    /// Whether that is everybody of the family.
    pub is_general: bool,
    /// What they ask for; of what is led on, what they ask for there.
    pub to: Vec<Service>,
    /// Of what goes which way.
    pub way: Way,
    /// Whether nothing that cannot be told may let them pass before.
    pub is_certain: bool,
    /// Table, chain and rule.
    pub text: String,
}

/// Which way packets go that a grant lets in.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum Way {
    /// To this host, or to where its owner's rules lead them.
    Direct,
    /// To another port of this host, where our rules lead them.
    Here,
    /// To another place, where our rules lead them, or past this host.
    On,
}

/// Whether it is IPv6, and the first and last address.
type Span = (bool, u128, u128);

// === impl Obstacles ===

impl Obstacles {
    /// Makes them ready to be asked. `own` are the host's addresses.
    #[must_use]
    pub fn new(all: Vec<Obstacle>, own: Vec<IpAddr>) -> Self {
        let certain = |general: bool| {
            let all = all.iter().enumerate();
            all.filter(move |(_, one)| one.is_certain && one.is_general == general)
        };
        let general = certain(true).map(|(at, _)| at).collect();
        let spans = certain(false).flat_map(|(at, one)| {
            let spans = one.from.iter();
            spans.map(move |(first, last)| (span(*first, *last), at))
        });
        let mut narrow: Vec<_> = spans.collect();
        narrow.sort_unstable();
        let mut furthest: Vec<(bool, u128)> = Vec::with_capacity(narrow.len());
        for ((is_v6, _, last), _) in &narrow {
            let before = furthest.last().copied().unwrap_or_default();
            furthest.push(before.max((*is_v6, *last)));
        }
        Self {
            all,
            general,
            narrow,
            furthest,
            own,
        }
    }

    /// Everything that was found, also what is not certain.
    #[must_use]
    pub fn all(&self) -> &[Obstacle] {
        &self.all
    }

    /// What would drop some of the packets that this rule lets in, for certain. `None` where nothing
    /// that can be seen does.
    #[must_use]
    pub fn of(&self, rule: &Rule) -> Option<&str> {
        if self.all.is_empty() {
            return None;
        }
        let (services, way) = self.seen(rule);
        let from = rule.from();
        let span = span(from.network(), from.broadcast());
        let concerns = |obstacle: &&Obstacle| {
            let is_of_family = obstacle
                .from
                .first()
                .is_some_and(|(first, _)| first.is_ipv6() == span.0);
            is_of_family
                && obstacle.way == way
                && services.is_none_or(|asked| obstacle.to.iter().any(|to| to.overlaps(asked)))
        };
        let general = self.general.iter().filter_map(|at| self.all.get(*at));
        let narrow = self.narrow_of(span);
        let mut found = narrow.chain(general).filter(concerns);
        found.next().map(|obstacle| obstacle.text.as_str())
    }

    /// What the owner's rules see asked for, and which way it goes.
    fn seen(&self, rule: &Rule) -> (Option<Service>, Way) {
        let Forward { asked, to, .. } = match rule {
            Rule::Accept { from: _, to } => return (Some(*to), Way::Direct),
            Rule::Forward(forward) => forward,
        };
        let there = |port: Option<NonZeroU16>| match (asked, port) {
            (Some(Service::Ports(range)), Some(port)) => {
                PortRange::new(range.protocol(), port, port).map(Service::Ports)
            }
            (asked, _) => *asked,
        };
        let is_own = |address: &IpAddr| self.own.contains(address);
        match to {
            Destination::Translated { address, port } if is_own(address) => {
                (there(*port), Way::Here)
            }
            Destination::Translated { port, .. } => (there(*port), Way::On),
            Destination::Untranslated { address } if is_own(address) => (*asked, Way::Direct),
            Destination::Untranslated { .. } | Destination::Anywhere => (*asked, Way::On),
            Destination::Here { port } => (there(Some(*port)), Way::Here),
        }
    }

    /// The obstacles for some of the addresses of a span.
    fn narrow_of(&self, (is_v6, first, last): Span) -> impl Iterator<Item = &Obstacle> {
        let end = self
            .narrow
            .partition_point(|((v6, start, _), _)| (*v6, *start) <= (is_v6, last));
        let begun = self.narrow.iter().zip(&self.furthest).take(end).rev();
        begun
            .take_while(move |(_, furthest)| **furthest >= (is_v6, first))
            .filter(move |(((v6, _, end), _), _)| *v6 == is_v6 && *end >= first)
            .filter_map(|((_, at), _)| self.all.get(*at))
    }
}

impl From<Obstacles> for (Vec<Obstacle>, Vec<IpAddr>) {
    fn from(obstacles: Obstacles) -> Self {
        (obstacles.all, obstacles.own)
    }
}

impl From<(Vec<Obstacle>, Vec<IpAddr>)> for Obstacles {
    fn from((all, own): (Vec<Obstacle>, Vec<IpAddr>)) -> Self {
        Self::new(all, own)
    }
}

fn span(first: IpAddr, last: IpAddr) -> Span {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            (false, first.to_bits().into(), last.to_bits().into())
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => (true, first.to_bits(), last.to_bits()),
        // No range: nobody is in it.
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => (false, 1, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn obstacle(from: &str, to: &str, text: &str) -> Obstacle {
        let is_general = from == "0.0.0.0-255.255.255.255";
        let (first, last) = from.split_once('-').unwrap();
        Obstacle {
            from: vec![(first.parse().unwrap(), last.parse().unwrap())],
            is_general,
            to: vec![to.parse().unwrap()],
            way: Way::Direct,
            is_certain: true,
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_rule_meets_the_obstacle_that_stands_in_its_sources_way() {
        let all = vec![
            obstacle("0.0.0.0-255.255.255.255", "tcp/22", "policy"),
            obstacle("192.0.2.0-192.0.2.127", "tcp/1-65535", "half"),
            obstacle("192.0.2.9-192.0.2.9", "udp/53", "one"),
            obstacle("2001:db8::-2001:db8::ff", "tcp/22", "six"),
        ];
        let obstacles = Obstacles::new(all, Vec::new());
        let of = |rule: &str| obstacles.of(&rule.parse().unwrap());

        assert_eq!(of("192.0.2.200 tcp/22"), Some("policy"));
        assert_eq!(of("192.0.2.200 tcp/80"), None);
        assert_eq!(of("192.0.2.9 tcp/80"), Some("half"));
        assert_eq!(of("192.0.2.9 udp/53"), Some("one"));
        assert_eq!(of("192.0.2.8 udp/53"), None);
        assert_eq!(of("192.0.2.0/24 tcp/80"), Some("half"));
        assert_eq!(of("2001:db8::7 tcp/22"), Some("six"));
        assert_eq!(of("2001:db8::7:7 tcp/22"), None);
        assert_eq!(of("192.0.2.9 tcp/80 to 10.0.0.1 port 80"), None);
        assert_eq!(
            Obstacles::default().of(&"192.0.2.9 tcp/80".parse().unwrap()),
            None
        );
    }

    #[test]
    fn what_is_not_certain_is_not_claimed() {
        let uncertain = Obstacle {
            is_certain: false,
            ..obstacle("0.0.0.0-255.255.255.255", "tcp/22", "perhaps")
        };
        let obstacles = Obstacles::new(vec![uncertain], Vec::new());
        assert_eq!(obstacles.of(&"192.0.2.9 tcp/22".parse().unwrap()), None);
        assert_eq!(obstacles.all().len(), 1);
    }

    #[test]
    fn what_is_led_on_to_the_hosts_own_address_meets_what_stands_before_the_host() {
        let own = vec!["192.0.2.1".parse().unwrap()];
        let policy = |way, text| Obstacle {
            way,
            ..obstacle("0.0.0.0-255.255.255.255", "tcp/22", text)
        };
        let all = vec![policy(Way::Direct, "direct"), policy(Way::Here, "policy")];
        let obstacles = Obstacles::new(all, own);
        let of = |rule: &str| obstacles.of(&rule.parse().unwrap());

        assert_eq!(of("192.0.2.9 tcp/80 to 192.0.2.1 port 22"), Some("policy"));
        assert_eq!(of("192.0.2.9 tcp/80 to here port 22"), Some("policy"));
        assert_eq!(of("192.0.2.9 tcp/80 to 192.0.2.2 port 22"), None);
    }
}
