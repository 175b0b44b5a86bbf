//! The capture domain itself: one thread around the real sources.
//!
//! A source is read only while everything of it was handed over, so that what the gate has no time for
//! stays in the kernel. It ends when the gate does.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use policy::Networks;
use serde::{Deserialize, Serialize};

use super::account::Who;
use super::message::{Ask, Opened, Said, State};
use super::outbox::Outbox;
use super::pace::Pace;
use super::powers::powers;
use super::shape;
use crate::capture::{
    self, Arrival, Capture, CaptureConfig, CaptureError, CaptureSource, SynCaptures, Syns as _,
};
use crate::clock;
use crate::domains::channel::{Channel, ChannelError};
use crate::domains::confine::Kept;
use crate::domains::pulse::Pulse;
use crate::network::{Links, Network};

/// Packets of one source that are read at once.
const BATCH_MAX: usize = 256;
/// For how long what opens nothing waits for more: a flood of it wakes the gate now and then, not with each packet.
const HELD_MAX: Duration = Duration::from_millis(50);
/// How often losses are looked at, and the longest sleep.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the domain is started with.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CaptureStart {
    /// The sources, each with a channel; a last channel is for SYNs.
    pub captures: Vec<CaptureConfig>,
    /// As whom it runs where it may become somebody else.
    pub(crate) who: Option<Who>,
}

/// One source and its channel.
struct Watched {
    source: Source,
    outbox: Outbox,
    told: State,
    waits_for_record: bool,
    /// Whether something is not recorded yet that must be, before more is read.
    is_unrecorded: bool,
    has_begun: bool,
    /// Since when something is held back.
    held_since: Option<Duration>,
    pace: Pace,
}

enum Source {
    Packets(Box<dyn Capture>),
    Syns(SynCaptures),
}

// === impl CaptureStart ===

impl CaptureStart {
    /// With these sources, as the one whom this host has for it.
    #[must_use]
    pub fn of(captures: &[CaptureConfig]) -> Self {
        Self {
            captures: captures.to_vec(),
            who: Who::of_this_host(),
        }
    }

    /// Gives up what these sources do not take.
    pub fn confine(&self) -> Kept {
        let powers = powers(&self.captures, self.who);
        match (self.who, powers.user) {
            (Some(who), Some(_)) => tracing::debug!(user = %who, "packets are read as this user"),
            (Some(_) | None, None) if self.who.is_none() => tracing::warn!(
                "no user is free for what reads packets: it keeps root's number; the package makes {}",
                crate::accounts::OF_CAPTURE
            ),
            (Some(_) | None, Some(_) | None) => {}
        }
        powers.confine()
    }
}

/// Works until the gate has ended.
///
/// # Errors
///
/// [`ChannelError`] when the gate asks for what is nothing, or the kernel does not say what comes.
pub fn serve(
    start: &CaptureStart,
    mut pulse: Pulse,
    channels: Vec<Channel>,
) -> Result<(), ChannelError> {
    let mut watched = open(start, channels);
    let mut network = match Network::follow(Networks::Any) {
        Ok(network) => Some(network),
        Err(cause) => {
            let error = program::one_line(&cause);
            tracing::error!(%error, "cannot follow this host's interfaces");
            None
        }
    };
    let mut look_at = Duration::ZERO;
    // Whether anything but a timer may have woken it.
    let mut may_be_asked = true;
    loop {
        let steady = clock::now().steady;
        let is_time = look_at <= steady;
        if is_time {
            look_at = steady + LOOK_EVERY;
        }
        let mut is_due = false;
        for one in &mut watched {
            match one.turn(steady, is_time, may_be_asked) {
                Ok(again) => is_due |= again,
                Err(cause) => return end(watched, cause),
            }
        }
        // Behind what packets wait for.
        if may_be_asked && let Err(cause) = pulse.answer() {
            return end(watched, cause);
        }
        // What has come up or gone down is told now, and what was asked is done.
        if (may_be_asked && follow_links(&mut network, &mut watched)) || is_due {
            may_be_asked = true;
            continue;
        }
        let others = [
            Some(pulse.as_fd()),
            network.as_ref().map(|network| network.as_fd()),
        ];
        may_be_asked = wait(&watched, &others, look_at, steady).map_err(ChannelError::from)?;
    }
}

/// The end of the gate is the end of the domain. What was handed on to a gate that died before it
/// recorded it is read again at the next start.
fn end(watched: Vec<Watched>, cause: ChannelError) -> Result<(), ChannelError> {
    for one in watched {
        if one.is_unrecorded {
            // Without its last words, which would be that all was recorded.
            std::mem::forget(one);
        }
    }
    match cause {
        ChannelError::Gone => Ok(()),
        ChannelError::Malformed | ChannelError::Silent | ChannelError::Io(_) => Err(cause),
    }
}

