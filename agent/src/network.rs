//! This host's own place in the network: its addresses and interfaces, followed while they change.
//!
//! Belongs to the gate thread, which asks before it judges. The kernel queues its notice of a new
//! address before the address can be reached, so a packet to it finds it known.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use gate::{Addressees, HostAddresses};
use policy::Networks;

use crate::netlink::{Heard, Listener, NLM_F_DUMP, Netlink, NetlinkError, Notice, Requests};

/// Types of messages (linux/rtnetlink.h).
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u8 = 22;
/// Groups of notices (linux/rtnetlink.h).
const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV6_IFADDR: u32 = 9;
/// Attributes (linux/if_addr.h, linux/if_link.h).
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFLA_IFNAME: u16 = 3;
/// `struct ifaddrmsg` and `struct ifinfomsg`.
const ADDRESS_HEADER_LEN: usize = 8;
const LINK_HEADER_LEN: usize = 16;

/// The addresses and interfaces of this host.
#[derive(Debug)]
pub struct Network {
    listener: Listener,
    addresses: BTreeSet<Assigned>,
    /// What the configuration accepts beside them.
    accepted: Networks,
    /// Whether something was missed, so that everything must be looked at.
    missed: bool,
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
    pub addressees: Option<Addressees>,
    /// Names of interfaces that have come, or changed in some way.
    pub links: Vec<String>,
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
            accepted,
            missed: false,
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

    /// Says what has changed since it was last asked. Costs one system call when nothing has.
    ///
    /// # Errors
    ///
    /// When the kernel does not say; what was known stays, and everything is looked at next time.
    pub fn changes(&mut self) -> io::Result<Changes> {
        let mut links = Vec::new();
        let mut changed = false;
        let addresses = &mut self.addresses;
        let heard = self.listener.drain(&mut |notice| match notice.kind {
            RTM_NEWADDR => changed |= assigned(notice).is_some_and(|own| addresses.insert(own)),
            RTM_DELADDR => changed |= assigned(notice).is_some_and(|own| addresses.remove(&own)),
            RTM_NEWLINK => links.extend(link_name(notice)),
            _ => {}
        });
        self.missed |= !matches!(heard, Ok(Heard::All));
        let _ = heard?;
        if self.missed {
            let now = list_addresses().map_err(io::Error::other)?;
            self.missed = false;
            changed |= now != self.addresses;
            self.addresses = now;
            links = interface_names();
        }
        Ok(Changes {
            addressees: changed.then(|| self.addressees()),
            links,
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

/// The interface's name in a message about one; pure.
fn link_name(notice: Notice<'_>) -> Option<String> {
    let name = notice.attributes(LINK_HEADER_LEN).find(IFLA_IFNAME)?;
    let name = name.split(|byte| *byte == 0).next()?;
    String::from_utf8(name.to_vec()).ok()
}

fn interface_names() -> Vec<String> {
    let all = nix::net::if_::if_nameindex();
    let names = |all: nix::net::if_::Interfaces| {
        let names = all.iter().map(|link| link.name().to_string_lossy());
        names.map(Into::into).collect()
    };
    all.map(names).unwrap_or_default()
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
