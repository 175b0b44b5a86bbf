//! One connection as HTTP/2 sees it: what was read of it already, and what ends it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::transport::server::Connected;

use super::admission::Place;
use super::silence::Heard;
use crate::access::peer::Peer;

/// What every HTTP/2 connection begins with, and the header of the frame after it.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const BEGINNING: usize = PREFACE.len() + 9;
/// Type of the frame that must come first.
const SETTINGS: u8 = 4;
/// How long a stranger's connection lives: there is nothing that a stranger may do for longer.
const STRANGERS_LIFE: Duration = Duration::from_secs(30);
/// How long a connection goes on after the authority of its certificate counts no more: its calls have ended,
/// and so that is heard.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long a peer may take none of what is to be written.
const WRITE_PATIENCE: Duration = Duration::from_secs(20);

/// A connection that has begun to speak HTTP/2.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    /// What was read to see that it speaks, and how much of it HTTP/2 has taken.
    beginning: [u8; BEGINNING],
    taken: usize,
    /// Fires when it is to make room.
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Fires when the authority of its certificate counts no more, once.
    disowned: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// `None` for members.
    life: Option<Pin<Box<Sleep>>>,
    /// While the peer takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Of a host: marked whenever something comes.
    heard: Option<Heard>,
    _place: Place,
}

// === impl Connection ===

impl Connection {
    /// Reads how the connection begins.
    ///
    /// # Errors
    ///
    /// It ends, or what is said is not HTTP/2.
    pub(super) async fn begin(
        mut stream: TlsStream<TcpStream>,
        peer: Peer,
        place: Place,
        heard: Option<Heard>,
    ) -> io::Result<Self> {
        let mut beginning = [0; BEGINNING];
        stream.read_exact(&mut beginning).await?;
        let first_frame = beginning.get(PREFACE.len() + 3);
        if !beginning.starts_with(PREFACE) || first_frame != Some(&SETTINGS) {
            return Err(io::Error::other("it does not speak HTTP/2"));
        }
        place.has_spoken();
        let life = (!place.is_members()).then(|| Box::pin(sleep(STRANGERS_LIFE)));
        let disowned = Some(Box::pin(peer.authority.clone().cancelled_owned()));
        Ok(Self {
            stream,
            peer,
            disowned,
            beginning,
            taken: 0,
            closed: Box::pin(place.closed().cancelled_owned()),
            life,
            stalled: None,
            heard,
            _place: place,
        })
    }

    /// Whether it is a host's, which asks by itself whether the controller is there.
    pub(super) const fn is_hosts(&self) -> bool {
        self.heard.is_some()
    }

    /// Whether it must end, for which its task is woken.
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        let disowned = self.disowned.as_mut();
        if disowned.is_some_and(|it| it.as_mut().poll(context).is_ready()) {
            self.disowned = None;
            self.life = Some(Box::pin(sleep(LAST_WORDS)));
        }
        let life_is_over = |life: &mut Pin<Box<Sleep>>| life.as_mut().poll(context).is_ready();
        self.life.as_mut().is_some_and(life_is_over)
            || self.closed.as_mut().poll(context).is_ready()
    }

    /// Gives up a peer that takes nothing for too long.
    fn patiently<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(WRITE_PATIENCE)));
        ready!(stalled.as_mut().poll(context));
        tracing::debug!(peer = %self.peer.address, "closed: it does not read");
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let early = this.beginning.get(this.taken..).unwrap_or_default();
        if !early.is_empty() {
            let early = early.get(..buffer.remaining()).unwrap_or(early);
            buffer.put_slice(early);
            this.taken += early.len();
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if let Some(heard) = &this.heard {
            if buffer.filled().len() > before {
                heard.mark();
            } else if read.is_pending() && heard.is_given_up(context) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.patiently(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.patiently(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.patiently(context, shut)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.patiently(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
