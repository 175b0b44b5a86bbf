//! Messages between two processes of the agent.
//!
//! A pair of sockets of the kind SEQPACKET: messages keep their bounds, none is lost or comes twice, and
//! the end of the other side is heard. The other side may be in a stranger's hands: whatever its bytes
//! are, reading them ends in a value or in a [`ChannelError`].

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, getsockopt, recv, send, setsockopt, socketpair,
    sockopt,
};
use nix::sys::time::TimeVal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The longest message in bytes: a few dozen frames, or a policy's worth of rules.
pub const MESSAGE_MAX: usize = 64 * 1024;

/// The kernel waits for no shorter.
const SHORTEST: Duration = Duration::from_millis(1);

/// One end.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    /// Room for what is received.
    incoming: Box<[u8]>,
    /// For how long the kernel waits for a message; for ever at first.
    patience: Option<Duration>,
}

/// Whether a message was taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "a full channel takes nothing"]
pub enum Sent {
    /// The other side will read it.
    Taken,
    /// The other side has not read enough of what came before.
    Full,
}

/// Why nothing more is to be had of the other side.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// It has ended.
    #[error("the other process has ended")]
    Gone,
    /// Its bytes are no message, or a message is too long.
    #[error("the other process sent what is no message")]
    Malformed,
    /// It does not answer.
    #[error("the other process does not answer")]
    Silent,
    /// The kernel gives no socket.
    #[error("cannot talk to the other process")]
    Io(#[source] io::Error),
}

// === impl Channel ===

