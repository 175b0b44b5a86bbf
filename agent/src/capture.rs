//! Where packets come from: an interface, a file that a sniffer writes, a socket.
//!
//! Nothing here looks into a packet. What is not for us is dropped as early as possible (in the
//! kernel, for an interface), memory is bounded by the kernel's buffers, and what did not fit is
//! counted.

mod file;
mod live;
mod socket;

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU16;
use std::time::Duration;

use gate::{Datagram, Link};
use nix::poll::PollFd;

pub use file::FileCapture;
pub use live::{LiveCapture, LiveOptions};
pub use socket::SocketCapture;

/// One thing that arrived.
#[derive(Clone, Copy, Debug)]
pub enum Arrival<'a> {
    /// As seen on the wire.
    Frame(Link, &'a [u8]),
    /// As a socket gives it.
    Datagram(Datagram<'a>),
}

/// A source of packets that never makes its caller wait.
pub trait Capture: Send + fmt::Debug {
    /// For people: the interface, file or address.
    fn name(&self) -> &str;

    /// Adds what is readable when something may have arrived; nothing while the source is down.
    fn poll_fds<'fd>(&'fd self, fds: &mut Vec<PollFd<'fd>>);

    /// From now on hands on what goes to the host's SPA port and to these, which the policy names.
    ///
    /// # Errors
    ///
    /// [`CaptureError`] when some of it cannot be had; the host's own port is received nevertheless.
    fn follow(&mut self, ports: &BTreeSet<NonZeroU16>) -> Result<(), CaptureError>;

    /// After this time there may be something to do though the descriptor is silent: a source that
    /// is down is opened again.
    fn retry_in(&self, steady: Duration) -> Option<Duration>;

    /// Hands on what has arrived, at most `max` of it, and says how much that was.
    ///
    /// # Errors
    ///
    /// [`CaptureError`] when the source has just gone down; it is opened again by itself, later.
    fn next_batch(
        &mut self,
        max: usize,
        steady: Duration,
        each: &mut dyn FnMut(Arrival<'_>),
    ) -> Result<usize, CaptureError>;

    /// How many packets were lost since the start because we were too slow.
    fn dropped(&mut self) -> u64;
}

/// Why packets do not come.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CaptureError {
    #[error("cannot capture on {name}: {reason}")]
    Down { name: String, reason: String },
    #[error("the filter `{filter}` is no filter: {reason}")]
    Filter { filter: String, reason: String },
    #[error(
        "{name} has link type {number}, which is not one of Ethernet, cooked, raw IP, loopback"
    )]
    Link { name: String, number: i32 },
    #[error("{path} is not a capture file: {reason}")]
    NotCapture { path: String, reason: &'static str },
    #[error("cannot read {path}: {reason}")]
    File { path: String, reason: String },
    #[error("cannot listen on {address}: {reason}")]
    Socket { address: String, reason: String },
}

/// Bytes of a frame that are captured: an SPA packet of 1,508 bytes with every header in front.
pub const SNAPLEN: u32 = 1600;

/// UDP length field of the shortest and longest packet the gate would read: 140 to 1,500 characters
/// and perhaps 8 of a tag, behind a header of 8 bytes.
const UDP_LEN: (u32, u32) = (148, 1516);

/// What the kernel leaves of the traffic.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Filter {
    /// What can be an SPA packet over UDP, to the host's SPA port or to one that the policy names.
    Ports {
        host: u16,
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
    fn follow(&mut self, ports: &BTreeSet<NonZeroU16>) -> bool {
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

/// The gate's name for a pcap link type (<https://www.tcpdump.org/linktypes.html>).
fn link_of(name: &str, number: i32) -> Result<Link, CaptureError> {
    match number {
        0 | 108 => Ok(Link::Loopback),
        1 => Ok(Link::Ethernet),
        12 | 14 | 101 | 228 | 229 => Ok(Link::RawIp),
        113 => Ok(Link::LinuxSll),
        276 => Ok(Link::LinuxSll2),
        _ => Err(CaptureError::Link {
            name: name.to_owned(),
            number,
        }),
    }
}

/// When to try again after the `n`-th failure in a row: 1, 2, 4 ... at most 30 seconds.
fn backoff(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.min(5)).min(Duration::from_secs(30))
}
