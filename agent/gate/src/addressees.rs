//! Whom a packet may be sent to: a host acts only on what is sent to it.
//!
//! What a sniffer sees is not all for this host: a router forwards, a switch floods, a neighbour's
//! broadcast goes to everybody. Judged is what is sent to one of the host's own unicast addresses,
//! to a network that the configuration names, or to one that DESTINATION of a stanza names, and then
//! for the keys of such stanzas only. The rest is counted and costs no cryptography.
//!
//! Broadcast and multicast addresses are not the host's own: what is sent to them is sent to many,
//! and many would answer.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use policy::Networks;

/// The destinations at which packets off a wire are judged, whatever the policy says.
#[derive(Clone, Debug, Default)]
pub enum Addressees {
    /// All: the host stands in front of others (`gateway`), or there is no host, as with a file.
    #[default]
    Everyone,
    /// Those of the host. Replaced whole when one of its addresses comes or goes.
    Host(Arc<HostAddresses>),
}

/// The addresses of a host, and what its configuration accepts beside them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostAddresses {
    /// Unicast addresses of all interfaces, in their plain form.
    pub own: HashSet<IpAddr>,
    /// `accept_destinations`.
    pub accepted: Networks,
}

// === impl Addressees ===

impl Addressees {
    /// Whether what is sent to this address, in its plain form, is judged.
    #[must_use]
    pub fn include(&self, destination: IpAddr) -> bool {
        match self {
            Self::Everyone => true,
            Self::Host(host) => {
                host.own.contains(&destination)
                    || destination.is_loopback()
                    || host.accepted.contains(destination)
            }
        }
    }
}
