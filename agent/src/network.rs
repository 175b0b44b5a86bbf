//! This host's own place in the network: its addresses and interfaces, followed while they change.
//!
//! Belongs to the gate thread, which asks before it judges. The kernel queues its notice of a new
//! address before the address can be reached, so a packet to it finds it known.

mod links;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use gate::{Addressees, HostAddresses};
use ipnet::IpNet;
use policy::{Networks, OwnAddresses};

pub use links::{Links, Place};

use crate::netlink::{Heard, Listener, NLM_F_DUMP, Netlink, NetlinkError, Notice, Requests};

/// Types of messages (linux/rtnetlink.h).
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u8 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u8 = 22;
/// Groups of notices (linux/rtnetlink.h).
const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV6_IFADDR: u32 = 9;
/// Attributes (linux/if_addr.h).
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// `struct ifaddrmsg`.
const ADDRESS_HEADER_LEN: usize = 8;

/// The addresses and interfaces of this host.
#[derive(Debug)]
pub struct Network {
    listener: Listener,
    addresses: BTreeSet<Assigned>,
    links: Links,
    /// What the configuration accepts beside them.
    accepted: Networks,
    /// Whether something was missed, so that everything must be looked at.
    missed: bool,
    /// Whether anybody was told of the interfaces.
    links_are_told: bool,
}

/// One address on one interface. The same one may be on several.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Assigned {
    address: IpAddr,
    interface: u32,
    prefix_len: u8,
}

/// What has changed.
#[derive(Debug, Default)]
pub struct Changes {
    /// The addresses, if they are others now.
    pub addressees: Option<(Addressees, OwnAddresses)>,
    /// Whether interfaces have come, gone or changed. The first time, they have.
    pub links: bool,
}

// === impl Network ===

impl Network {
    /// Looks at the network namespace of the calling thread, and follows it from now on.
    ///
    /// # Errors
    ///
    /// When the kernel does not say.
    pub fn follow(accepted: Networks) -> io::Result<Self> {
        let groups = [RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR];
        // Listening first: what changes after the look is heard.
        let listener = Listener::route(&groups)?;
        Ok(Self {
            listener,
            addresses: list_addresses().map_err(io::Error::other)?,
            links: list_links().map_err(io::Error::other)?,
            accepted,
            missed: false,
            links_are_told: false,
        })
    }

    /// At which destinations packets are judged.
    pub fn addressees(&self) -> Addressees {
        match &self.accepted {
            Networks::Any => Addressees::Everyone,
            Networks::Only(_) => Addressees::Host(Arc::new(HostAddresses {
                own: self.addresses.iter().map(|own| own.address).collect(),
                accepted: self.accepted.clone(),
            })),
        }
    }

    /// The addresses at which the host itself takes packets.
    pub fn own(&self) -> OwnAddresses {
        let net = |own: &Assigned| IpNet::new(own.address, own.prefix_len);
        let nets = self.addresses.iter();
        nets.map(|own| net(own).unwrap_or_else(|_| own.address.into()))
            .collect()
    }

    /// The interfaces, as far as [`Self::changes`] has heard.
    pub const fn links(&self) -> &Links {
        &self.links
    }

    /// Says what has changed since it was last asked. Costs one system call when nothing has.
    ///
    /// # Errors
    ///
    /// When the kernel does not say; what was known stays, and everything is looked at next time.
    pub fn changes(&mut self) -> io::Result<Changes> {
        let (mut changed, mut relinked) = (false, false);
        let (addresses, links) = (&mut self.addresses, &mut self.links);
        let heard = self.listener.drain(&mut |notice| match notice.kind {
            RTM_NEWADDR => changed |= assigned(notice).is_some_and(|own| addresses.insert(own)),
            RTM_DELADDR => changed |= assigned(notice).is_some_and(|own| addresses.remove(&own)),
            RTM_NEWLINK => relinked |= links.came(notice),
            RTM_DELLINK => relinked |= links.went(notice),
            _ => {}
        });
        self.missed |= !matches!(heard, Ok(Heard::All));
        let _ = heard?;
        if self.missed {
            let now = list_addresses().map_err(io::Error::other)?;
            let links = list_links().map_err(io::Error::other)?;
            self.missed = false;
            changed |= now != self.addresses;
            relinked |= links != self.links;
            self.addresses = now;
            self.links = links;
        }
        let is_first = !std::mem::replace(&mut self.links_are_told, true);
        Ok(Changes {
            addressees: changed.then(|| (self.addressees(), self.own())),
            links: relinked || is_first,
        })
    }
}

