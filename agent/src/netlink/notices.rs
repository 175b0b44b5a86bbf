//! Notices: what the kernel tells everybody who listens, without being asked.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};

use super::reply::{Notice, Notices as Read};

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
        Self::open(NETLINK_ROUTE, groups)
    }

    /// The same for groups of netfilter's subsystems.
    pub(crate) fn netfilter(groups: &[u32]) -> io::Result<Self> {
        Self::open(NETLINK_NETFILTER, groups)
    }

    fn open(protocol: isize, groups: &[u32]) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        // Nobody but the kernel is heard.
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        // Beyond the system's limit if we may; a smaller queue only overflows sooner.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &QUEUE_BYTES)
            .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &QUEUE_BYTES));
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
        let mut heard = Heard::All;
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(0) => return Ok(heard),
                Ok(_) => {}
                Err(cause) if cause.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                    heard = Heard::Lost;
                    continue;
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Ok(heard),
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
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
