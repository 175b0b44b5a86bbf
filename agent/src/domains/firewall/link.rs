//! A channel for messages of any length, up to a bound: longer ones than a channel takes travel in parts.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Shutdown, shutdown};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock;
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

/// What is said. Waits for whoever listens, or at most so long.
#[derive(Debug)]
pub(super) struct Outgoing {
    channel: Channel,
    message: Vec<u8>,
    part: Vec<u8>,
    /// Parts of a message whose beginning was taken and these were not in time: they go first.
    rest: VecDeque<Vec<u8>>,
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
            rest: VecDeque::new(),
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
        // Without a limit it is taken.
        let (Sent::Taken | Sent::Full) = self.say(value, None)?;
        Ok(())
    }

    /// Says this, and waits at most so long. What is taken is said whole, if not now then before
    /// whatever is said next; what is not was not begun.
    ///
    /// # Errors
    ///
    /// As [`Self::send`].
    pub(super) fn send_within(
        &mut self,
        value: &impl Serialize,
        limit: Duration,
    ) -> Result<Sent, ChannelError> {
        self.say(value, Some(limit))
    }

    /// Says what is left of what was begun, as far as there is room now.
    ///
    /// # Errors
    ///
    /// When nobody listens any more.
    pub(super) fn go_on(&mut self) -> Result<Sent, ChannelError> {
        self.say_rest(Some(Duration::ZERO))
    }

    fn say(
        &mut self,
        value: &impl Serialize,
        limit: Option<Duration>,
    ) -> Result<Sent, ChannelError> {
        if self.say_rest(limit)? == Sent::Full {
            return Ok(Sent::Full);
        }
        self.message.clear();
        self.message.push(LAST);
        let message = postcard::to_extend(value, std::mem::take(&mut self.message));
        self.message = message.map_err(|_| ChannelError::Malformed)?;
        if self.message.len() <= MESSAGE_MAX {
            return send(&self.channel, &self.message, limit);
        }
        if self.message.len() > LONGEST {
            return Err(ChannelError::Malformed);
        }
        let until = limit.map(|limit| clock::steady() + limit);
        let (_, body) = self.message.split_at(1);
        let mut chunks = body.chunks(MESSAGE_MAX - 1).enumerate().peekable();
        while let Some((at, chunk)) = chunks.next() {
            self.part.clear();
            let is_last = chunks.peek().is_none();
            self.part.push(if is_last { LAST } else { MORE });
            self.part.extend_from_slice(chunk);
            let left = until.map(|until| until.saturating_sub(clock::steady()));
            let is_taken =
                self.rest.is_empty() && send(&self.channel, &self.part, left)? == Sent::Taken;
            match (is_taken, at) {
                (true, _) => {}
                (false, 0) => return Ok(Sent::Full),
                (false, _) => self.rest.push_back(std::mem::take(&mut self.part)),
            }
        }
        self.message.clear();
        self.message.shrink_to(KEPT);
        Ok(Sent::Taken)
    }

    fn say_rest(&mut self, limit: Option<Duration>) -> Result<Sent, ChannelError> {
        while let Some(part) = self.rest.front() {
            if send(&self.channel, part, limit)? == Sent::Full {
                return Ok(Sent::Full);
            }
            self.rest.pop_front();
        }
        Ok(Sent::Taken)
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

/// Waits for room at most so long, and for ever without a limit.
fn send(channel: &Channel, part: &[u8], limit: Option<Duration>) -> Result<Sent, ChannelError> {
    while channel.send_bytes(part)? == Sent::Full {
        match limit {
            None => wait(channel.as_fd(), PollFlags::POLLOUT)?,
            Some(limit) => {
                if !channel.poll(PollFlags::POLLOUT, limit)? {
                    return Ok(Sent::Full);
                }
            }
        }
    }
    Ok(Sent::Taken)
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
            let part = self.channel.await_bytes(None)?;
            if let Some(value) = self.parts.take(part)? {
                return Ok(value);
            }
        }
    }

    /// The next message; waits for it at most so long. What had come of it stays.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Silent`] when it does not come in time; as [`Self::receive`].
    pub(super) fn receive_within<T: DeserializeOwned>(
        &mut self,
        limit: Duration,
    ) -> Result<T, ChannelError> {
        let until = clock::steady() + limit;
        loop {
            let part = self.channel.await_bytes(Some(limit))?;
            if let Some(value) = self.parts.take(part)? {
                return Ok(value);
            }
            if clock::steady() >= until {
                return Err(ChannelError::Silent);
            }
        }
    }

    /// The next message, if all of it has come.
    ///
    /// # Errors
    ///
    /// As [`Self::receive`].
    pub(super) fn receive_now<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ChannelError> {
        while let Some(part) = self.channel.receive_bytes()? {
            if let Some(value) = self.parts.take(part)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
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
    fn whoever_does_not_listen_is_waited_for_so_long_and_hears_all_of_it_later() {
        let (mut one, mut other) = links();
        let long: Vec<u32> = (0..300_000).collect();
        let soon = Duration::from_millis(20);

        assert_eq!(one.outgoing.send_within(&long, soon).unwrap(), Sent::Taken);
        let second = one.outgoing.send_within(&vec![2_u32], soon).unwrap();
        assert_eq!(second, Sent::Full, "the first has not been said whole");
        let none = other.incoming.receive_within::<Vec<u32>>(soon);
        assert!(matches!(none, Err(ChannelError::Silent)), "{none:?}");

        let heard = loop {
            let _ = one.outgoing.go_on().unwrap();
            match other.incoming.receive_now::<Vec<u32>>().unwrap() {
                Some(heard) => break heard,
                None => thread::yield_now(),
            }
        };
        assert_eq!(heard, long);
        let second = one.outgoing.send_within(&vec![2_u32], soon).unwrap();
        assert_eq!(second, Sent::Taken);
        assert_eq!(other.incoming.receive::<Vec<u32>>().unwrap(), [2]);
    }

    #[test]
    fn hanging_up_wakes_whoever_waits() {
        let (mut one, other) = links();
        let waiting = thread::spawn(move || one.incoming.receive::<u8>());

        other.outgoing.hang_up();

        assert!(matches!(waiting.join().unwrap(), Err(ChannelError::Gone)));
    }
}
