//! Packets over TCP, one message in each connection: what a client sends with `-P tcp`, or an HTTP
//! request.
//!
//! Anybody may connect. So there is room for a fixed number of connections, each with room for one
//! message, and each is closed when its message is there, when it says nothing for a moment, or
//! after some seconds. One source gets a small share; who comes when all is taken takes the place of
//! the oldest, of which is judged what has come. Not a byte is ever sent.
//!
//! A message is over when its sender has closed, when a request's head is complete, or when nothing
//! came for a while. A capture that sees the same segment shows the same packet: the gate takes it
//! once.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU16;
use std::os::fd::AsFd as _;
use std::time::Duration;

use gate::{Datagram, Transport};
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use super::super::{Arrival, Capture, CaptureError};
use super::{Bindings, Listening, unknown};

/// A request with all its headers, or what is too long for a packet.
const MESSAGE_LEN: usize = 4096;
/// Connections at the same time.
const CONNECTIONS_MAX: usize = 128;
/// Of these from one IPv4 address or one IPv6 network of 64 bits.
const CONNECTIONS_OF_SOURCE_MAX: usize = 8;
/// After so long without a byte, the message that has begun is over.
const QUIET: Duration = Duration::from_secs(1);
/// No connection lasts longer.
const LASTS_MAX: Duration = Duration::from_secs(5);
/// What the kernel keeps of a connection that we have not read.
const KERNEL_BYTES: usize = 8 * 1024;

/// Takes one message of each connection to one address.
#[derive(Debug)]
pub(in super::super) struct TcpCapture {
    name: String,
    bindings: Bindings<TcpListener>,
    connections: Vec<Connection>,
    /// Room of connections that are over.
    spare: Vec<Box<[u8; MESSAGE_LEN]>>,
    /// Messages that were handed on.
    received: u64,
    seen: Seen,
}

/// What became of connections, how often.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Seen {
    connections: u64,
    /// They ended without a byte.
    silent: u64,
    /// They lasted too long.
    late: u64,
    /// Others took their place.
    crowded_out: u64,
}

/// One that is open.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    local: Option<SocketAddr>,
    /// Steady times: when it began, and when bytes came last.
    since: Duration,
    last: Duration,
    message: Box<[u8; MESSAGE_LEN]>,
    filled: usize,
    /// Whether nothing more comes.
    is_over: bool,
}

// === impl TcpCapture ===

impl TcpCapture {
    /// Listens. `[::]` receives IPv4 too.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Socket`] when the address is taken or not ours.
    pub(in super::super) fn bind(address: SocketAddr) -> Result<Self, CaptureError> {
        let bindings = Bindings::new(address, 0)?;
        Ok(Self {
            name: bindings.name(),
            bindings,
            connections: Vec::new(),
            spare: Vec::new(),
            received: 0,
            seen: Seen::default(),
        })
    }

