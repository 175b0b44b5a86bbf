//! The network interfaces of this host, as rtnetlink tells of them; pure.

use std::collections::BTreeMap;

use crate::netlink::{Attributes, Notice};

/// Attributes (linux/if_link.h).
const IFLA_IFNAME: u16 = 3;
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;
/// `struct ifinfomsg`, and the flag of an interface that is up (linux/if.h).
const HEADER_LEN: usize = 16;
const IFF_UP: u32 = 1;
/// A message about an interface itself, and not about its place in a bridge (linux/socket.h).
const AF_UNSPEC: u8 = 0;

/// Every interface by its index.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Links(BTreeMap<u32, Link>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct Link {
    /// Its name, then those it also has.
    names: Vec<String>,
    is_up: bool,
}

/// Where a name leads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// To no interface.
    Nowhere,
    /// To one that is switched off.
    Down(u32),
    /// To one that is up; its index.
    Up(u32),
}

// === impl Links ===

impl Links {
    /// Where this name leads now. An alias, as `eth0:1`, leads where `eth0` does.
    #[must_use]
    pub fn place(&self, name: &str) -> Place {
        let name = name.split(':').next().unwrap_or(name);
        let mut links = self.0.iter();
        match links.find(|(_, link)| link.names.iter().any(|own| own == name)) {
            None => Place::Nowhere,
            Some((index, link)) if link.is_up => Place::Up(*index),
            Some((index, _)) => Place::Down(*index),
        }
    }

    /// The name of the interface with this index, if there is one.
    #[must_use]
    pub fn name(&self, index: u32) -> Option<&str> {
        let link = self.0.get(&index)?;
        link.names.first().map(String::as_str)
    }

    /// Takes in that an interface came or changed. Reports whether that is news.
    pub(super) fn came(&mut self, notice: Notice<'_>) -> bool {
        let Some((index, link)) = read(notice) else {
            return false;
        };
        self.0.get(&index) != Some(&link) && {
            self.0.insert(index, link);
            true
        }
    }

    /// Takes in that an interface went. Reports whether that is news.
    pub(super) fn went(&mut self, notice: Notice<'_>) -> bool {
        index(notice).is_some_and(|index| self.0.remove(&index).is_some())
    }
}

/// Index and state of the interface that a message is about.
fn read(notice: Notice<'_>) -> Option<(u32, Link)> {
    let index = index(notice)?;
    let flags = u32::from_ne_bytes(*notice.body.get(8..)?.first_chunk()?);
    let attributes = notice.attributes(HEADER_LEN);
    let mut names = vec![text(attributes.find(IFLA_IFNAME)?)?];
    if let Some(list) = attributes.find(IFLA_PROP_LIST) {
        let others = Attributes::inside(list).filter(|(kind, _)| *kind == IFLA_ALT_IFNAME);
        names.extend(others.filter_map(|(_, name)| text(name)));
    }
    let is_up = flags & IFF_UP != 0;
    Some((index, Link { names, is_up }))
}

/// A bridge tells in the same messages that a port left it.
fn index(notice: Notice<'_>) -> Option<u32> {
    if notice.body.first() != Some(&AF_UNSPEC) {
        return None;
    }
    let bytes = notice.body.get(4..HEADER_LEN)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

fn text(name: &[u8]) -> Option<String> {
    let name = name.split(|byte| *byte == 0).next()?;
    String::from_utf8(name.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message about an interface.
    fn message(family: u8, index: u32, flags: u32, names: &[&str]) -> Vec<u8> {
        let mut body = vec![family, 0, 1, 0];
        body.extend(index.to_ne_bytes());
        body.extend(flags.to_ne_bytes());
        body.extend([0; 4]);
        let attribute = |kind: u16, value: &[u8]| {
            let length = u16::try_from(4 + value.len()).unwrap();
            let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let named = |kind, name: &str| attribute(kind, format!("{name}\0").as_bytes());
        body.extend(named(IFLA_IFNAME, names[0]));
        let others = names[1..].iter().map(|name| named(IFLA_ALT_IFNAME, name));
        let others: Vec<u8> = others.flatten().collect();
        // Nested, as the kernel says it.
        body.extend(attribute(IFLA_PROP_LIST | 1 << 15, &others));
        body
    }

    fn notice(body: &[u8]) -> Notice<'_> {
        Notice {
            kind: 16,
            port: 0,
            body,
        }
    }

    #[test]
    fn a_name_leads_to_the_interface_that_has_it_now_under_whichever_of_its_names() {
        let mut links = Links::default();
        assert_eq!(links.place("eth0"), Place::Nowhere);

        assert!(links.came(notice(&message(0, 7, 0, &["eth0", "enp3s0", "uplink"]))));
        assert_eq!(links.place("eth0"), Place::Down(7));
        assert!(links.came(notice(&message(
            0,
            7,
            0x1003,
            &["eth0", "enp3s0", "uplink"]
        ))));
        for name in ["eth0", "enp3s0", "uplink", "eth0:1"] {
            assert_eq!(links.place(name), Place::Up(7));
        }
        assert!(!links.came(notice(&message(
            0,
            7,
            0x1043,
            &["eth0", "enp3s0", "uplink"]
        ))));
        assert!(links.came(notice(&message(0, 7, 1, &["lan0"]))));
        assert!(links.came(notice(&message(0, 9, 1, &["eth0"]))));
        assert_eq!(
            (links.place("eth0"), links.name(7)),
            (Place::Up(9), Some("lan0"))
        );
        assert!(links.went(notice(&message(0, 9, 0, &["eth0"]))));
        assert!(!links.went(notice(&message(0, 9, 0, &["eth0"]))));
        assert_eq!(links.place("eth0"), Place::Nowhere);
    }

    #[test]
    fn a_port_that_leaves_its_bridge_is_still_there_and_bytes_cut_off_change_nothing() {
        let mut links = Links::default();
        assert!(links.came(notice(&message(0, 7, 1, &["eth0"]))));
        let of_bridge = message(7, 7, 1, &["eth0"]);

        assert!(!links.went(notice(&of_bridge)));
        assert!(!links.came(notice(&of_bridge)));
        let whole = message(0, 8, 1, &["eth1"]);
        for length in 0..24 {
            assert!(!links.came(notice(&whole[..length])), "{length}");
        }
        assert_eq!(links.place("eth0"), Place::Up(7));
    }
}