impl Channel {
    /// Two ends. Both are closed when another program is started.
    ///
    /// # Errors
    ///
    /// When the kernel gives no sockets.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        Ok((Self::new(one), Self::new(other)))
    }

    /// The end that a process was started with.
    ///
    /// # Errors
    ///
    /// When it is no such socket.
    pub fn of(socket: OwnedFd) -> io::Result<Self> {
        if getsockopt(&socket, sockopt::SockType)? == SockType::SeqPacket {
            Ok(Self::new(socket))
        } else {
            Err(io::ErrorKind::InvalidInput.into())
        }
    }

    /// The same end once more, for another thread.
    ///
    /// # Errors
    ///
    /// When the system gives no descriptor.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self::new(self.socket.try_clone()?))
    }

    fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            incoming: vec![0; MESSAGE_MAX].into_boxed_slice(),
            patience: None,
        }
    }

    /// Sends bytes as one message, if there is room. Never waits.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Gone`], and [`ChannelError::Malformed`] for a message that is empty or too
    /// long.
    pub fn send_bytes(&self, message: &[u8]) -> Result<Sent, ChannelError> {
        if message.is_empty() || message.len() > MESSAGE_MAX {
            return Err(ChannelError::Malformed);
        }
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        loop {
            match send(self.socket.as_raw_fd(), message, flags) {
                Ok(_) => return Ok(Sent::Taken),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN | Errno::ENOBUFS) => return Ok(Sent::Full),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Sends a value as one message, and waits for room at most so long.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Silent`] when there is no room in time; as [`Self::send_bytes`].
    pub fn send(&self, value: &impl Serialize, limit: Duration) -> Result<(), ChannelError> {
        let message = encode(value)?;
        while self.send_bytes(&message)? == Sent::Full {
            if !self.poll(PollFlags::POLLOUT, limit)? {
                return Err(ChannelError::Silent);
            }
        }
        Ok(())
    }

    /// The next message, if there is one. Never waits.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Gone`], and [`ChannelError::Malformed`] for a message that is too long.
    pub fn receive_bytes(&mut self) -> Result<Option<&[u8]>, ChannelError> {
        // The length is told of all of it, of which the room holds a part.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        loop {
            match recv(self.socket.as_raw_fd(), &mut self.incoming, flags) {
                Ok(0) => return Err(ChannelError::Gone),
                Ok(length) => {
                    let message = self.incoming.get(..length);
                    return message.map(Some).ok_or(ChannelError::Malformed);
                }
                // The other side has ended with something unread, which is told once and before what it has
                // said: that still counts.
                Err(Errno::EINTR | Errno::ECONNRESET) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// The next message; waits for it, for ever or at most so long, in the one call that takes it.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Silent`] when none comes in time; as [`Self::receive_bytes`].
    pub fn await_bytes(&mut self, limit: Option<Duration>) -> Result<&[u8], ChannelError> {
        if self.patience != limit {
            // To the kernel none is for ever.
            let wait = limit.map_or(Duration::ZERO, |limit| limit.max(SHORTEST));
            let wait = TimeVal::new(
                wait.as_secs().try_into().unwrap_or(i64::MAX),
                wait.subsec_micros().into(),
            );
            setsockopt(&self.socket, sockopt::ReceiveTimeout, &wait)?;
            self.patience = limit;
        }
        loop {
            match recv(
                self.socket.as_raw_fd(),
                &mut self.incoming,
                MsgFlags::MSG_TRUNC,
            ) {
                Ok(0) => return Err(ChannelError::Gone),
                Ok(length) => {
                    let message = self.incoming.get(..length);
                    return message.ok_or(ChannelError::Malformed);
                }
                // As below.
                Err(Errno::EINTR | Errno::ECONNRESET) => {}
                Err(Errno::EAGAIN) => return Err(ChannelError::Silent),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// The next message as a value; waits at most so long.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Silent`] when none comes in time, [`ChannelError::Malformed`] when it is no
    /// such value; as [`Self::receive_bytes`].
    pub fn receive<'a, T: Deserialize<'a>>(
        &'a mut self,
        limit: Duration,
    ) -> Result<T, ChannelError> {
        if !self.poll(PollFlags::POLLIN, limit)? {
            return Err(ChannelError::Silent);
        }
        match self.receive_bytes()? {
            Some(message) => decode(message),
            None => Err(ChannelError::Silent),
        }
    }

    /// The next message as a value, whenever it comes.
    ///
    /// # Errors
    ///
    /// As [`Self::receive`], but for silence.
    pub fn receive_next<T: DeserializeOwned>(&mut self) -> Result<T, ChannelError> {
        loop {
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            // A signal is no message; the loop looks again.
            let _ = poll(&mut fds, PollTimeout::NONE);
            if let Some(message) = self.receive_bytes()? {
                return decode(message);
            }
        }
    }

    /// Whether it is ready within `limit`.
    pub(super) fn poll(&self, wanted: PollFlags, limit: Duration) -> Result<bool, ChannelError> {
        let millis = u16::try_from(limit.as_millis()).unwrap_or(u16::MAX);
        let mut fds = [PollFd::new(self.socket.as_fd(), wanted)];
        loop {
            match poll(&mut fds, PollTimeout::from(millis)) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<Errno> for ChannelError {
    fn from(errno: Errno) -> Self {
        if [Errno::EPIPE, Errno::ECONNRESET, Errno::ENOTCONN].contains(&errno) {
            Self::Gone
        } else if errno == Errno::EMSGSIZE {
            Self::Malformed
        } else {
            Self::Io(errno.into())
        }
    }
}

/// A value as the bytes of a message.
///
/// # Errors
///
/// [`ChannelError::Malformed`] when it is too long for one.
pub fn encode(value: &impl Serialize) -> Result<Vec<u8>, ChannelError> {
    let message = postcard::to_stdvec(value).map_err(|_| ChannelError::Malformed)?;
    if message.len() > MESSAGE_MAX {
        return Err(ChannelError::Malformed);
    }
    Ok(message)
}

/// The value that the bytes of a message are, all of them.
///
/// # Errors
///
/// [`ChannelError::Malformed`] when they are none.
pub fn decode<'a, T: Deserialize<'a>>(message: &'a [u8]) -> Result<T, ChannelError> {
    match postcard::take_from_bytes(message) {
        Ok((value, [])) => Ok(value),
        Ok(_) | Err(_) => Err(ChannelError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn what_goes_in_comes_out_in_its_order_and_with_its_bounds() {
        let (one, mut other) = Channel::pair().unwrap();

        one.send(&("first", 1_u32), SOON).unwrap();
        one.send(&("second", 2_u32), SOON).unwrap();

        assert_eq!(other.receive::<(&str, u32)>(SOON).unwrap(), ("first", 1));
        assert_eq!(other.receive::<(&str, u32)>(SOON).unwrap(), ("second", 2));
        assert!(other.receive_bytes().unwrap().is_none());
    }

    #[test]
    fn a_full_channel_takes_nothing_and_loses_nothing() {
        let (one, mut other) = Channel::pair().unwrap();
        let message = vec![7; MESSAGE_MAX];
        let mut taken = 0;
        while one.send_bytes(&message).unwrap() == Sent::Taken {
            taken += 1;
            assert!(taken < 1_000, "it has bounds");
        }

        let refused = one.send(&1_u8, Duration::ZERO);

        assert!(matches!(refused, Err(ChannelError::Silent)), "{refused:?}");
        assert!(taken > 0);
        for _ in 0..taken {
            assert_eq!(other.receive_bytes().unwrap(), Some(&*message));
        }
        assert_eq!(one.send_bytes(&message).unwrap(), Sent::Taken);
    }

    #[test]
    fn the_end_of_the_other_side_is_heard_after_what_it_has_said() {
        let (one, mut other) = Channel::pair().unwrap();
        one.send(&1_u8, SOON).unwrap();
        drop(one);

        assert_eq!(other.receive::<u8>(SOON).unwrap(), 1);
        assert!(matches!(other.receive_bytes(), Err(ChannelError::Gone)));
        assert!(matches!(other.send_bytes(&[1]), Err(ChannelError::Gone)));

        // Also where it has not read all that it was told.
        let (one, mut other) = Channel::pair().unwrap();
        other.send(&2_u8, SOON).unwrap();
        one.send(&1_u8, SOON).unwrap();
        drop(one);

        assert_eq!(other.receive::<u8>(SOON).unwrap(), 1);
        assert!(matches!(other.receive_bytes(), Err(ChannelError::Gone)));
    }

    #[test]
    fn a_message_longer_than_any_may_be_is_refused_on_both_sides() {
        let (one, mut other) = Channel::pair().unwrap();
        let long = vec![7; MESSAGE_MAX + 1];

        assert!(matches!(
            one.send_bytes(&long),
            Err(ChannelError::Malformed)
        ));
        // As one would send it that is in other hands.
        let flags = MsgFlags::MSG_DONTWAIT;
        send(one.as_fd().as_raw_fd(), &long, flags).unwrap();
        one.send(&1_u8, SOON).unwrap();

        assert!(matches!(
            other.receive_bytes(),
            Err(ChannelError::Malformed)
        ));
        assert_eq!(
            other.receive::<u8>(SOON).unwrap(),
            1,
            "what follows is read"
        );
    }

    #[test]
    fn a_message_is_waited_for_as_long_as_is_said_and_no_longer() {
        let (one, mut other) = Channel::pair().unwrap();

        for limit in [Duration::ZERO, Duration::from_millis(20)] {
            let silent = other.await_bytes(Some(limit));
            assert!(matches!(silent, Err(ChannelError::Silent)), "{silent:?}");
        }
        let speaker = std::thread::spawn(move || {
            one.send(&1_u8, SOON).unwrap();
            one.send(&2_u8, SOON).unwrap();
        });
        assert_eq!(other.await_bytes(Some(SOON)).unwrap(), [1]);
        assert_eq!(other.await_bytes(None).unwrap(), [2]);
        speaker.join().unwrap();
        assert!(matches!(other.await_bytes(None), Err(ChannelError::Gone)));
    }

    #[test]
    fn another_kind_of_socket_is_no_channel() {
        let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();

        assert!(Channel::of(stream.into()).is_err());
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_they_are_a_value_or_none(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            type Nested = Option<Vec<(String, Result<u64, Vec<u32>>)>>;

            if let Ok(value) = decode::<Nested>(&bytes) {
                let again = encode(&value).unwrap();
                prop_assert_eq!(decode::<Nested>(&again).unwrap(), value);
            }
        }
    }
}
