//! Where packets come from: an interface, a file that a sniffer writes, a socket.
//!
//! [`open`] is the one constructor: it makes of a [`CaptureConfig`] something that implements
//! [`Capture`], and nobody else needs to know which. Nothing here looks into a packet. What is not
//! for us is dropped as early as possible (in the kernel, for an interface), memory is bounded by
//! the kernel's buffers, and what did not fit is counted.
//!
//! | file | what it holds |
//! |---|---|
//! | `live` | an interface, with libpcap; only there with the cargo feature `pcap` |
//! | `file` | a capture file, also one that another program is still writing |
//! | `nflog` | what rules of the host hand out to a group of NFLOG |
//! | `socket` | sockets of our own, UDP and TCP |
//! | `syn` | a second look at interfaces and files, for SYNs and knock sequences |
//! | `filter` | which packets are worth judging |
//! | `transports` | what they travel in |
//! | `bpf` | the same as a program for the kernel |
//! | `frames` | the same applied to the frames of a file |
//! | `pcap_format` | the form of a capture file; pure |

#[cfg(feature = "pcap")]
mod bpf;
mod file;
mod filter;
mod frames;
#[cfg(feature = "pcap")]
mod live;
mod nflog;
mod pcap_format;
mod socket;
mod syn;
mod transports;

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use gate::{Datagram, LinkType};
use nix::poll::PollFd;
use serde::{Deserialize, Serialize};

pub use filter::Filter;
pub use pcap_format::NotPcap;
pub use syn::{SynCaptures, Syns, Wanted, each_syn};
pub use transports::{NoTransport, Transports};

use crate::network::Links;

use file::FileCapture;
#[cfg(feature = "pcap")]
use live::{LiveCapture, LiveOptions};
use nflog::NflogCapture;
use socket::{TcpCapture, UdpCapture};

/// Gives a message to the reader of what the kernel logs ([`crate::hostile`]).
pub(crate) fn read_hostile(notice: crate::netlink::Notice<'_>) {
    nflog::read_hostile(notice);
}

/// Gives bytes to the reader of what is kept of a capture file, whoever wrote them ([`crate::hostile`]).
pub(crate) fn read_hostile_bookmark(bytes: &[u8]) {
    file::read_hostile_bookmark(bytes);
}

/// One source of packets, and how to capture from it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CaptureConfig {
    /// Where they come from.
    pub source: CaptureSource,
    /// What the kernel leaves of the traffic. A socket has no use for it.
    pub filter: Filter,
    /// Size of the kernel's ring or of a socket's queue in bytes.
    pub buffer_bytes: u32,
    /// Whether an interface hands on what is addressed to other machines.
    pub promiscuous: bool,
    /// Whether an interface hands on what the host itself sends or forwards.
    pub any_direction: bool,
    /// Where it is kept across starts how far a file that is followed was read; nowhere if empty.
    pub bookmark: PathBuf,
}

/// Where packets come from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum CaptureSource {
    /// A network interface by name, or `any`.
    Interface(String),
    /// A capture file.
    File {
        /// Its name.
        path: PathBuf,
        /// Whether to wait for what is still being written.
        follow: bool,
    },
    /// A group of NFLOG.
    Nflog(u16),
    /// A UDP socket on this address.
    Socket(SocketAddr),
    /// A TCP socket on this address.
    TcpServer(SocketAddr),
}

