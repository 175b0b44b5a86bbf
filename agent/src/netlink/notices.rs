//! Notices: what the kernel tells everybody who listens, without being asked.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};

use super::reply::{Notice, Notices as Read};
use super::socket::Errno;
use super::{NetlinkError, Requests};

/// Room for one datagram from the kernel, which makes none larger than 32 KiB.
const NOTICE_LEN: usize = 64 * 1024;
/// What may wait for us before the kernel drops it, in bytes.
const QUEUE_BYTES: usize = 4 << 20;

/// A socket that hears of changes. Never makes its reader wait.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    buffer: Vec<u8>,
}

/// Whether everything was heard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "after a loss everything must be looked at"]
pub(crate) enum Heard {
    All,
    /// The kernel had more to tell than there was room for, or told what cannot be read.
    Lost,
}

// === impl Listener ===

impl Listener {
    /// Listens to groups of rtnetlink in the network namespace of the calling thread.
    pub(crate) fn route(groups: &[u32]) -> io::Result<Self> {
        Self::open(NETLINK_ROUTE, groups, QUEUE_BYTES)
    }

    /// The same for groups of netfilter's subsystems.
    pub(crate) fn netfilter(groups: &[u32]) -> io::Result<Self> {
        Self::open(NETLINK_NETFILTER, groups, QUEUE_BYTES)
    }

    /// For what a subsystem of netfilter hands out when it is asked to, of which so many bytes may wait.
    pub(crate) fn of_netfilter(queue_bytes: usize) -> io::Result<Self> {
        Self::open(NETLINK_NETFILTER, &[], queue_bytes)
    }

    fn open(protocol: isize, groups: &[u32], queue_bytes: usize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        // Nobody but the kernel is heard.
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        // Beyond the system's limit if we may; a smaller queue only overflows sooner.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &queue_bytes)
            .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &queue_bytes));
        for &group in groups {
            socket.add_membership(group)?;
        }
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(NOTICE_LEN),
        })
    }

    /// Gives all notices that wait to `each`.
    ///
    /// # Errors
    ///
    /// When the socket is broken. That some were lost is no error.
    pub(crate) fn drain(&mut self, each: &mut dyn FnMut(Notice<'_>)) -> io::Result<Heard> {
        self.hear(usize::MAX, each).map(|(_, heard)| heard)
    }

    /// The same of at most `max` datagrams of the kernel; says of how many.
    ///
    /// # Errors
    ///
    /// When the socket is broken. That some were lost is no error.
    pub(crate) fn hear(
        &mut self,
        max: usize,
        each: &mut dyn FnMut(Notice<'_>),
    ) -> io::Result<(usize, Heard)> {
        let (mut taken, mut heard) = (0, Heard::All);
        while taken < max {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(0) => break,
                Ok(_) => taken += 1,
                Err(cause) if is_overflow(&cause) => {
                    heard = Heard::Lost;
                    continue;
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => break,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) => return Err(cause),
            }
            for notice in Read::of(&self.buffer) {
                match notice {
                    Ok(notice) => each(notice),
                    Err(_) => heard = Heard::Lost,
                }
            }
        }
        Ok((taken, heard))
    }

    /// Sends requests that ask for an answer each, and waits for the answers. What is handed out
    /// meanwhile is passed over.
    ///
    /// # Errors
    ///
    /// The first error answered; the requests after it have been tried nevertheless.
    pub(crate) fn ask(&mut self, requests: &mut Requests) -> Result<(), NetlinkError> {
        requests.number(1);
        self.socket.send(requests.bytes(), 0)?;
        let (mut answered, mut first_error) = (0, None);
        while answered < requests.count() {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => {}
                Err(cause) if is_overflow(&cause) => continue,
                // The kernel has answered before `send` returned.
                Err(cause) => return Err(cause.into()),
            }
            for notice in Read::of(&self.buffer) {
                match notice?.end() {
                    Some(Ok(())) => answered += 1,
                    Some(Err(code)) => {
                        let request = answered;
                        answered += 1;
                        first_error = first_error.or(Some(Errno { code, request }));
                    }
                    None => {}
                }
            }
        }
        first_error.map_or(Ok(()), |errno| Err(NetlinkError::Kernel(errno)))
    }
}

/// Whether something was lost for want of room.
fn is_overflow(cause: &io::Error) -> bool {
    cause.raw_os_error() == Some(nix::errno::Errno::ENOBUFS as i32)
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
