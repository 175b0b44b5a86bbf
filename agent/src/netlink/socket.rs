//! A netlink socket: a batch goes out in one system call, and what comes back is read to its end.

use std::io;
use std::ops::ControlFlow;

use netlink_sys::{
    Socket, SocketAddr,
    protocols::{NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_SOCK_DIAG},
};

use super::Requests;
use super::reply::{Attributes, Messages, Notice, Notices, Reply, Truncated};

/// Room for one datagram from the kernel, which makes none larger than 32 KiB.
const ANSWER_LEN: usize = 64 * 1024;

/// A socket of the netfilter subsystem.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: Socket,
    /// By which the kernel knows this socket, also when it tells others what came from it.
    port: u32,
    next_seq: u32,
    answer: Vec<u8>,
}

/// The error number in the kernel's answer, and which of the requests (from 0) it answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Errno {
    pub(crate) code: i32,
    pub(crate) request: u32,
}

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetlinkError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("error {}", .0.code)]
    Kernel(Errno),
    #[error(transparent)]
    Truncated(#[from] Truncated),
}

// === impl Netlink ===

impl Netlink {
    /// Opens a socket in the network namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Self> {
        Self::open_protocol(NETLINK_NETFILTER)
    }

    /// The same for the routing subsystem.
    pub(crate) fn open_route() -> io::Result<Self> {
        Self::open_protocol(NETLINK_ROUTE)
    }

    /// The same for the subsystem that knows the host's sockets.
    pub(crate) fn open_sock_diag() -> io::Result<Self> {
        Self::open_protocol(NETLINK_SOCK_DIAG)
    }

    fn open_protocol(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        let port = socket.bind_auto()?.port_number();
        socket.connect(&SocketAddr::new(0, 0))?;
        // An error names the request by its number: of a thousand that fail together, the rest of each
        // need not come back. Kernels before 4.3 send it.
        let _ = socket.set_cap_ack(true);
        // The kernel answers before `send` returns, so an answer that is not there never comes.
        socket.set_non_blocking(true)?;
        Ok(Self {
            socket,
            port,
            next_seq: 1,
            answer: Vec::with_capacity(ANSWER_LEN),
        })
    }

    /// Sends all requests in one system call and reads the kernel's answer to each.
    ///
    /// # Errors
    ///
    /// The first error answered; the requests after it have been tried nevertheless.
    pub(crate) fn execute(&mut self, requests: &mut Requests) -> Result<(), NetlinkError> {
        self.send(requests)?;
        let mut first_error = None;
        let mut answered = 0;
        while answered < requests.count() {
            self.receive()?;
            for message in Messages::of(&self.answer) {
                let message = message?;
                answered += 1;
                if let Reply::Refused(code) = message.reply
                    && first_error.is_none()
                {
                    first_error = Some(Errno {
                        code,
                        request: message.seq.wrapping_sub(requests.first_seq()),
                    });
                }
            }
        }
        first_error.map_or(Ok(()), |errno| Err(NetlinkError::Kernel(errno)))
    }

    /// The number by which the kernel knows this socket.
    pub(crate) const fn port(&self) -> u32 {
        self.port
    }

    /// Sends a batch of nfnetlink, of which the kernel does all or nothing, in one system call. Its
    /// last message but the end must ask for an answer; the others need not.
    ///
    /// # Errors
    ///
    /// The first error answered; nothing of the batch was done.
    pub(crate) fn transact(&mut self, requests: &mut Requests) -> Result<(), NetlinkError> {
        self.send(requests)?;
        let (mut first_error, mut is_done) = (None, false);
        loop {
            match self.receive() {
                Ok(_) => {}
                // All that the kernel has to say was there when it returned.
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => break,
                Err(cause) => return Err(cause.into()),
            }
            for message in Messages::of(&self.answer) {
                let message = message?;
                match message.reply {
                    Reply::Refused(code) => {
                        let request = message.seq.wrapping_sub(requests.first_seq());
                        first_error = first_error.or(Some(Errno { code, request }));
                    }
                    Reply::Done => is_done = true,
                    Reply::Data(_) => {}
                }
            }
        }
        match first_error {
            Some(errno) => Err(NetlinkError::Kernel(errno)),
            None if is_done => Ok(()),
            None => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
    }

    /// Sends one dump request and gives the attributes of every message of the answer to `each`.
    pub(crate) fn dump(
        &mut self,
        requests: &mut Requests,
        each: &mut dyn FnMut(Attributes<'_>),
    ) -> Result<(), NetlinkError> {
        self.send(requests)?;
        loop {
            self.receive()?;
            for message in Messages::of(&self.answer) {
                match message?.reply {
                    Reply::Done => return Ok(()),
                    Reply::Refused(code) => {
                        return Err(NetlinkError::Kernel(Errno { code, request: 0 }));
                    }
                    Reply::Data(attributes) => each(attributes),
                }
            }
        }
    }

    /// Sends one dump request and gives every message of the answer to `each`, until that has seen
    /// enough. After a break this socket cannot be used for another list.
    pub(crate) fn list(
        &mut self,
        requests: &mut Requests,
        each: &mut dyn FnMut(Notice<'_>) -> ControlFlow<()>,
    ) -> Result<(), NetlinkError> {
        self.send(requests)?;
        loop {
            self.receive()?;
            for notice in Notices::of(&self.answer) {
                let notice = notice?;
                match notice.end() {
                    Some(Ok(())) => return Ok(()),
                    Some(Err(code)) => {
                        return Err(NetlinkError::Kernel(Errno { code, request: 0 }));
                    }
                    None if each(notice).is_break() => return Ok(()),
                    None => {}
                }
            }
        }
    }

    fn send(&mut self, requests: &mut Requests) -> Result<(), NetlinkError> {
        // Answers to an earlier request that was given up must not be taken for ours.
        while self.receive().is_ok() {}
        requests.number(self.next_seq);
        self.next_seq = self.next_seq.wrapping_add(requests.count());
        self.socket.send(requests.bytes(), 0)?;
        Ok(())
    }

    fn receive(&mut self) -> io::Result<usize> {
        self.answer.clear();
        self.socket.recv(&mut self.answer, 0)
    }
}
