//! The packet leaves: in a datagram, a connection, a web request, or with headers of its own.

mod craft;
mod raw;

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;

use self::craft::Carrier;
use super::args::{Proxy, RouteArgs, SequenceProto, Transport, address, agent, port};
use super::packet::random_port;
use super::sequence::Sequence;
use super::way::any_of;
use crate::error::{CommandError, Result};
use crate::rc::Stanza;

/// How long a TCP or HTTP server may take to answer the handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Addresses of one name that are knocked at: more than any host has.
const ADDRESSES_MAX: usize = 8;

/// The server looks for a name that begins like this (docs/wire-format.md, transports).
const USER_AGENT: &str = "Fwknop/3.0.0";

/// How the packet travels.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) transport: Transport,
    /// `None` leaves it to the directory, or to the default.
    pub(crate) port: Option<u16>,
    source_port: Option<u16>,
    /// Knocks in the place of a packet.
    pub(crate) sequence: Option<SequenceProto>,
    /// What stands in the packet as its source, with the raw forms.
    spoof_source: Option<IpAddr>,
    family: Option<Family>,
    proxy: Option<Proxy>,
    icmp: (Option<u8>, u8),
    user_agent: String,
    /// Whoever asks a page does not say that it is fwknop.
    is_wget: bool,
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
        let proxy = args.http_proxy.clone();
        let transport = match args.server_proto {
            Some(Transport::Http) | None if proxy.is_some() => Transport::Http,
            Some(transport) => transport,
            None => rc
                .read("SPA_SERVER_PROTO", str::parse)?
                .unwrap_or(Transport::Udp),
        };
        if proxy.is_some() && transport != Transport::Http {
            return Err(CommandError::usage(format!(
                "a web proxy passes on no packet that is sent over {transport}"
            ))
            .with_hint("leave -P out, or say -P http"));
        }
        let spoof_source = match args.spoof_source {
            Some(address) => Some(address),
            None => rc.read("SPOOF_SOURCE_IP", address)?,
        };
        if spoof_source.is_some() && !transport.is_raw() {
            return Err(CommandError::usage(format!(
                "over {transport} the source address is that of this machine"
            ))
            .with_hint("-Q goes with -P udpraw, tcpraw and icmp"));
        }
        let stated = match args.server_port {
            Some(port) => Some(port),
            None => rc.read("SPA_SERVER_PORT", port)?,
        };
        let random = args.rand_port || (args.server_port.is_none() && rc.is_on("RAND_PORT"));
        let source_port = match args.source_port {
            Some(port) => Some(port),
            None => rc.read("SPA_SOURCE_PORT", source)?,
        };
        Ok(Self {
            transport,
            port: if random { Some(random_port()?) } else { stated },
            source_port,
            sequence: args.sequence,
            spoof_source,
            proxy,
            icmp: (args.icmp_type, args.icmp_code.unwrap_or(0)),
            family: match (args.ipv4 || rc.is_on("SERVER_RESOLVE_IPV4"), args.ipv6) {
                (_, true) => Some(Family::V6),
                (true, false) => Some(Family::V4),
                (false, false) => None,
            },
            // The server looks for a name that begins like this (docs/wire-format.md, transports).
            user_agent: match &args.user_agent {
                Some(agent) => agent.clone(),
                None => rc
                    .read("HTTP_USER_AGENT", agent)?
                    .unwrap_or_else(|| USER_AGENT.to_owned()),
            },
            is_wget: args.use_wget_user_agent
                || (args.user_agent.is_none() && rc.is_on("USE_WGET_USER_AGENT")),
        })
    }

    /// Sends the packet to `address`, which is that of `host`.
    ///
    /// # Errors
    ///
    /// Exit code 3 when the network takes no packet for it, 1 without the right to send it so.
    pub(crate) async fn send(&self, packet: &str, host: &str, address: SocketAddr) -> Result {
        let to = address.port();
        let from = match self.source_port.filter(|port| *port != 0) {
            Some(port) => port,
            None if self.transport.is_raw() => random_port()?,
            None => 0,
        };
        let raw = |carrier| raw::send(packet, address, self.spoof_source, carrier);
        let sent = match self.transport {
            Transport::Udp => datagram(packet, address, from),
            Transport::Tcp => connection(packet, address, from).await,
            Transport::Http => connection(&self.web_request(packet, host), address, from).await,
            Transport::UdpRaw => return raw(Carrier::Udp { from, to }),
            Transport::TcpRaw => return raw(Carrier::Tcp { from, to }),
            Transport::Icmp => {
                let (kind, code) = self.icmp;
                return raw(Carrier::Icmp { kind, code });
            }
        };
        sent.map_err(|cause| {
            CommandError::unreachable(format!(
                "cannot send to {host} over {}/{to}",
                self.transport
            ))
            .because(cause)
        })
    }

    /// Knocks at the ports of a sequence.
    ///
    /// # Errors
    ///
    /// As [`Sequence::send`].
    pub(crate) async fn knock(&self, sequence: &Sequence, to: SocketAddr) -> Result {
        sequence.send(to, self.source_port.unwrap_or(0)).await
    }

    /// As whom a page is asked; `None` as wget calls itself.
    pub(crate) fn page_agent(&self) -> Option<&str> {
        (!self.is_wget).then_some(self.user_agent.as_str())
    }

    /// Where packets go: every address of a host that is known by these addresses or names, each once.
    ///
    /// # Errors
    ///
    /// Exit code 3 when the host has no address, or none of the family that was asked for.
    pub(crate) fn resolve(&self, hosts: &[String], port: u16) -> Result<Vec<SocketAddr>> {
        match &self.proxy {
            None => self.resolve_each(hosts, port),
            Some(proxy) => self.resolve_each(
                std::slice::from_ref(&proxy.host),
                proxy.port.unwrap_or(port),
            ),
        }
    }

    fn resolve_each(&self, hosts: &[String], port: u16) -> Result<Vec<SocketAddr>> {
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

    fn web_request(&self, packet: &str, host: &str) -> String {
        let path = packet.replace('+', "-").replace('/', "_");
        let agent = &self.user_agent;
        // A name of many numbers stands in brackets in a request.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host = match host.parse::<Ipv6Addr>() {
            Ok(v6) => format!("[{v6}]"),
            Err(_) => host.to_owned(),
        };
        // A proxy is told the whole of where it goes.
        let place = match &self.proxy {
            None => String::new(),
            Some(_) => format!("http://{host}"),
        };
        format!(
            "GET {place}/{path} HTTP/1.0\r\nUser-Agent: {agent}\r\nAccept: */*\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
    }
}

/// A port to send from; 0 leaves it to the kernel.
fn source(text: &str) -> Result<u16, String> {
    if text == "0" { Ok(0) } else { port(text) }
}

/// From this port, where it is not 0.
fn datagram(packet: &str, to: SocketAddr, from: u16) -> io::Result<()> {
    let socket = UdpSocket::bind((any_of(to), from))?;
    socket.send_to(packet.as_bytes(), to).map(drop)
}

/// The whole text in the first segment. Nothing is read: no host answers.
async fn connection(text: &str, to: SocketAddr, from: u16) -> io::Result<()> {
    let socket = if to.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if from != 0 {
        // The connection before from the same port may not be forgotten yet.
        socket.set_reuseaddr(true)?;
        socket.bind((any_of(to), from).into())?;
    }
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, socket.connect(to)).await;
    let mut stream = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}