/// One thing that arrived.
#[derive(Clone, Copy, Debug)]
pub enum Arrival<'a> {
    /// Of a file, where everything counts as sent to this host.
    Frame(LinkType, &'a [u8]),
    /// As seen on a wire, where it may be on its way to another machine.
    Seen(LinkType, &'a [u8]),
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
    /// [`CaptureError`] when some of it cannot be had; the host's own port is received
    /// nevertheless.
    fn follow(&mut self, ports: &BTreeSet<NonZeroU16>) -> Result<(), CaptureError>;

    /// After this time there may be something to do though the descriptor is silent: a source that
    /// is down is opened again.
    fn retry_in(&self, steady: Duration) -> Option<Duration>;

    /// Hands on what has arrived, at most `max` of it, and says how much that was. With 0, only tries
    /// to open what is down.
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

    /// Why nothing comes from here now, though it will be tried again; `None` while all is well.
    fn down(&self) -> Option<&str> {
        None
    }

    /// Whether being down is nothing unusual: a file that another program has not begun yet.
    fn may_begin_later(&self) -> bool {
        false
    }

    /// Interfaces have come, gone or changed; these are there now.
    fn links_changed(&mut self, _links: &Links) {}

    /// How frames are wrapped here, as far as that is known now.
    fn link(&self) -> Option<LinkType> {
        None
    }

    /// How many packets or frames were handed on since the start.
    fn frames(&self) -> u64;

    /// How many packets were lost since the start because we were too slow.
    fn dropped(&mut self) -> u64;

    /// What else is counted here since the start, by its name in [`COUNTS`].
    fn counts(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// Why packets do not come.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
pub enum CaptureError {
    /// The source is gone, or may not be used.
    #[error("cannot capture on {name}: {reason}")]
    Down { name: String, reason: String },
    /// A mistake of the configuration.
    #[error("the filter `{filter}` is no filter: {reason}")]
    Filter { filter: String, reason: String },
    /// Frames of a form that nobody here reads.
    #[error(
        "{name} has link type {link}, which is not read here; Ethernet, Linux cooked, raw IP, PPP, \
         PPPoE, Cisco HDLC, IP over InfiniBand, NFLOG and loopback are"
    )]
    Link { name: String, link: String },
    /// The cargo feature `pcap` is off.
    #[error("this agent was built without libpcap: it cannot {wanted}")]
    NoLibpcap { wanted: String },
    /// Other bytes than a capture file has.
    #[error("{path} is not a capture file: {reason}")]
    NotCapture { path: String, reason: NotPcap },
    /// The system gives no bytes.
    #[error("cannot read {path}: {reason}")]
    File { path: String, reason: String },
    /// The system gives no socket.
    #[error("cannot listen on {address}: {reason}")]
    Socket { address: String, reason: String },
}

/// What captures count besides frames and losses ([`Capture::counts`]): no other name leaves the process
/// that captures.
pub const COUNTS: [&str; 8] = [
    "overflows",
    "files_replaced",
    "files_cut",
    "files_damaged",
    "connections",
    "connections_silent",
    "connections_late",
    "connections_crowded_out",
];

/// Bytes of a frame that are captured: an SPA packet of 1,508 bytes with every header in front.
pub const SNAPLEN: u32 = 1600;

/// Starts to capture.
///
/// # Errors
///
/// [`CaptureError`] when the source cannot be used or the filter is none: at the start that is a
/// mistake of the configuration. An interface need not be there yet, nor a file that is followed:
/// they are waited for.
/// [`CaptureError::NoLibpcap`] when an interface is asked of an agent that was built without it.
pub fn open(config: &CaptureConfig) -> Result<Box<dyn Capture>, CaptureError> {
    let filter = config.filter.clone();
    Ok(match &config.source {
        CaptureSource::Interface(name) => open_live(name, config)?,
        CaptureSource::File { path, follow } => {
            let bookmark = Some(&*config.bookmark).filter(|path| !path.as_os_str().is_empty());
            Box::new(FileCapture::open(path, filter, *follow, bookmark)?)
        }
        CaptureSource::Nflog(group) => {
            Box::new(NflogCapture::open(*group, filter, config.buffer_bytes)?)
        }
        CaptureSource::Socket(address) => {
            Box::new(UdpCapture::bind(*address, config.buffer_bytes)?)
        }
        CaptureSource::TcpServer(address) => Box::new(TcpCapture::bind(*address)?),
    })
}

#[cfg(feature = "pcap")]
fn open_live(name: &str, config: &CaptureConfig) -> Result<Box<dyn Capture>, CaptureError> {
    Ok(Box::new(LiveCapture::open(LiveOptions {
        interface: name.to_owned(),
        filter: config.filter.clone(),
        buffer_bytes: config.buffer_bytes,
        promiscuous: config.promiscuous,
        any_direction: config.any_direction,
    })?))
}

#[cfg(not(feature = "pcap"))]
fn open_live(name: &str, _config: &CaptureConfig) -> Result<Box<dyn Capture>, CaptureError> {
    Err(CaptureError::NoLibpcap {
        wanted: format!(
            "capture on {name}; it can listen on a port (--udp-server) or follow a capture file \
             (--pcap-file and --follow)"
        ),
    })
}

/// The gate's name for a pcap link type (<https://www.tcpdump.org/linktypes.html>).
fn link_of(name: &str, number: i32) -> Result<LinkType, CaptureError> {
    LinkType::of_number(number).ok_or_else(|| CaptureError::Link {
        name: name.to_owned(),
        link: frames::name_of_link(number),
    })
}

/// When to look for a file again after the `n`-th failure in a row: 1, 2, 4 ... at most 30 seconds.
fn backoff(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.min(5)).min(Duration::from_secs(30))
}

#[cfg(all(test, not(feature = "pcap")))]
mod tests {
    use super::*;

    #[test]
    fn an_agent_without_libpcap_says_so_when_it_is_asked_for_an_interface() {
        let config = CaptureConfig {
            source: CaptureSource::Interface("eth0".to_owned()),
            filter: Filter::for_port(62_201),
            buffer_bytes: 1 << 20,
            promiscuous: false,
            any_direction: false,
            bookmark: PathBuf::new(),
        };

        let refused = open(&config).map(|_| ());

        let text = refused.unwrap_err().to_string();
        assert!(text.contains("was built without libpcap"), "{text}");
        assert!(
            text.contains("eth0") && text.contains("--udp-server"),
            "{text}"
        );
    }
}
