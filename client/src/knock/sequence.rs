//! A knock sequence leaves: one packet without a payload to each of its ports.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use spa::{SEQUENCE_PARTS, SequenceKey, SequenceMessage, Service, sequence_part};
use tokio::net::TcpSocket;
use tokio::time::{sleep, timeout};

use super::args::SequenceProto;
use super::way::any_of;
use crate::error::{CommandError, Result};

/// Between two packets: in all half a second, so that they come in their order on most ways.
const PAUSE: Duration = Duration::from_millis(30);

/// A sequence that is made.
#[derive(Clone, Debug)]
pub(crate) struct Sequence {
    proto: SequenceProto,
    ports: [u16; 1 + SEQUENCE_PARTS],
    /// The name under which its host records what became of it.
    pub(crate) digest: String,
}

// === impl Sequence ===

impl Sequence {
    /// Makes the ports for a message.
    ///
    /// # Errors
    ///
    /// Exit code 1 without randomness.
    pub(crate) fn make(
        proto: SequenceProto,
        key: &SequenceKey,
        message: &SequenceMessage,
        asked: Vec<Service>,
    ) -> Result<Self> {
        let mut nonce = [0; 4];
        getrandom::fill(&mut nonce).map_err(|cause| {
            CommandError::failed("the operating system gives no randomness", cause)
        })?;
        let ports = key.ports(message, u32::from_be_bytes(nonce));
        Ok(Self {
            proto,
            digest: digest(key, message, &ports, asked).unwrap_or_default(),
            ports,
        })
    }

    /// Knocks at every port of `to`, from one port of this machine.
    ///
    /// # Errors
    ///
    /// Exit code 3 when the network takes no packet for it.
    pub(crate) async fn send(&self, to: SocketAddr, from: u16) -> Result {
        let sent = match self.proto {
            SequenceProto::Udp => self.datagrams(to, from).await,
            SequenceProto::Tcp => self.syns(to, from).await,
        };
        let ip = to.ip().to_canonical();
        sent.map_err(|cause| {
            let proto = self.proto;
            CommandError::unreachable(format!("cannot knock at {ip} over {proto}")).because(cause)
        })
    }

    async fn datagrams(&self, to: SocketAddr, from: u16) -> io::Result<()> {
        let socket = UdpSocket::bind((any_of(to), from))?;
        for port in self.ports {
            socket.send_to(&[], SocketAddr::new(to.ip(), port))?;
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Begins connections and gives them up: nobody is to answer.
    async fn syns(&self, to: SocketAddr, from: u16) -> io::Result<()> {
        let mut from = from;
        for port in self.ports {
            let socket = if to.is_ipv4() {
                TcpSocket::new_v4()?
            } else {
                TcpSocket::new_v6()?
            };
            socket.set_reuseaddr(true)?;
            socket.bind((any_of(to), from).into())?;
            from = socket.local_addr()?.port();
            let connect = socket.connect(SocketAddr::new(to.ip(), port));
            match timeout(PAUSE, connect).await {
                // Refused, or no answer: what is sent is sent.
                Ok(Err(cause)) if is_unsent(&cause) => return Err(cause),
                Ok(_) => sleep(PAUSE).await,
                Err(_) => {}
            }
        }
        Ok(())
    }
}

/// In words, as --dry-run shows it.
impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = self.ports.map(|port| format!("{}/{port}", self.proto));
        f.write_str(&ports.join(" "))
    }
}

fn is_unsent(cause: &io::Error) -> bool {
    use io::ErrorKind::{AddrInUse, AddrNotAvailable, NetworkUnreachable, PermissionDenied};
    [
        AddrInUse,
        AddrNotAvailable,
        NetworkUnreachable,
        PermissionDenied,
    ]
    .contains(&cause.kind())
}

/// As the host makes it of what it receives.
fn digest(
    key: &SequenceKey,
    message: &SequenceMessage,
    ports: &[u16],
    asked: Vec<Service>,
) -> Option<String> {
    let (begin, others) = ports.split_first()?;
    let mut parts = [0; SEQUENCE_PARTS];
    for port in others {
        let (number, value) = sequence_part(*port)?;
        *parts.get_mut(number)? = value;
    }
    let source = message.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let opened = key.open(&parts, source, *begin)?;
    Some(opened.into_opened("-", asked).replay_digest().to_string())
}
