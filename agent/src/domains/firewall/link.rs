//! A channel for messages of any length, up to a bound: longer ones than a channel takes travel in parts.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Shutdown, shutdown};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::domains::channel::{Channel, ChannelError, MESSAGE_MAX, Sent, decode};

/// The longest message in bytes: all connections that the engine remembers fit, and nobody makes us
/// hold more.
pub(super) const LONGEST: usize = 32 << 20;
/// Room that is kept for the next message, in bytes.
const KEPT: usize = 1 << 20;
/// In front of the last part of a message, and of the others.
const LAST: u8 = 0;
const MORE: u8 = 1;

/// Both directions of one end.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) outgoing: Outgoing,
    pub(super) incoming: Incoming,
}

/// What is said. Waits for whoever listens.
#[derive(Debug)]
pub(super) struct Outgoing {
    channel: Channel,
    message: Vec<u8>,
    part: Vec<u8>,
}

/// What is heard.
#[derive(Debug)]
pub(super) struct Incoming {
    channel: Channel,
    parts: Parts,
}

/// The beginning of a message whose end has not come.
#[derive(Debug, Default)]
pub(crate) struct Parts(Vec<u8>);

// === impl Link ===

impl Link {
    /// # Errors
    ///
    /// When the kernel gives no second descriptor.
    pub(super) fn of(channel: Channel) -> io::Result<Self> {
        Ok(Self {
            outgoing: Outgoing::on(Channel::of(channel.as_fd().try_clone_to_owned()?)?),
            incoming: Incoming {
                channel,
                parts: Parts::default(),
            },
        })
    }
}

// === impl Outgoing ===

impl Outgoing {
    fn on(channel: Channel) -> Self {
        Self {
            channel,
            message: Vec::new(),
            part: Vec::new(),
        }
    }

    /// Another of the same end, to hang up by.
    ///
    /// # Errors
    ///
    /// When the kernel gives no second descriptor.
    pub(super) fn second(&self) -> io::Result<Self> {
        Ok(Self::on(Channel::of(
            self.channel.as_fd().try_clone_to_owned()?,
        )?))
    }

    /// Says this, and returns when all of it is under way.
    ///
    /// # Errors
    ///
    /// When nobody listens any more, or it is longer than any message may be.
    pub(super) fn send(&mut self, value: &impl Serialize) -> Result<(), ChannelError> {
        self.message.clear();
        self.message.push(LAST);
        let message = postcard::to_extend(value, std::mem::take(&mut self.message));
        self.message = message.map_err(|_| ChannelError::Malformed)?;
        if self.message.len() <= MESSAGE_MAX {
            return send(&self.channel, &self.message);
        }
        if self.message.len() > LONGEST {
            return Err(ChannelError::Malformed);
        }
        let (_, body) = self.message.split_at(1);
        let mut chunks = body.chunks(MESSAGE_MAX - 1).peekable();
        while let Some(chunk) = chunks.next() {
            self.part.clear();
            let is_last = chunks.peek().is_none();
            self.part.push(if is_last { LAST } else { MORE });
            self.part.extend_from_slice(chunk);
            send(&self.channel, &self.part)?;
        }
        self.message.clear();
        self.message.shrink_to(KEPT);
        Ok(())
    }

    /// Nothing more is said on this channel, and nothing heard: whoever waits for it wakes up.
    pub(super) fn hang_up(&self) {
        hang_up(&self.channel);
    }
}

fn hang_up(channel: &Channel) {
    // Fails where the other side has gone.
    let _ = shutdown(channel.as_fd().as_raw_fd(), Shutdown::Both);
}

fn send(channel: &Channel, part: &[u8]) -> Result<(), ChannelError> {
    while channel.send_bytes(part)? == Sent::Full {
        wait(channel.as_fd(), PollFlags::POLLOUT)?;
    }
    Ok(())
}

// === impl Incoming ===

