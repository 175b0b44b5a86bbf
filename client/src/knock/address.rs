//! Which address to open for, when nobody says: the one that the host will see this machine under.
//!
//! The kernel knows its own address for the way to the host. Where a NAT may stand between, the host
//! sees another one, and then the controller is asked what it sees. What is decided here is a
//! function of addresses; `way` and `seen` find them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the kernel says about the way to a host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Way {
    /// The source address that it would choose.
    pub(crate) own: IpAddr,
    pub(crate) host: IpAddr,
    /// The host is on a network of this machine's own: no router stands between.
    pub(crate) is_on_link: bool,
}

/// An address to open for, and how it was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Named {
    pub(crate) address: IpAddr,
    pub(crate) by: By,
}

/// How an address was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum By {
    /// It was said, on the command line or in the rc file.
    Word,
    /// The kernel's choice, and no NAT can stand between.
    Kernel,
    /// The kernel's choice: the host lies in the same private range, and nobody could say more.
    Guess,
    /// The controller sees it.
    Controller,
}

/// The kernel's choice, where no NAT can stand between: the host is this machine or on its network,
/// or the address is one that needs no NAT.
pub(crate) fn without_asking(way: Way) -> Option<Named> {
    let is_certain = way.own == way.host || way.is_on_link || !is_private(way.own);
    is_certain.then_some(Named {
        address: way.own,
        by: By::Kernel,
    })
}

/// The address by what the controller sees, or did not say. `None` when it cannot be known.
pub(crate) fn after_asking(way: Way, seen: Option<IpAddr>) -> Option<Named> {
    // What the controller sees over the other family says nothing about this way.
    let seen = seen.filter(|seen| seen.is_ipv4() == way.own.is_ipv4());
    let by_controller = |address| Named {
        address,
        by: By::Controller,
    };
    let guess = is_same_range(way.own, way.host).then_some(Named {
        address: way.own,
        by: By::Guess,
    });
    match seen {
        // No NAT on the way to the controller, or one that hides this machine from the inside too.
        Some(seen) if is_private(way.host) && is_private(seen) => Some(by_controller(seen)),
        Some(seen) if !is_private(way.host) && !is_private(seen) => Some(by_controller(seen)),
        // The controller is elsewhere: outside of a network that the host is inside of, or inside.
        Some(_) | None => guess,
    }
}

/// Whether an address is none that the whole world can send to.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let is_shared = network(v4, 10) == Ipv4Addr::new(100, 64, 0, 0);
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || is_shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Whether two addresses lie in one of the ranges that private networks use.
fn is_same_range(one: IpAddr, other: IpAddr) -> bool {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            [(10, 8), (172, 12), (192, 16)]
                .iter()
                .any(|&(first, bits)| {
                    let is_in =
                        |v4: Ipv4Addr| v4.is_private() && v4.octets().first() == Some(&first);
                    is_in(one) && is_in(other) && network(one, bits) == network(other, bits)
                })
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            let site = |v6: Ipv6Addr| u128::from(v6) >> 80;
            one.is_unique_local() && site(one) == site(other)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

fn network(address: Ipv4Addr, bits: u32) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or_default();
    Ipv4Addr::from(u32::from(address) & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(own: &str, host: &str, is_on_link: bool) -> Way {
        Way {
            own: own.parse().unwrap(),
            host: host.parse().unwrap(),
            is_on_link,
        }
    }

    fn asked(own: &str, host: &str, seen: Option<&str>) -> Option<(String, By)> {
        let way = way(own, host, false);
        assert_eq!(without_asking(way), None, "{own} to {host}");
        let seen = seen.map(|seen| seen.parse().unwrap());
        after_asking(way, seen).map(|named| (named.address.to_string(), named.by))
    }

    #[test]
    fn the_kernels_address_is_named_where_no_nat_can_stand_between() {
        for (own, host, is_on_link) in [
            ("127.0.0.1", "127.0.0.1", false),
            ("192.168.1.5", "192.168.1.5", false),
            ("192.168.1.5", "192.168.1.1", true),
            ("198.51.100.7", "203.0.113.9", false),
            ("2001:db8::5", "2001:db8:1::9", false),
            ("fe80::5", "fe80::9", true),
        ] {
            let named = without_asking(way(own, host, is_on_link)).unwrap();
            assert_eq!(
                (named.address.to_string().as_str(), named.by),
                (own, By::Kernel)
            );
        }
    }

    #[test]
    fn behind_a_nat_what_the_controller_sees_is_named() {
        for own in ["192.168.1.5", "10.0.0.5", "172.17.0.2", "100.64.3.4"] {
            let named = asked(own, "203.0.113.9", Some("198.51.100.7"));
            assert_eq!(named, Some(("198.51.100.7".to_owned(), By::Controller)));
        }
        // A NAT inside of a site: the controller and the host see its inner side.
        let named = asked("10.1.0.5", "10.2.0.7", Some("10.2.0.1"));
        assert_eq!(named, Some(("10.2.0.1".to_owned(), By::Controller)));
        // None: the controller sees the address itself.
        let named = asked("10.1.0.5", "10.2.0.7", Some("10.1.0.5"));
        assert_eq!(named, Some(("10.1.0.5".to_owned(), By::Controller)));
    }

    #[test]
    fn a_controller_elsewhere_says_nothing_about_a_host_of_the_same_site() {
        let named = asked("10.1.0.5", "10.2.0.7", Some("198.51.100.7"));

        assert_eq!(named, Some(("10.1.0.5".to_owned(), By::Guess)));
        assert_eq!(asked("192.168.1.5", "10.2.0.7", Some("198.51.100.7")), None);
    }

    #[test]
    fn without_the_controller_only_a_host_of_the_same_range_is_guessed_at() {
        let named = asked("10.1.0.5", "10.2.0.7", None);

        assert_eq!(named, Some(("10.1.0.5".to_owned(), By::Guess)));
        assert_eq!(asked("192.168.1.5", "203.0.113.9", None), None);
        assert_eq!(asked("192.168.1.5", "10.2.0.7", None), None);
        assert_eq!(asked("100.64.0.1", "100.64.0.2", None), None);
    }

    #[test]
    fn a_private_address_is_never_named_to_a_public_host() {
        assert_eq!(
            asked("192.168.1.5", "203.0.113.9", Some("192.168.1.5")),
            None
        );
        assert_eq!(asked("192.168.1.5", "203.0.113.9", Some("10.0.0.1")), None);
    }

    #[test]
    fn the_other_family_is_never_named() {
        assert_eq!(
            asked("192.168.1.5", "203.0.113.9", Some("2001:db8::7")),
            None
        );
        let named = asked("fd00::5", "2001:db8::9", Some("2001:db8:2::7"));
        assert_eq!(named, Some(("2001:db8:2::7".to_owned(), By::Controller)));
    }
}
