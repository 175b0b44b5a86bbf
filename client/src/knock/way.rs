//! What the kernel says about the way to a host. Nothing is sent.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

use super::address::Way;

/// The way to a host.
///
/// # Errors
///
/// When there is none.
pub(crate) fn to(host: SocketAddr) -> io::Result<Way> {
    let socket = UdpSocket::bind((any_of(host), 0))?;
    socket.connect(host)?;
    let own = socket.local_addr()?.ip();
    let host = host.ip();
    Ok(Way {
        own: own.to_canonical(),
        host: host.to_canonical(),
        is_on_link: is_on_link(own, host),
    })
}

/// No address of the family of a host's: any of this machine.
pub(crate) fn any_of(to: SocketAddr) -> IpAddr {
    if to.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    }
}

/// Whether the host lies in the network of the interface that has the address `own`.
fn is_on_link(own: IpAddr, host: IpAddr) -> bool {
    let Ok(mut interfaces) = getifaddrs() else {
        return false;
    };
    interfaces.any(|interface| {
        let address = interface.address.and_then(ip);
        let mask = interface.netmask.and_then(ip);
        address == Some(own) && mask.is_some_and(|mask| is_in(host, own, mask))
    })
}

fn is_in(host: IpAddr, own: IpAddr, mask: IpAddr) -> bool {
    match (host, own, mask) {
        (IpAddr::V4(host), IpAddr::V4(own), IpAddr::V4(mask)) => {
            let mask = u32::from(mask);
            // A network of one has no neighbours.
            mask != u32::MAX && u32::from(host) & mask == u32::from(own) & mask
        }
        (IpAddr::V6(host), IpAddr::V6(own), IpAddr::V6(mask)) => {
            let mask = u128::from(mask);
            mask != u128::MAX && u128::from(host) & mask == u128::from(own) & mask
        }
        _ => false,
    }
}

fn ip(address: SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_this_machine_has_its_own_address_and_no_router() {
        let way = to("127.0.0.1:62201".parse().unwrap()).unwrap();

        assert_eq!(way.own, way.host);
        assert!(way.is_on_link);
    }

    #[test]
    fn a_neighbour_is_in_the_network_of_the_mask_and_nobody_is_in_that_of_one() {
        let is_in = |host: &str, own: &str, mask: &str| {
            is_in(
                host.parse().unwrap(),
                own.parse().unwrap(),
                mask.parse().unwrap(),
            )
        };

        assert!(is_in("10.1.2.3", "10.1.9.9", "255.255.0.0"));
        assert!(!is_in("10.2.2.3", "10.1.9.9", "255.255.0.0"));
        assert!(!is_in("10.1.9.9", "10.1.9.9", "255.255.255.255"));
        assert!(is_in("fd00::1", "fd00::2", "ffff:ffff:ffff:ffff::"));
        assert!(!is_in("fd00::1", "10.1.9.9", "255.255.0.0"));
    }
}