/// Opens each source and says what came of it.
fn open(start: &CaptureStart, channels: Vec<Channel>) -> Vec<Watched> {
    let mut channels = channels.into_iter();
    let mut watched = Vec::new();
    for (config, channel) in start.captures.iter().zip(&mut channels) {
        let mut outbox = Outbox::new(channel);
        match capture::open(config) {
            Ok(capture) => {
                let mut one = Watched {
                    source: Source::Packets(capture),
                    outbox,
                    told: State::default(),
                    waits_for_record: matches!(config.source, CaptureSource::File { .. }),
                    is_unrecorded: false,
                    has_begun: false,
                    held_since: None,
                    pace: Pace::default(),
                };
                one.told = one.source.state();
                let opened = Opened {
                    name: one.source.name(),
                    waits_for_record: one.waits_for_record,
                    state: one.told.clone(),
                };
                one.outbox.put_message(&Ok::<_, CaptureError>(opened));
                watched.push(one);
            }
            Err(cause) => {
                outbox.put_message(&Err::<Opened, _>(cause));
                watched.push(Watched::of_syns(SynCaptures::default(), outbox));
            }
        }
    }
    watched.extend(channels.next().map(|channel| {
        let syns = SynCaptures::of(&start.captures);
        Watched::of_syns(syns, Outbox::new(channel))
    }));
    watched
}

/// Whether there was something to follow.
fn follow_links(network: &mut Option<Network>, watched: &mut [Watched]) -> bool {
    let Some(network) = network else {
        return false;
    };
    let has_changed = network.changes().is_ok_and(|changes| changes.links);
    if has_changed {
        for one in watched {
            one.source.links_changed(network.links());
        }
    }
    has_changed
}

/// Whether it was woken by more than a timer.
fn wait(
    watched: &[Watched],
    others: &[Option<BorrowedFd<'_>>],
    look_at: Duration,
    steady: Duration,
) -> Result<bool, Errno> {
    let mut fds = Vec::with_capacity(2 * watched.len() + 1);
    let mut sleep = look_at.saturating_sub(steady);
    for one in watched {
        one.poll_fds(&mut fds, steady);
        let soonest = [
            one.retry_in(steady),
            one.held_in(steady),
            one.pace.rest(steady),
        ];
        sleep = soonest.into_iter().flatten().fold(sleep, Duration::min);
    }
    let others = others.iter().flatten();
    fds.extend(others.map(|fd| PollFd::new(*fd, PollFlags::POLLIN)));
    match ppoll(&mut fds, Some(TimeSpec::from_duration(sleep)), None) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(true),
        Err(errno) => Err(errno),
    }
}

// === impl Watched ===

impl Watched {
    fn of_syns(syns: SynCaptures, outbox: Outbox) -> Self {
        Self {
            source: Source::Syns(syns),
            outbox,
            told: State::default(),
            waits_for_record: false,
            is_unrecorded: false,
            has_begun: true,
            held_since: None,
            pace: Pace::default(),
        }
    }

    /// Whether more of it is to be read.
    fn is_free(&self) -> bool {
        self.has_begun && !self.is_unrecorded && !self.outbox.is_full()
    }

    /// Whether another one is due at once.
    fn turn(
        &mut self,
        steady: Duration,
        is_time: bool,
        may_be_asked: bool,
    ) -> Result<bool, ChannelError> {
        // What is asked comes once, and packets all the time: they do not wait for a look at it.
        if may_be_asked && !self.is_free() {
            self.take_asked()?;
        }
        let is_busy = self.has_begun && !self.is_free();
        let mut is_urgent = self.waits_for_record;
        if !is_busy {
            let max = if self.has_begun { BATCH_MAX } else { 0 };
            let outbox = &mut self.outbox;
            let taken = self.source.next_batch(max, steady, &mut |arrival| {
                is_urgent |= shape::may_open(&arrival);
                outbox.put(&Said::of(arrival));
            });
            match taken {
                Ok(taken) => {
                    self.is_unrecorded = self.waits_for_record && taken > 0;
                    self.pace.took(taken, steady);
                }
                Err(cause) => {
                    self.outbox.put(&Said::Down(cause));
                    is_urgent = true;
                }
            }
        }
        if is_time || self.source.has_changed(&self.told) {
            let state = self.source.state();
            if state != self.told {
                self.outbox.put(&Said::State(state.clone()));
                self.told = state;
                is_urgent = true;
            }
        }
        self.hand_over(is_urgent, steady)?;
        if may_be_asked {
            return self.take_asked();
        }
        Ok(false)
    }