    /// Takes connections that wait; hands on of those that must give way.
    fn accept(
        &mut self,
        max: usize,
        steady: Duration,
        each: &mut dyn FnMut(Arrival<'_>),
    ) -> io::Result<usize> {
        let (mut taken, share) = (0, self.bindings.share(max));
        for at in 0..=self.bindings.of_policy.len() {
            for _ in 0..share {
                let Some(bound) = self.bindings.all().nth(at) else {
                    break;
                };
                let (stream, peer) = match bound.socket.accept() {
                    Ok(accepted) => accepted,
                    Err(cause) if is_over_already(&cause) => continue,
                    Err(cause) if cause.kind() == ErrorKind::WouldBlock => break,
                    // Descriptors or memory are short: those that wait do so in the kernel.
                    Err(cause) if is_shortage(&cause) => return Ok(taken),
                    Err(cause) => return Err(cause),
                };
                if stream.set_nonblocking(true).is_err() {
                    continue;
                }
                self.seen.connections += 1;
                taken += self.make_room(peer.ip(), each);
                let message = self.spare.pop();
                self.connections.push(Connection {
                    local: stream.local_addr().ok(),
                    stream,
                    peer,
                    since: steady,
                    last: steady,
                    message: message.unwrap_or_else(|| Box::new([0; MESSAGE_LEN])),
                    filled: 0,
                    is_over: false,
                });
            }
        }
        Ok(taken)
    }

    /// Ends the oldest connection of a source that has had its share, or the oldest of all when there
    /// is no room. What has come of it is judged.
    fn make_room(&mut self, source: IpAddr, each: &mut dyn FnMut(Arrival<'_>)) -> usize {
        let source = network_of(source);
        let is_of_source = |open: &&Connection| network_of(open.peer.ip()) == source;
        let of_source = self.connections.iter().filter(is_of_source).count();
        let has_share = of_source >= CONNECTIONS_OF_SOURCE_MAX;
        if !has_share && self.connections.len() < CONNECTIONS_MAX {
            return 0;
        }
        // They are in the order in which they came.
        let oldest = self
            .connections
            .iter()
            .position(|open| !has_share || is_of_source(&open));
        let Some(oldest) = oldest else {
            return 0;
        };
        let mut open = self.connections.remove(oldest);
        open.read(Duration::ZERO);
        self.seen.crowded_out += u64::from(open.filled == 0);
        self.end(open, each)
    }

    /// Reads of those that have something to say.
    fn read(&mut self, steady: Duration) {
        let open = self.connections.iter();
        let mut fds: Vec<PollFd<'_>> = open
            .map(|open| PollFd::new(open.stream.as_fd(), PollFlags::POLLIN))
            .collect();
        if fds.is_empty() || poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready == 0) {
            return;
        }
        let is_ready = |fd: &PollFd<'_>| fd.revents().is_none_or(|seen| !seen.is_empty());
        let ready: Vec<bool> = fds.iter().map(is_ready).collect();
        for (open, is_ready) in self.connections.iter_mut().zip(ready) {
            if is_ready {
                open.read(steady);
            }
        }
    }

    /// Ends those whose message is there, and those whose time is over.
    fn end_those_that_are_over(
        &mut self,
        steady: Duration,
        each: &mut dyn FnMut(Arrival<'_>),
    ) -> usize {
        let mut taken = 0;
        let mut at = 0;
        while let Some(open) = self.connections.get(at) {
            let is_late = steady.saturating_sub(open.since) >= LASTS_MAX;
            if open.is_complete() || open.deadline() <= steady {
                let open = self.connections.remove(at);
                self.seen.late += u64::from(is_late && !open.is_over);
                self.seen.silent += u64::from(open.filled == 0);
                taken += self.end(open, each);
            } else {
                at += 1;
            }
        }
        taken
    }

    /// Hands on what has come of a connection, and closes it.
    fn end(&mut self, open: Connection, each: &mut dyn FnMut(Arrival<'_>)) -> usize {
        let source = open.peer.ip();
        let to = open.local.map(|local| (local.ip(), local.port()));
        let (destination, destination_port) = to.unwrap_or_else(|| (unknown(source), 0));
        let payload = open.message.get(..open.filled).unwrap_or_default();
        let has_said = !payload.is_empty();
        if has_said {
            self.received += 1;
            each(Arrival::Datagram(Datagram {
                source: source.to_canonical(),
                destination: destination.to_canonical(),
                source_port: open.peer.port(),
                destination_port,
                transport: Transport::Tcp,
                payload,
            }));
        }
        if !open.is_over && !open.is_complete() {
            open.reset();
        }
        self.spare.push(open.message);
        usize::from(has_said)
    }
}

impl Capture for TcpCapture {
    fn name(&self) -> &str {
        &self.name
    }

    fn poll_fds<'fd>(&'fd self, fds: &mut Vec<PollFd<'fd>>) {
        let listening = self.bindings.all().map(|bound| bound.socket.as_fd());
        let open = self.connections.iter().map(|open| open.stream.as_fd());
        let all = listening.chain(open);
        fds.extend(all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
    }

    fn follow(&mut self, ports: &BTreeSet<NonZeroU16>) -> Result<(), CaptureError> {
        self.bindings.follow(ports)
    }

    fn retry_in(&self, steady: Duration) -> Option<Duration> {
        let deadlines = self.connections.iter().map(Connection::deadline);
        deadlines.min().map(|at| at.saturating_sub(steady))
    }

    fn next_batch(
        &mut self,
        max: usize,
        steady: Duration,
        each: &mut dyn FnMut(Arrival<'_>),
    ) -> Result<usize, CaptureError> {
        let crowded_out = self
            .accept(max, steady, each)
            .map_err(|cause| CaptureError::Down {
                name: self.name.clone(),
                reason: cause.to_string(),
            })?;
        self.read(steady);
        Ok(crowded_out + self.end_those_that_are_over(steady, each))
    }

    fn frames(&self) -> u64 {
        self.received
    }

    fn dropped(&mut self) -> u64 {
        0
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        let Seen {
            connections,
            silent,
            late,
            crowded_out,
        } = self.seen;
        vec![
            ("connections", connections),
            ("connections_silent", silent),
            ("connections_late", late),
            ("connections_crowded_out", crowded_out),
        ]
    }
}

impl Listening for TcpListener {
    const KIND: &'static str = "tcp";

    fn bind(address: SocketAddr, _buffer_bytes: u32) -> io::Result<Self> {
        let socket = Self::bind(address)?;
        socket.set_nonblocking(true)?;
        // What is accepted inherits it.
        setsockopt(&socket, sockopt::RcvBuf, &KERNEL_BYTES)?;
        Ok(socket)
    }

    fn port(&self) -> io::Result<u16> {
        Ok(self.local_addr()?.port())
    }
}

// === impl Connection ===

impl Connection {
    /// Reads what is there, as far as there is room.
    fn read(&mut self, steady: Duration) {
        while let Some(room) = self
            .message
            .get_mut(self.filled..)
            .filter(|r| !r.is_empty())
        {
            match (&self.stream).read(room) {
                Ok(0) => {
                    self.is_over = true;
                    return;
                }
                Ok(count) => {
                    self.filled += count;
                    self.last = steady;
                }
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => return,
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.is_over = true;
                    return;
                }
            }
        }
    }

    /// Whether all of the message is there, or more than any has.
    fn is_complete(&self) -> bool {
        let message = self.message.get(..self.filled).unwrap_or_default();
        let is_request = message.starts_with(b"GET ");
        self.is_over
            || self.filled == MESSAGE_LEN
            || (is_request && message.windows(4).any(|four| four == b"\r\n\r\n"))
    }

    /// When it ends by itself.
    fn deadline(&self) -> Duration {
        let end = self.since.saturating_add(LASTS_MAX);
        if self.filled == 0 {
            return end;
        }
        end.min(self.last.saturating_add(QUIET))
    }

    /// Has the kernel forget it at once, instead of waiting for the other side.
    fn reset(&self) {
        let at_once = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        let _ = setsockopt(&self.stream, sockopt::Linger, &at_once);
    }
}

/// Whether a connection went away before it was taken.
fn is_over_already(cause: &io::Error) -> bool {
    [ErrorKind::ConnectionAborted, ErrorKind::Interrupted].contains(&cause.kind())
}

fn is_shortage(cause: &io::Error) -> bool {
    let short = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM];
    let code = cause.raw_os_error();
    short.iter().any(|errno| code == Some(*errno as i32))
}

/// What one sender can change at will, left out.
fn network_of(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests;
