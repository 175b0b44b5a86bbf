//! A connection as the host's connection tracking knows it.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU16;

use spa::{ProtoPort, Protocol};

use crate::rule::Rule;

/// A connection to this host: TCP, or what connection tracking takes for one in UDP.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Connection {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Who began it.
    pub client: SocketAddr,
    /// Where it ends on this host: address and port as the packet filter sees them.
    pub server: SocketAddr,
}

// === impl Connection ===

impl Connection {
    /// Returns the rule that such a connection needs to begin; `None` for one to port 0.
    #[must_use]
    pub fn rule(&self) -> Option<Rule> {
        Some(Rule::Accept {
            address: self.client.ip(),
            port: ProtoPort {
                protocol: self.protocol,
                port: NonZeroU16::new(self.server.port())?,
            },
        })
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            protocol,
            client,
            server,
        } = self;
        let protocol = match protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        write!(f, "{client} to {server} {protocol}")
    }
}
