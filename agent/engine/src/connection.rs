//! A connection as the host's connection tracking knows it.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};
use spa::{ProtoPort, Protocol};

/// A connection to this host or through it: TCP, or what connection tracking takes for one in UDP.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Connection {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Who began it.
    pub client: SocketAddr,
    /// What the client asked for: address and port before any translation.
    pub asked: SocketAddr,
    /// Where it ends: the same, unless somebody translates it.
    pub server: SocketAddr,
    /// The zone of connection tracking in which what the client sends is looked for: 0, unless the
    /// host's owner divides it (`CT --zone`, Open vSwitch). In each there may be an entry of the same
    /// addresses.
    pub zone: u16,
}

// === impl Connection ===

impl Connection {
    /// One that nobody translates.
    #[must_use]
    pub const fn direct(protocol: Protocol, client: SocketAddr, server: SocketAddr) -> Self {
        Self {
            protocol,
            client,
            asked: server,
            server,
            zone: 0,
        }
    }

    /// Returns the port that was asked for; `None` for port 0.
    #[must_use]
    pub fn asked(&self) -> Option<ProtoPort> {
        Some(ProtoPort {
            protocol: self.protocol,
            port: NonZeroU16::new(self.asked.port())?,
        })
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            protocol,
            client,
            asked,
            server,
            zone,
        } = self;
        write!(f, "{client} to {asked} {protocol}")?;
        if asked != server {
            write!(f, ", led on to {server}")?;
        }
        if *zone == 0 {
            Ok(())
        } else {
            write!(f, ", in zone {zone}")
        }
    }
}
