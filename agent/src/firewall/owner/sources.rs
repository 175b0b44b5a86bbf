//! Sets of source addresses: ranges that do not overlap. Pure.
//!
//! Addresses of one family as numbers, so that a walk over the rules can say for which sources a
//! rule speaks without trying them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::family::Family;

/// Some addresses of one family.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Sources {
    All,
    /// Starts and ends of ranges, both included. Empty means none.
    Some(BTreeMap<u128, u128>),
}

/// Who is in a set of ipset.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Members {
    pub(super) v4: Sources,
    pub(super) v6: Sources,
    /// Whether not all of it was read or understood.
    pub(super) is_partial: bool,
}

// === impl Members ===

impl Default for Members {
    fn default() -> Self {
        Self {
            v4: Sources::none(),
            v6: Sources::none(),
            is_partial: false,
        }
    }
}

// === impl Sources ===

impl Sources {
    pub(super) const fn none() -> Self {
        Self::Some(BTreeMap::new())
    }

    /// From the first to the last; none if it ends before it begins.
    pub(super) fn range(first: u128, last: u128) -> Self {
        if first > last {
            return Self::none();
        }
        Self::Some(BTreeMap::from([(first, last)]))
    }

    /// The addresses whose upper `prefix_len` bits are those of `address`.
    pub(super) fn network(address: IpAddr, prefix_len: u8) -> Self {
        let (number, width) = number(address);
        let host_bits = width.saturating_sub(prefix_len.into());
        let hosts = 1_u128.checked_shl(host_bits).map_or(u128::MAX, |n| n - 1);
        Self::range(number & !hosts, number | hosts)
    }

    pub(super) fn is_none(&self) -> bool {
        match self {
            Self::All => false,
            Self::Some(ranges) => ranges.is_empty(),
        }
    }

    /// Whether every address of the family is in it.
    pub(super) fn is_all(&self, family: Family) -> bool {
        match self {
            Self::All => true,
            Self::Some(ranges) => ranges
                .first_key_value()
                .is_some_and(|(first, last)| *first == 0 && *last >= last_of(family)),
        }
    }

    /// Whether most addresses of the family are in it.
    pub(super) fn is_broad(&self, family: Family) -> bool {
        let last = last_of(family);
        let Self::Some(ranges) = self else {
            return true;
        };
        // Halves, so that all of IPv6 can be counted.
        let halves = ranges.iter().filter(|(first, _)| **first <= last);
        let halves = halves.map(|(first, end)| ((*end).min(last) - first) / 2);
        halves.fold(0, u128::saturating_add) > last / 4
    }

    /// The ranges, cut to what the family has.
    pub(super) fn ranges(&self, family: Family) -> Vec<(IpAddr, IpAddr)> {
        let last = last_of(family);
        let both = |(a, b): (u128, u128)| (address(a, family), address(b.min(last), family));
        match self {
            Self::All => vec![both((0, last))],
            Self::Some(ranges) => {
                let ranges = ranges.iter().filter(|(first, _)| **first <= last);
                ranges.map(|(first, end)| both((*first, *end))).collect()
            }
        }
    }

    /// How many ranges it is made of.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::All => 1,
            Self::Some(ranges) => ranges.len(),
        }
    }

    /// What is in both.
    pub(super) fn and(&self, other: &Self) -> Self {
        let (few, many) = match (self, other) {
            (Self::All, set) | (set, Self::All) => return set.clone(),
            (Self::Some(a), Self::Some(b)) if a.len() <= b.len() => (a, b),
            (Self::Some(a), Self::Some(b)) => (b, a),
        };
        let mut both = BTreeMap::new();
        for (first, last) in few {
            // Of those that begin before, only the nearest can reach here.
            let before = many.range(..*first).next_back();
            for (start, end) in before.into_iter().chain(many.range(*first..=*last)) {
                let (start, end) = (*start.max(first), *end.min(last));
                if start <= end {
                    both.insert(start, end);
                }
            }
        }
        Self::Some(both)
    }

    /// Takes `other` in.
    pub(super) fn add(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::All, _) => {}
            (_, Self::All) => *self = Self::All,
            (Self::Some(own), Self::Some(more)) => {
                for (first, last) in more {
                    add_range(own, *first, *last);
                }
            }
        }
    }

    /// Takes `other` out.
    pub(super) fn remove(&mut self, other: &Self) {
        if matches!(other, Self::All) {
            *self = Self::none();
            return;
        }
        let Self::Some(less) = other else { return };
        if less.is_empty() {
            return;
        }
        if matches!(self, Self::All) {
            *self = Self::range(0, u128::MAX);
        }
        let Self::Some(own) = self else { return };
        for (first, last) in less {
            remove_range(own, *first, *last);
        }
    }

    /// What is not in it.
    pub(super) fn complement(&self) -> Self {
        let mut rest = Self::All;
        rest.remove(self);
        rest
    }

    /// What is in it and not in `other`.
    pub(super) fn without(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        rest.remove(other);
        rest
    }
}

