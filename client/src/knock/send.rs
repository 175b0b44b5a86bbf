//! The packet leaves: in a datagram, a connection, or a web request.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::time::Duration;

use super::args::{RouteArgs, Transport};
use super::packet::random_port;
use super::request::port;
use crate::error::{CommandError, Result};
use crate::rc::Stanza;

/// How long a TCP or HTTP server may take to answer the handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Addresses of one name that are knocked at: more than any host has.
const ADDRESSES_MAX: usize = 8;

/// How the packet travels.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) transport: Transport,
    /// `None` leaves it to the directory, or to the default.
    pub(crate) port: Option<u16>,
    source_port: Option<u16>,
    family: Option<Family>,
    user_agent: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Family {
    V4,
    V6,
}

// === impl Route ===

impl Route {
    /// Puts the command line on top of the rc stanza.
    ///
    /// # Errors
    ///
    /// Exit code 64 for a value of the stanza that cannot be read.
    pub(crate) fn merge(args: &RouteArgs, rc: &Stanza) -> Result<Self> {
        let transport = match args.server_proto {
            Some(transport) => transport,
            None => rc
                .read("SPA_SERVER_PROTO", str::parse)?
                .unwrap_or(Transport::Udp),
        };
        let stated = match args.server_port {
            Some(port) => Some(port),
            None => rc.read("SPA_SERVER_PORT", port)?,
        };
        let random = args.rand_port || (args.server_port.is_none() && rc.is_on("RAND_PORT"));
        let source_port = match args.source_port {
            Some(port) => Some(port),
            None => rc.read("SPA_SOURCE_PORT", port)?,
        };
        Ok(Self {
            transport,
            port: if random { Some(random_port()?) } else { stated },
            source_port,
            family: match (args.ipv4 || rc.is_on("SERVER_RESOLVE_IPV4"), args.ipv6) {
                (_, true) => Some(Family::V6),
                (true, false) => Some(Family::V4),
                (false, false) => None,
            },
            // The server looks for a name that begins like this (docs/wire-format.md, transports).
            user_agent: rc
                .text("HTTP_USER_AGENT")
                .unwrap_or("Fwknop/3.0.0")
                .to_owned(),
        })
    }

    /// Sends the packet to `address`, which is that of `host`.
    ///
    /// # Errors
    ///
    /// Exit code 3 when the network takes no packet for it.
    pub(crate) fn send(&self, packet: &str, host: &str, address: SocketAddr) -> Result {
        let port = address.port();
        let sent = match self.transport {
            Transport::Udp => self.datagram(packet, address),
            Transport::Tcp => connection(packet, address),
            Transport::Http => connection(&self.web_request(packet, host), address),
        };
        sent.map_err(|cause| {
            CommandError::unreachable(format!(
                "cannot send to {host} over {}/{port}",
                self.transport
            ))
            .because(cause)
        })
    }

    /// Where packets go: every address of a host that is known by these addresses or names, each once.
    ///
    /// # Errors
    ///
    /// Exit code 3 when the host has no address, or none of the family that was asked for.
    pub(crate) fn resolve(&self, hosts: &[String], port: u16) -> Result<Vec<SocketAddr>> {
        let mut found: Vec<SocketAddr> = Vec::new();
        let mut missing = None;
        for host in hosts {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            match (bare, port).to_socket_addrs() {
                Ok(addresses) => found.extend(addresses),
                Err(cause) => {
                    let error = CommandError::unreachable(format!("{host} has no address"));
                    missing = Some(error.because(cause));
                }
            }
        }
        let is_none = found.is_empty();
        found.retain(|address| match self.family {
            None => true,
            Some(Family::V4) => address.is_ipv4(),
            Some(Family::V6) => address.is_ipv6(),
        });
        let mut each: Vec<SocketAddr> = Vec::new();
        for address in found {
            if !each.contains(&address) && each.len() < ADDRESSES_MAX {
                each.push(address);
            }
        }
        if !each.is_empty() {
            return Ok(each);
        }
        let name = hosts.join(", ");
        Err(missing.filter(|_| is_none).unwrap_or_else(|| {
            CommandError::unreachable(format!("{name} has no address of this family"))
        }))
    }

    fn datagram(&self, packet: &str, to: SocketAddr) -> io::Result<()> {
        let any: IpAddr = if to.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let socket = UdpSocket::bind((any, self.source_port.unwrap_or(0)))?;
        socket.send_to(packet.as_bytes(), to).map(drop)
    }

    fn web_request(&self, packet: &str, host: &str) -> String {
        let path = packet.replace('+', "-").replace('/', "_");
        let agent = &self.user_agent;
        format!(
            "GET /{path} HTTP/1.0\r\nUser-Agent: {agent}\r\nAccept: */*\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
    }
}

/// The whole text in the first segment. Nothing is read: no host answers.
fn connection(text: &str, to: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, CONNECT_TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.write_all(text.as_bytes())
}
