//! By which interface packets of a source come in: the one by which answers go back. From
//! `/proc/net/route` and `/proc/net/ipv6_route`; pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::family::Family;
use super::sources::Sources;

/// The longest name of an interface, with the zero that ends it (linux/if.h).
pub(super) const NAME_LEN: usize = 16;
/// Flags of a route (linux/route.h).
const IS_UP: u32 = 1;
const REJECTS: u32 = 0x200;

/// Which sources are behind which interface.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Routes {
    pub(super) interfaces: Vec<Interface>,
}

/// An interface, and who is behind it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Interface {
    pub(super) name: String,
    /// The kernel's number of it; 0 if that is not known.
    pub(super) index: u32,
    pub(super) v4: Sources,
    pub(super) v6: Sources,
}

/// A line of the table.
#[derive(Debug)]
struct Route {
    name: String,
    network: Sources,
    prefix_len: u8,
    metric: u32,
}

// === impl Routes ===

impl Routes {
    /// Reads both tables. What two interfaces lead to at the same price is behind neither.
    pub(super) fn read(v4: &str, v6: &str, index_of: &dyn Fn(&str) -> u32) -> Self {
        let mut interfaces: BTreeMap<String, Interface> = BTreeMap::new();
        let tables = [
            (Family::V4, v4.lines().filter_map(route_v4).collect()),
            (Family::V6, v6.lines().filter_map(route_v6).collect()),
        ];
        for (family, routes) in tables {
            for (name, sources) in behind(routes) {
                let interface = interfaces.entry(name).or_insert_with_key(|name| Interface {
                    name: name.clone(),
                    index: index_of(name),
                    v4: Sources::none(),
                    v6: Sources::none(),
                });
                interface.of_mut(family).add(&sources);
            }
        }
        Self {
            interfaces: interfaces.into_values().collect(),
        }
    }

    /// The interface by which packets to `address` leave.
    pub(super) fn to(&self, address: IpAddr) -> Option<&Interface> {
        let family = Family::of(address);
        let one = Sources::network(address, 128);
        let mut all = self.interfaces.iter();
        all.find(|interface| !interface.of(family).and(&one).is_none())
    }
}

// === impl Interface ===

impl Interface {
    pub(super) const fn of(&self, family: Family) -> &Sources {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    const fn of_mut(&mut self, family: Family) -> &mut Sources {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

/// Longest prefix first, then the cheapest.
fn behind(mut routes: Vec<Route>) -> BTreeMap<String, Sources> {
    routes.sort_by_key(|route| (u8::MAX - route.prefix_len, route.metric));
    let mut behind: BTreeMap<String, Sources> = BTreeMap::new();
    let mut rest = Sources::All;
    let mut at = 0;
    while let Some(first) = routes.get(at) {
        let same = |route: &&Route| route.network == first.network && route.metric == first.metric;
        let group: Vec<&Route> = routes.iter().skip(at).take_while(same).collect();
        let sources = rest.and(&first.network);
        if group.iter().all(|route| route.name == first.name) && first.name != "lo" {
            let own = behind.entry(first.name.clone());
            own.or_insert_with(Sources::none).add(&sources);
        }
        rest.remove(&sources);
        at += group.len();
    }
    behind
}

/// Name, destination, gateway, flags, two counters, metric, mask; numbers as the host has them.
fn route_v4(line: &str) -> Option<Route> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let &[name, destination, _, flags, _, _, metric, mask, ..] = words.as_slice() else {
        return None;
    };
    let number = |text| u32::from_str_radix(text, 16).ok();
    let flags = number(flags)?;
    if flags & IS_UP == 0 || flags & REJECTS != 0 {
        return None;
    }
    let address = IpAddr::from(number(destination)?.to_ne_bytes());
    let prefix_len = u8::try_from(number(mask)?.count_ones()).ok()?;
    Some(Route {
        name: name.to_owned(),
        network: Sources::network(address, prefix_len),
        prefix_len,
        metric: metric.parse().ok()?,
    })
}

/// Destination, its prefix, source, its prefix, gateway, metric, two counters, flags, name.
fn route_v6(line: &str) -> Option<Route> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let &[destination, prefix, _, source, _, metric, _, _, flags, name] = words.as_slice() else {
        return None;
    };
    let number = |text| u32::from_str_radix(text, 16).ok();
    let flags = number(flags)?;
    if flags & IS_UP == 0 || flags & REJECTS != 0 || number(source)? != 0 {
        return None;
    }
    let address = u128::from_str_radix(destination, 16).ok()?;
    let prefix_len = u8::try_from(number(prefix)?).ok()?;
    Some(Route {
        name: name.to_owned(),
        network: Sources::network(IpAddr::from(address.to_be_bytes()), prefix_len),
        prefix_len,
        metric: number(metric)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
lan0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0
";
    const V6: &str = "\
20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";

    #[test]
    fn a_source_is_behind_the_interface_to_which_the_longest_route_leads() {
        let routes = Routes::read(V4, V6, &|name| u32::from(name == "lan0") + 2);
        let behind = |address: &str| {
            let interface = routes.to(address.parse().unwrap());
            interface.map(|interface| (interface.name.as_str(), interface.index))
        };

        assert_eq!(behind("192.0.2.7"), Some(("eth0", 2)));
        assert_eq!(behind("203.0.113.7"), Some(("eth0", 2)));
        assert_eq!(behind("10.1.2.3"), Some(("lan0", 3)));
        assert_eq!(behind("2001:db8::7"), Some(("eth0", 2)));
        assert_eq!(behind("2001:db9::7"), None);
    }
}
