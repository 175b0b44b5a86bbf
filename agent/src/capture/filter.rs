//! Which packets are worth judging, in the language of pcap-filter(7).

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU16;

/// UDP length field of the shortest and longest packet the gate would read: 140 to 1,500 characters
/// and perhaps 8 of a tag, behind a header of 8 bytes.
pub(super) const UDP_LEN: (u32, u32) = (148, 1516);

/// What the kernel leaves of the traffic.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Filter {
    /// What can be an SPA packet over UDP, to the host's SPA port or to one that the policy names.
    Ports {
        /// The host's own.
        host: u16,
        /// Those of the policy.
        policy: BTreeSet<NonZeroU16>,
    },
    /// The operator's own, in the language of pcap-filter(7).
    Own(String),
}

// === impl Filter ===

impl Filter {
    /// Leaves packets to this port, and to those that the policy will name.
    pub const fn for_port(host: u16) -> Self {
        Self::Ports {
            host,
            policy: BTreeSet::new(),
        }
    }

    /// Follows the policy; reports whether that changes anything. An own filter stays as it is.
    pub(super) fn follow(&mut self, ports: &BTreeSet<NonZeroU16>) -> bool {
        match self {
            Self::Ports { host: _, policy } if policy != ports => {
                policy.clone_from(ports);
                true
            }
            Self::Ports { .. } | Self::Own(_) => false,
        }
    }
}

impl fmt::Display for Filter {
    /// In the language of pcap-filter(7).
    ///
    /// IPv6 packets with extension headers pass whatever their length: the language cannot find
    /// their UDP header.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, policy) = match self {
            Self::Ports { host, policy } => (host, policy),
            Self::Own(text) => return f.write_str(text),
        };
        let (min, max) = UDP_LEN;
        write!(f, "(udp dst port {host}")?;
        for port in policy.iter().filter(|port| port.get() != *host) {
            write!(f, " or udp dst port {port}")?;
        }
        write!(
            f,
            ") and ((ip and udp[4:2] >= {min} and udp[4:2] <= {max}) or \
             (ip6 and (ip6[6] != 17 or (ip6[44:2] >= {min} and ip6[44:2] <= {max}))))"
        )
    }
}