impl Incoming {
    /// The next message; waits for it.
    ///
    /// # Errors
    ///
    /// When nothing more comes, or it is no such message.
    pub(super) fn receive<T: DeserializeOwned>(&mut self) -> Result<T, ChannelError> {
        loop {
            wait(self.channel.as_fd(), PollFlags::POLLIN)?;
            if let Some(part) = self.channel.receive_bytes()?
                && let Some(value) = self.parts.take(part)?
            {
                return Ok(value);
            }
        }
    }

    /// As [`Outgoing::hang_up`].
    pub(super) fn hang_up(&self) {
        hang_up(&self.channel);
    }
}

// === impl Parts ===

impl Parts {
    /// Takes one part, whoever made it; a value, when it was the last.
    ///
    /// # Errors
    ///
    /// When it is no part, the message is longer than any may be, or no such value.
    pub(crate) fn take<T: DeserializeOwned>(
        &mut self,
        part: &[u8],
    ) -> Result<Option<T>, ChannelError> {
        let (kind, body) = part.split_first().ok_or(ChannelError::Malformed)?;
        match *kind {
            LAST if self.0.is_empty() => decode(body).map(Some),
            LAST | MORE if self.0.len() + body.len() > LONGEST => Err(ChannelError::Malformed),
            LAST => {
                self.0.extend_from_slice(body);
                let value = decode(&self.0);
                self.0.clear();
                self.0.shrink_to(KEPT);
                value.map(Some)
            }
            MORE => {
                self.0.extend_from_slice(body);
                Ok(None)
            }
            _ => Err(ChannelError::Malformed),
        }
    }
}

fn wait(fd: BorrowedFd<'_>, wanted: PollFlags) -> Result<(), ChannelError> {
    let mut fds = [PollFd::new(fd, wanted)];
    match poll(&mut fds, PollTimeout::NONE) {
        // A signal is as good as an event: the caller looks.
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn links() -> (Link, Link) {
        let (one, other) = Channel::pair().unwrap();
        (Link::of(one).unwrap(), Link::of(other).unwrap())
    }

    #[test]
    fn a_message_longer_than_a_channel_takes_arrives_whole_between_short_ones() {
        let (one, mut other) = links();
        let long: Vec<u32> = (0..300_000).collect();
        let said = long.clone();

        let speaker = thread::spawn(move || {
            // All of it, so that its end is heard.
            let mut one = one;
            one.outgoing.send(&vec![1_u32]).unwrap();
            one.outgoing.send(&said).unwrap();
            one.outgoing.send(&vec![2_u32]).unwrap();
        });

        assert_eq!(other.incoming.receive::<Vec<u32>>().unwrap(), [1]);
        assert_eq!(other.incoming.receive::<Vec<u32>>().unwrap(), long);
        assert_eq!(other.incoming.receive::<Vec<u32>>().unwrap(), [2]);
        speaker.join().unwrap();
        assert!(matches!(
            other.incoming.receive::<Vec<u32>>(),
            Err(ChannelError::Gone)
        ));
    }

    #[test]
    fn nobody_makes_the_other_side_hold_more_than_the_longest_message() {
        let mut parts = Parts::default();
        let mut part = vec![7; MESSAGE_MAX];
        part[0] = MORE;
        let mut taken = 0;

        while parts.take::<Vec<u8>>(&part).is_ok() {
            taken += 1;
        }

        assert_eq!(taken, LONGEST / (MESSAGE_MAX - 1));
        assert!(parts.0.capacity() <= 2 * LONGEST);
        let (mut one, _other) = links();
        let sent = one.outgoing.send(&"7".repeat(LONGEST + 1));
        assert!(matches!(sent, Err(ChannelError::Malformed)));
    }

    #[test]
    fn hanging_up_wakes_whoever_waits() {
        let (mut one, other) = links();
        let waiting = thread::spawn(move || one.incoming.receive::<u8>());

        other.outgoing.hang_up();

        assert!(matches!(waiting.join().unwrap(), Err(ChannelError::Gone)));
    }
}