fn add_range(own: &mut BTreeMap<u128, u128>, mut first: u128, mut last: u128) {
    if let Some((start, end)) = own.range(..=first).next_back()
        && end.saturating_add(1) >= first
    {
        (first, last) = (*start, last.max(*end));
    }
    while let Some((start, end)) = own.range(first..=last.saturating_add(1)).next() {
        let start = *start;
        last = last.max(*end);
        own.remove(&start);
    }
    own.insert(first, last);
}

fn remove_range(own: &mut BTreeMap<u128, u128>, first: u128, last: u128) {
    let before = own.range(..first).next_back();
    if let Some((start, end)) = before.map(|(start, end)| (*start, *end))
        && end >= first
    {
        own.insert(start, first - 1);
        if end > last {
            own.insert(last + 1, end);
            return;
        }
    }
    while let Some((start, end)) = own.range(first..=last).next().map(|(s, e)| (*s, *e)) {
        own.remove(&start);
        if end > last {
            own.insert(last + 1, end);
        }
    }
}

/// The address that these bytes are, as they stand in a packet.
pub(super) fn of_bytes(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}

/// An address as a number, and how many bits it has.
pub(super) fn number(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (v4.to_bits().into(), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

fn address(number: u128, family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        Family::V6 => Ipv6Addr::from_bits(number).into(),
    }
}

const fn last_of(family: Family) -> u128 {
    match family {
        Family::V4 => u32::MAX as u128,
        Family::V6 => u128::MAX,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of the addresses 0 to 63, those in the set.
    fn bits(sources: &Sources) -> u64 {
        let holds = |n: u128| !sources.and(&Sources::range(n, n)).is_none();
        (0..64)
            .filter(|n| holds(*n))
            .fold(0, |bits, n| bits | 1 << n)
    }

    fn set() -> impl Strategy<Value = Sources> {
        prop::collection::vec((0_u128..64, 0_u128..20), 0..8).prop_map(|ranges| {
            let mut set = Sources::none();
            for (first, len) in ranges {
                set.add(&Sources::range(first, (first + len).min(63)));
            }
            set
        })
    }

    proptest! {
        #[test]
        fn sets_of_sources_are_sets(a in set(), b in set()) {
            let (x, y) = (bits(&a), bits(&b));
            let mut sum = a.clone();
            sum.add(&b);

            prop_assert_eq!(bits(&sum), x | y);
            prop_assert_eq!(bits(&a.and(&b)), x & y);
            prop_assert_eq!(bits(&a.without(&b)), x & !y);
            prop_assert_eq!(bits(&a.complement()), !x);
        }
    }

    #[test]
    fn a_network_is_the_range_of_its_addresses() {
        let network = Sources::network("192.0.2.77".parse().unwrap(), 24);
        let expected = ["192.0.2.0", "192.0.2.255"].map(|address| address.parse().unwrap());
        assert_eq!(network.ranges(Family::V4), [(expected[0], expected[1])]);
        assert!(Sources::network("::".parse().unwrap(), 0).is_all(Family::V6));
        assert!(Sources::network("0.0.0.0".parse().unwrap(), 0).is_all(Family::V4));
        assert!(!network.is_all(Family::V4) && !network.is_broad(Family::V4));
        assert!(network.complement().is_broad(Family::V4));
        assert!(Sources::All.is_broad(Family::V6));
    }
}
