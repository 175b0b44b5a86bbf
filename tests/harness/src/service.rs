//! The listener behind the protected port, and how it looks from outside.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::socket::{self, MsgFlags, SockaddrStorage};

use crate::Result;

/// How long a packet that is not dropped may take to be answered.
const ANSWER: Duration = Duration::from_millis(700);

/// What every connection is greeted with, before the name of the node.
const BANNER: &str = "SSH-2.0-PosternLab_";

/// What a service says that was not asked.
const UNASKED: &[u8] = b"are you there?\n";

/// How a port looks from outside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// The banner arrived.
    Open,
    /// Nothing came back at all: dropped.
    Silent,
    /// The kernel answered that nobody listens.
    Refused,
}

/// A TCP listener that greets and echoes, like an SSH server as far as a firewall is concerned.
#[derive(Debug)]
pub struct TcpService {
    listener: Arc<TcpListener>,
    served: Arc<AtomicUsize>,
    peers: Peers,
}

/// The connections that live, by the client's address.
type Peers = Arc<Mutex<HashMap<SocketAddr, TcpStream>>>;

/// A UDP socket that sends back what it receives.
#[derive(Debug)]
pub struct UdpService {
    socket: Arc<UdpSocket>,
    served: Arc<AtomicUsize>,
}

/// A connection to a [`TcpService`] that a user holds.
#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
    client: SocketAddr,
    server: SocketAddr,
    lines: u32,
}

// === impl TcpService ===

impl TcpService {
    pub(crate) fn new(listener: TcpListener, name: &str) -> Self {
        let listener = Arc::new(listener);
        let served = Arc::new(AtomicUsize::new(0));
        let greeting = format!("{BANNER}{name}\r\n");
        let peers = Peers::default();
        thread::spawn({
            let (listener, served) = (Arc::clone(&listener), Arc::clone(&served));
            let peers = Arc::clone(&peers);
            move || {
                while let Ok((stream, peer)) = listener.accept() {
                    served.fetch_add(1, Ordering::SeqCst);
                    let (greeting, peers) = (greeting.clone(), Arc::clone(&peers));
                    let peer = canonical(peer);
                    if let Ok(stream) = stream.try_clone() {
                        lock(&peers).insert(peer, stream);
                    }
                    thread::spawn(move || {
                        echo(stream, &greeting);
                        lock(&peers).remove(&peer);
                    });
                }
            }
        });
        Self {
            listener,
            served,
            peers,
        }
    }

    /// Lets the service speak first to this client. Whether it could.
    pub fn say_to(&self, client: SocketAddr) -> bool {
        let peers = lock(&self.peers);
        let stream = peers.get(&client);
        stream.is_some_and(|mut stream| stream.write_all(UNASKED).is_ok())
    }

    /// Connections that reached the listener so far.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }
}

impl Drop for TcpService {
    fn drop(&mut self) {
        // A shut down listener makes accept() fail, which ends the thread.
        let _ = socket::shutdown(self.listener.as_raw_fd(), socket::Shutdown::Both);
    }
}

/// A socket for both families names IPv4 clients by mapped addresses.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

fn lock(peers: &Peers) -> MutexGuard<'_, HashMap<SocketAddr, TcpStream>> {
    peers.lock().unwrap_or_else(PoisonError::into_inner)
}

fn echo(mut stream: TcpStream, greeting: &str) {
    if stream.write_all(greeting.as_bytes()).is_err() {
        return;
    }
    let mut buffer = [0; 1024];
    while let Ok(count) = stream.read(&mut buffer) {
        let Some(said) = buffer.get(..count).filter(|said| !said.is_empty()) else {
            return;
        };
        if stream.write_all(said).is_err() {
            return;
        }
    }
}

// === impl UdpService ===

impl UdpService {
    pub(crate) fn new(socket: UdpSocket) -> Self {
        let socket = Arc::new(socket);
        let served = Arc::new(AtomicUsize::new(0));
        thread::spawn({
            let (udp, served) = (Arc::clone(&socket), Arc::clone(&served));
            move || {
                let mut buffer = [0; 2048];
                // Not std's recv_from: that panics when the socket is shut down, because the kernel
                // then names no sender.
                while let Ok((count, Some(from))) =
                    socket::recvfrom::<SockaddrStorage>(udp.as_raw_fd(), &mut buffer)
                {
                    let Some(said) = buffer.get(..count).filter(|said| !said.is_empty()) else {
                        return;
                    };
                    served.fetch_add(1, Ordering::SeqCst);
                    let flags = MsgFlags::empty();
                    let _ = socket::sendto(udp.as_raw_fd(), said, &from, flags);
                }
            }
        });
        Self { socket, served }
    }

