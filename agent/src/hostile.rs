//! The readers of the kernel's bytes by one name, for the tests that give them bytes that no kernel
//! would (`tests/fuzz`). Nothing of the agent calls this.

use crate::capture;
use crate::connections;
use crate::firewall;
use crate::netlink::{Attributes, Datagram};

/// Attributes nest so deep in what the kernel says to us, at the most.
const DEPTH: u32 = 3;

/// Gives one datagram to everything here that reads netlink, down to the innermost attribute.
/// Returns how many headers of messages and attributes were read, each nest counted at each depth.
pub fn read_netlink(datagram: &[u8]) -> usize {
    let mut headers = 0;
    let datagram = Datagram::of(datagram);
    for data in datagram.data() {
        headers += 1 + nested(data, DEPTH);
        connections::read_hostile(data);
        firewall::read_hostile(data);
    }
    for notice in datagram.notices() {
        capture::read_hostile(notice);
    }
    headers
}

fn nested(attributes: Attributes<'_>, depth: u32) -> usize {
    let Some(deeper) = depth.checked_sub(1) else {
        return 0;
    };
    attributes
        .map(|(_, value)| 1 + nested(Attributes::inside(value), deeper))
        .sum()
}
