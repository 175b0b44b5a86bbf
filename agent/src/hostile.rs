//! The readers of bytes that others make, by one name each, for the tests that give them bytes that
//! nobody would (`tests/fuzz`). Nothing of the agent calls this.

use crate::capture;
use crate::connections;
use crate::domains;
use crate::firewall;
use crate::fwknopd::digests;
use crate::journal;
use crate::netlink::{Attributes, Datagram};
use crate::protection;

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

/// Gives a text to everything here that reads what iptables and the kernel print.
pub fn read_firewall_text(text: &str) {
    firewall::read_hostile_text(text);
}

/// Which file of a state directory, or of fwknopd's, is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeptFile {
    /// What fwknopd has seen, or a run of ours of it.
    DigestCache,
    /// The list of protected ports.
    ProtectedPorts,
    /// How far a capture file was read.
    Bookmark,
    /// Where the journal ended.
    Witness,
    /// What the host remembers of its fleet.
    FleetMemory,
}

// === impl KeptFile ===

impl KeptFile {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::DigestCache,
        Self::ProtectedPorts,
        Self::Bookmark,
        Self::Witness,
        Self::FleetMemory,
    ];

    /// Reads bytes as this file. Returns how many entries were read, where it has entries.
    pub fn read(self, bytes: &[u8]) -> usize {
        match self {
            Self::DigestCache => digests::read(bytes).map_or(0, |read| read.seen.len() + read.bad),
            Self::ProtectedPorts => protection::parse(bytes).ports.len(),
            Self::Bookmark => {
                capture::read_hostile_bookmark(bytes);
                0
            }
            Self::Witness => {
                journal::read_hostile(bytes);
                0
            }
            Self::FleetMemory => {
                #[cfg(feature = "link")]
                crate::link::read_hostile(bytes);
                0
            }
        }
    }
}

/// Gives bytes that a process of the agent says to another one about the packet filter to everything
/// that reads them. Returns how many kinds of message they may be.
pub fn read_domain_message(part: &[u8]) -> usize {
    domains::firewall::read_hostile(part)
}

/// Gives one message to the gate's reader of what the capture domain says. Returns how many things it says.
pub fn read_capture_domain(message: &[u8]) -> usize {
    domains::capture::read_hostile(message)
}

fn nested(attributes: Attributes<'_>, depth: u32) -> usize {
    let Some(deeper) = depth.checked_sub(1) else {
        return 0;
    };
    attributes
        .map(|(_, value)| 1 + nested(Attributes::inside(value), deeper))
        .sum()
}
