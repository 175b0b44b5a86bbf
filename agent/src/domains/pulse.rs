//! Whether the processes of the agent still do their work: each is asked now and then, and what answers
//! is the loop that does the work, never a thread beside it.
//!
//! | who | is asked by | how |
//! |---|---|---|
//! | capture, command | the supervisor | a byte over its channel, and one back |
//! | gate | the supervisor | it says by itself that it goes on (`Wish::Alive`) |
//! | firewall | the gate | a request of its own (`Request::Beat`) |
//! | the firewall's threads | the supervisor, whose process they are in | [`Work`](crate::work::Work) |
//!
//! What does not answer is named in the log and in the status, and as long as one is silent systemd hears
//! nothing and starts the agent anew (WatchdogSec).

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::channel::{Channel, ChannelError, Sent};

/// How often each is asked.
pub const EVERY: Duration = Duration::from_secs(2);
/// After so many questions' time without an answer it is said to be silent.
pub const MISSED_MAX: u32 = 5;
/// The same of one that has just been started.
const MISSED_AT_START_MAX: u32 = 30;

const WORD: &[u8] = &[1];

/// How one has answered. Pure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Beat {
    is_asked: bool,
    missed: u32,
    max: u32,
}

/// The end of a process that is asked.
#[derive(Debug)]
pub struct Pulse(Channel);

/// The other end.
#[derive(Debug)]
pub struct Asking {
    channel: Channel,
    beat: Beat,
}

// === impl Beat ===

impl Beat {
    /// Of one that has answered before.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            is_asked: false,
            missed: 0,
            max: MISSED_MAX,
        }
    }

    /// Of one that was just started, and may take longer once.
    #[must_use]
    pub const fn starting() -> Self {
        Self {
            max: MISSED_AT_START_MAX,
            ..Self::new()
        }
    }

    /// It has answered.
    pub fn answered(&mut self) {
        *self = Self::new();
    }

    /// It is time to ask again. `true` if it is to be asked: not while it owes an answer.
    pub fn is_due(&mut self) -> bool {
        if self.is_asked {
            self.missed = self.missed.saturating_add(1);
            return false;
        }
        self.is_asked = true;
        true
    }

    /// Whether it owes an answer for too long.
    #[must_use]
    pub const fn is_silent(&self) -> bool {
        self.missed >= self.max
    }
}

impl Default for Beat {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Pulse ===

impl Pulse {
    /// To who asks.
    #[must_use]
    pub const fn new(channel: Channel) -> Self {
        Self(channel)
    }

    /// Answers what was asked. To be called by the loop that does the work.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Gone`] when nobody asks any more.
    pub fn answer(&mut self) -> Result<(), ChannelError> {
        while self.0.receive_bytes()?.is_some() {
            // Who asks has one question on the way at most.
            let (Sent::Taken | Sent::Full) = self.0.send_bytes(WORD)?;
        }
        Ok(())
    }
}

impl AsFd for Pulse {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

// === impl Asking ===

impl Asking {
    /// Of a process that was just started.
    #[must_use]
    pub const fn new(channel: Channel) -> Self {
        Self {
            channel,
            beat: Beat::starting(),
        }
    }

    /// Takes an answer, asks again; returns whether it is silent. One that has ended is not: who waits
    /// for its end says that.
    pub fn is_silent(&mut self) -> bool {
        while let Ok(Some(_)) = self.channel.receive_bytes() {
            self.beat.answered();
        }
        if self.beat.is_due() {
            let _ = self.channel.send_bytes(WORD);
        }
        self.beat.is_silent()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answers_is_well_and_who_does_not_is_silent_until_he_does() {
        let (supervisor, process) = Channel::pair().unwrap();
        let (mut asking, mut pulse) = (Asking::new(supervisor), Pulse::new(process));
        for _ in 0..100 {
            assert!(!asking.is_silent());
            pulse.answer().unwrap();
        }

        // The answer to the last question comes at the first look.
        let silent: Vec<bool> = (0..=MISSED_MAX + 1).map(|_| asking.is_silent()).collect();
        let first = silent.iter().position(|is| *is);
        assert_eq!(first, Some(MISSED_MAX as usize), "{silent:?}");
        pulse.answer().unwrap();
        assert!(!asking.is_silent());
    }

    #[test]
    fn one_that_has_just_been_started_may_take_longer_once() {
        let mut beat = Beat::starting();
        for _ in 0..=MISSED_MAX {
            beat.is_due();
        }
        assert!(!beat.is_silent());
        beat.answered();
        for _ in 0..=MISSED_MAX {
            beat.is_due();
        }
        assert!(beat.is_silent());
    }

    #[test]
    fn who_is_asked_by_nobody_any_more_hears_that() {
        let (supervisor, process) = Channel::pair().unwrap();
        drop(supervisor);

        assert!(matches!(
            Pulse::new(process).answer(),
            Err(ChannelError::Gone)
        ));
    }
}