    /// Hands over what is urgent, with all that came before it, and what was held back for long enough.
    fn hand_over(&mut self, is_urgent: bool, steady: Duration) -> Result<(), ChannelError> {
        let has_waited = self.held_in(steady).is_some_and(|left| left.is_zero());
        self.outbox.flush(is_urgent || has_waited)?;
        self.held_since = if self.outbox.holds() {
            self.held_since.or(Some(steady))
        } else {
            None
        };
        Ok(())
    }

    /// How long something may still be held back that is.
    fn held_in(&self, steady: Duration) -> Option<Duration> {
        let since = self.held_since?;
        Some((since + HELD_MAX).saturating_sub(steady))
    }

    /// Whether anything was asked.
    fn take_asked(&mut self) -> Result<bool, ChannelError> {
        let mut is_asked = false;
        while let Some(ask) = self.outbox.asked()? {
            self.take(ask);
            is_asked = true;
        }
        Ok(is_asked)
    }

    fn take(&mut self, ask: Ask) {
        match (ask, &mut self.source) {
            (Ask::Begin, _) => self.has_begun = true,
            (Ask::Recorded, _) => self.is_unrecorded = false,
            (Ask::Follow(ports), Source::Packets(capture)) => {
                if let Err(cause) = capture.follow(&ports) {
                    let (name, error) = (capture.name(), program::one_line(&cause));
                    tracing::error!(
                        name,
                        %error,
                        "cannot listen on every SPA_SERVER_PORT of the policy"
                    );
                }
            }
            (Ask::Look(wanted), Source::Syns(syns)) => syns.follow(wanted),
            // A gate asks for neither.
            (Ask::Follow(_), Source::Syns(_)) | (Ask::Look(_), Source::Packets(_)) => {}
        }
    }

    fn poll_fds<'fd>(&'fd self, fds: &mut Vec<PollFd<'fd>>, steady: Duration) {
        let mut wanted = PollFlags::POLLIN;
        wanted.set(PollFlags::POLLOUT, self.outbox.is_full());
        fds.push(PollFd::new(self.outbox.as_fd(), wanted));
        if self.is_free() && self.pace.rest(steady).is_none() {
            self.source.poll_fds(fds);
        }
    }

    fn retry_in(&self, steady: Duration) -> Option<Duration> {
        let is_down = self.told.down.is_some();
        (self.is_free() || is_down)
            .then(|| self.source.retry_in(steady))
            .flatten()
    }
}

// === impl Source ===

impl Source {
    fn name(&self) -> String {
        match self {
            Self::Packets(capture) => capture.name().to_owned(),
            Self::Syns(_) => "SYNs".to_owned(),
        }
    }

    fn next_batch(
        &mut self,
        max: usize,
        steady: Duration,
        each: &mut dyn FnMut(Arrival<'_>),
    ) -> Result<usize, CaptureError> {
        match self {
            Self::Packets(capture) => capture.next_batch(max, steady, each),
            Self::Syns(syns) => {
                syns.next_batch(steady, each);
                Ok(0)
            }
        }
    }

    /// Whether it is down and was not, or the other way round. Costs nothing.
    fn has_changed(&self, told: &State) -> bool {
        match self {
            Self::Packets(capture) => {
                capture.down() != told.down.as_deref()
                    || capture.link().map(Into::into) != told.link
            }
            Self::Syns(syns) => syns.faults() != told.faults,
        }
    }

    fn state(&mut self) -> State {
        match self {
            Self::Packets(capture) => State {
                down: capture.down().map(str::to_owned),
                may_begin_later: capture.may_begin_later(),
                link: capture.link().map(Into::into),
                dropped: capture.dropped(),
                counts: capture
                    .counts()
                    .into_iter()
                    .map(|(name, count)| (name.to_owned(), count))
                    .collect(),
                faults: Vec::new(),
            },
            Self::Syns(syns) => State {
                faults: syns.faults(),
                ..State::default()
            },
        }
    }

    fn poll_fds<'fd>(&'fd self, fds: &mut Vec<PollFd<'fd>>) {
        match self {
            Self::Packets(capture) => capture.poll_fds(fds),
            Self::Syns(syns) => syns.poll_fds(fds),
        }
    }

    fn retry_in(&self, steady: Duration) -> Option<Duration> {
        match self {
            Self::Packets(capture) => capture.retry_in(steady),
            Self::Syns(syns) => syns.retry_in(steady),
        }
    }

    fn links_changed(&mut self, links: &Links) {
        match self {
            Self::Packets(capture) => capture.links_changed(links),
            Self::Syns(syns) => syns.links_changed(links),
        }
    }
}
