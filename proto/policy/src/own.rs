//! Which addresses are the host's own.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

/// The addresses at which the host itself takes packets. Cheap to clone.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OwnAddresses(Option<Arc<BTreeSet<IpAddr>>>);

// === impl OwnAddresses ===

impl OwnAddresses {
    /// None is known.
    pub const NONE: Self = Self(None);

    /// Whether the host takes what is sent to this address.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let own = self.0.as_ref();
        own.is_some_and(|own| own.contains(&address.to_canonical()))
    }
}

impl FromIterator<IpNet> for OwnAddresses {
    /// Of each interface its address with the length of its network's prefix; loopback
    /// addresses are left out, since they never name another host. The first and the last
    /// address of a network are those of all its hosts, or of its routers.
    fn from_iter<T: IntoIterator<Item = IpNet>>(assigned: T) -> Self {
        let of_one = |net: IpNet| [net.addr().to_canonical(), net.network(), net.broadcast()];
        let own = assigned.into_iter().flat_map(of_one);
        let own = own.filter(|address| !address.is_loopback());
        Self(Some(Arc::new(own.collect())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_an_own_network_and_mapped_addresses_are_own_and_neighbours_are_not() {
        let assigned = ["172.17.0.1/16", "2001:db8:1::1/64", "192.0.2.1/32"];
        let own: OwnAddresses = assigned
            .iter()
            .map(|a| a.parse::<IpNet>().unwrap())
            .collect();
        let contains = |address: &str| own.contain(address.parse().unwrap());

        for address in [
            "172.17.0.1",
            "172.17.255.255",
            "172.17.0.0",
            "::ffff:172.17.0.1",
            "2001:db8:1::1",
            "2001:db8:1::",
            "192.0.2.1",
        ] {
            assert!(contains(address), "{address}");
        }
        for address in ["172.17.0.2", "2001:db8:1::2", "192.0.2.0"] {
            assert!(!contains(address), "{address}");
        }
        assert!(!OwnAddresses::NONE.contain("172.17.0.1".parse().unwrap()));
    }
}
