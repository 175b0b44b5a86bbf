//! Which packets are worth judging.

use std::collections::BTreeSet;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use super::Transports;

/// UDP length field of the shortest and longest packet the gate would read: 140 to 1,500 characters
/// and perhaps 8 of a tag, behind a header of 8 bytes.
pub(super) const UDP_LEN: (u32, u32) = (148, 1516);

/// What the kernel leaves of the traffic.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Filter {
    /// What can be an SPA packet, in one of these transports, and where that has ports, to the host's SPA
    /// port or to one that the policy names.
    Ports {
        /// The host's own.
        host: u16,
        /// Those of the policy.
        policy: BTreeSet<NonZeroU16>,
        /// What packets travel in.
        transports: Transports,
    },
    /// The operator's own, in the language of pcap-filter(7).
    Own(String),
}

// === impl Filter ===

impl Filter {
    /// Leaves datagrams to this port, and to those that the policy will name.
    pub const fn for_port(host: u16) -> Self {
        Self::in_transports(host, Transports::UDP)
    }

    /// The same in these transports.
    pub const fn in_transports(host: u16, transports: Transports) -> Self {
        Self::Ports {
            host,
            policy: BTreeSet::new(),
            transports,
        }
    }

    /// What packets travel in, where that is what decides.
    pub(super) fn transports(&self) -> Option<Transports> {
        match self {
            Self::Ports { transports, .. } => Some(*transports),
            Self::Own(_) => None,
        }
    }

    /// The ports that packets are judged at, where that is what decides.
    pub(super) fn ports(&self) -> Option<BTreeSet<u16>> {
        match self {
            Self::Ports { host, policy, .. } => {
                let policy = policy.iter().map(|port| port.get());
                Some(policy.chain([*host]).collect())
            }
            Self::Own(_) => None,
        }
    }

    /// Follows the policy; reports whether that changes anything. An own filter stays as it is.
    pub(super) fn follow(&mut self, ports: &BTreeSet<NonZeroU16>) -> bool {
        match self {
            Self::Ports { policy, .. } if policy != ports => {
                policy.clone_from(ports);
                true
            }
            Self::Ports { .. } | Self::Own(_) => false,
        }
    }
}