impl AsFd for Network {
    /// Readable when something may have changed.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

fn list_addresses() -> Result<BTreeSet<Assigned>, NetlinkError> {
    let mut netlink = Netlink::open_route()?;
    let mut requests = Requests::default();
    // Family 0: both. The header of a list may be shorter than that of an address.
    requests.begin(0, RTM_GETADDR, NLM_F_DUMP, 0);
    requests.end();
    let mut addresses = BTreeSet::new();
    netlink.list(&mut requests, &mut |notice| {
        addresses.extend(assigned(notice));
        ControlFlow::Continue(())
    })?;
    Ok(addresses)
}

fn list_links() -> Result<Links, NetlinkError> {
    let mut netlink = Netlink::open_route()?;
    let mut requests = Requests::default();
    requests.begin(0, RTM_GETLINK, NLM_F_DUMP, 0);
    requests.end();
    let mut links = Links::default();
    netlink.list(&mut requests, &mut |notice| {
        links.came(notice);
        ControlFlow::Continue(())
    })?;
    Ok(links)
}

/// The address of a message about one; pure.
fn assigned(notice: Notice<'_>) -> Option<Assigned> {
    let prefix_len = *notice.body.get(1)?;
    let interface = notice.body.get(4..ADDRESS_HEADER_LEN)?;
    let attributes = notice.attributes(ADDRESS_HEADER_LEN);
    // On a point-to-point link IFA_ADDRESS is the other end's.
    let address = attributes
        .find(IFA_LOCAL)
        .or_else(|| attributes.find(IFA_ADDRESS))?;
    let address = if let Ok(v4) = <[u8; 4]>::try_from(address) {
        IpAddr::from(v4)
    } else {
        IpAddr::from(<[u8; 16]>::try_from(address).ok()?)
    };
    Some(Assigned {
        address: address.to_canonical(),
        interface: u32::from_ne_bytes(interface.try_into().ok()?),
        prefix_len,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_knows_its_loopback_addresses_from_the_start() {
        let network = Network::follow(Networks::Only(Box::default())).unwrap();

        let known: Vec<IpAddr> = network.addresses.iter().map(|own| own.address).collect();

        assert!(known.contains(&[127, 0, 0, 1].into()), "{known:?}");
    }

    #[test]
    fn a_host_knows_its_interfaces_from_the_start_and_says_so_once() {
        let mut network = Network::follow(Networks::Only(Box::default())).unwrap();

        assert!(matches!(
            network.links().place("lo"),
            Place::Up(_) | Place::Down(_)
        ));
        assert_eq!(network.links().place("no-such"), Place::Nowhere);
        assert!(network.changes().unwrap().links);
    }

    #[test]
    fn of_a_point_to_point_link_our_own_end_is_taken_and_bytes_cut_off_are_no_address() {
        let mut requests = Requests::default();
        requests.begin(0, RTM_GETADDR, 0, 2);
        requests.end();
        let mut body = vec![2, 32, 0, 0];
        body.extend_from_slice(&7_u32.to_ne_bytes());
        for (kind, address) in [(IFA_ADDRESS, [192, 0, 2, 9]), (IFA_LOCAL, [192, 0, 2, 1])] {
            body.extend_from_slice(&8_u16.to_ne_bytes());
            body.extend_from_slice(&kind.to_ne_bytes());
            body.extend_from_slice(&address);
        }
        let read = |body| {
            assigned(Notice {
                kind: RTM_NEWADDR,
                port: 0,
                body,
            })
        };

        let expected = Assigned {
            address: [192, 0, 2, 1].into(),
            interface: 7,
            prefix_len: 32,
        };
        assert_eq!(read(&body), Some(expected));
        for length in 0..16 {
            assert_eq!(read(&body[..length]), None);
        }
    }
}