    /// Datagrams that reached the socket so far.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }
}

impl Drop for UdpService {
    fn drop(&mut self) {
        let _ = socket::shutdown(self.socket.as_raw_fd(), socket::Shutdown::Both);
    }
}

// === impl Session ===

impl Session {
    pub(crate) fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(3))
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        let mut banner = String::new();
        BufReader::new(&stream).read_line(&mut banner)?;
        if !banner.starts_with(BANNER) {
            bail!("{address} greeted with {banner:?}");
        }
        Ok(Self {
            client: stream.local_addr()?,
            server: address,
            stream,
            lines: 0,
        })
    }

    /// Says a line and hears it back.
    ///
    /// # Errors
    ///
    /// When the connection is dead: nothing comes back within five seconds, or it was reset.
    pub fn talk(&mut self) -> Result<()> {
        self.lines += 1;
        let line = format!("line {}\n", self.lines);
        self.stream.write_all(line.as_bytes())?;
        let mut heard = vec![0; line.len()];
        self.stream
            .read_exact(&mut heard)
            .context("the session does not answer")?;
        if heard != line.as_bytes() {
            bail!("the session answered {:?}", String::from_utf8_lossy(&heard));
        }
        Ok(())
    }

    /// Whether the session is dead: what is said is answered by silence for `patience`, or by a
    /// reset.
    ///
    /// # Errors
    ///
    /// When the socket cannot be set up for the question.
    pub fn is_dead(&mut self, patience: Duration) -> Result<bool> {
        self.stream.set_read_timeout(Some(patience))?;
        let dead = self.talk().is_err();
        self.stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(dead)
    }

    /// Whether what [`TcpService::say_to`] says arrives within `patience`.
    ///
    /// # Errors
    ///
    /// When the socket cannot be set up for the question.
    pub fn hears(&mut self, patience: Duration) -> Result<bool> {
        self.stream.set_read_timeout(Some(patience))?;
        let mut heard = vec![0; UNASKED.len()];
        let hears = self.stream.read_exact(&mut heard).is_ok() && heard == UNASKED;
        self.stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(hears)
    }

    /// This end's address.
    #[must_use]
    pub fn client(&self) -> SocketAddr {
        self.client
    }

    /// The other end's address.
    #[must_use]
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// Closes it from our side.
    pub fn close(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// One look at a TCP port from where the calling thread is.
pub(crate) fn reach_tcp(address: SocketAddr) -> Result<Reach> {
    let stream = match TcpStream::connect_timeout(&address, ANSWER) {
        Ok(stream) => stream,
        Err(error) => return silence(&error).with_context(|| format!("tcp to {address}")),
    };
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    let mut banner = String::new();
    BufReader::new(stream).read_line(&mut banner)?;
    if !banner.starts_with(BANNER) {
        bail!("{address} greeted with {banner:?}");
    }
    Ok(Reach::Open)
}

/// One look at a UDP port from where the calling thread is.
pub(crate) fn reach_udp(socket: &UdpSocket, address: SocketAddr) -> Result<Reach> {
    socket.connect(address)?;
    socket.set_read_timeout(Some(ANSWER))?;
    socket.send(b"ping")?;
    let mut buffer = [0; 16];
    match socket.recv(&mut buffer) {
        Ok(_) => Ok(Reach::Open),
        Err(error) => silence(&error).with_context(|| format!("udp to {address}")),
    }
}

fn silence(error: &io::Error) -> Result<Reach> {
    let kind = error.kind();
    if kind == io::ErrorKind::TimedOut || kind == io::ErrorKind::WouldBlock {
        Ok(Reach::Silent)
    } else if kind == io::ErrorKind::ConnectionRefused {
        Ok(Reach::Refused)
    } else {
        bail!("neither an answer nor silence: {error}")
    }
}
