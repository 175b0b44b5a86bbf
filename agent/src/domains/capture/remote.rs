//! The gate's side of the capture domain: each source as if it were here.
//!
//! What comes is believed to be packets and nothing more; who sends what is no message is heard no
//! further.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::os::fd::AsFd as _;
use std::time::Duration;

use gate::LinkType;
use nix::poll::{PollFd, PollFlags};

use super::message::{Ask, Opened, Said, State, each};
use crate::capture::{Arrival, COUNTS, Capture, CaptureError, Syns, Wanted};
use crate::domains::channel::{Channel, ChannelError};
use crate::network::Links;

/// How long opening the sources may take.
const OPENING: Duration = Duration::from_secs(20);
/// How long the domain may take to read what it is asked.
const PATIENCE: Duration = Duration::from_secs(1);
/// Of a second look at once.
const SYNS_MAX: usize = 2048;

/// One source, in the capture domain.
#[derive(Debug)]
pub struct RemoteCapture {
    opened: Opened,
    heard: Heard,
    has_begun: bool,
    /// What was handed on.
    frames: u64,
    /// Whether some of that may not be recorded yet.
    is_unrecorded: bool,
}

/// What shows SYNs, in the capture domain.
#[derive(Debug)]
pub struct RemoteSyns {
    heard: Heard,
    wanted: Wanted,
    state: State,
}

/// A channel, until it says what is no message.
#[derive(Debug)]
struct Heard {
    channel: Channel,
    gone: Option<String>,
}

// === impl RemoteCapture ===

impl RemoteCapture {
    /// Waits until the source is open over there.
    ///
    /// # Errors
    ///
    /// [`CaptureError`] as of [`capture::open`](crate::capture::open), or when the domain does not
    /// answer.
    pub fn open(mut channel: Channel) -> Result<Self, CaptureError> {
        let answer = channel.receive::<Result<Opened, CaptureError>>(OPENING);
        let opened = answer.map_err(|cause| CaptureError::Down {
            name: "the capture domain".to_owned(),
            reason: cause.to_string(),
        })??;
        Ok(Self {
            opened,
            heard: Heard {
                channel,
                gone: None,
            },
            has_begun: false,
            frames: 0,
            is_unrecorded: false,
        })
    }

    /// Ends without its last words, as when it is killed.
    #[cfg(test)]
    pub(super) fn lose(&mut self) {
        self.is_unrecorded = false;
    }

    fn down_error(&self, cause: &ChannelError) -> CaptureError {
        CaptureError::Down {
            name: self.opened.name.clone(),
            reason: cause.to_string(),
        }
    }
}

impl Capture for RemoteCapture {
    fn name(&self) -> &str {
        &self.opened.name
    }

    fn poll_fds<'fd>(&'fd self, fds: &mut Vec<PollFd<'fd>>) {
        self.heard.poll_fds(fds);
    }

    fn follow(&mut self, ports: &BTreeSet<NonZeroU16>) -> Result<(), CaptureError> {
        // What cannot be had of it is said over there.
        let asked = self.heard.ask(&Ask::Follow(ports.clone()));
        asked.map_err(|cause| self.down_error(&cause))
    }

    fn retry_in(&self, _steady: Duration) -> Option<Duration> {
        let waits = self.is_unrecorded && self.opened.waits_for_record;
        waits.then_some(Duration::ZERO)
    }

    fn next_batch(
        &mut self,
        max: usize,
        _steady: Duration,
        each: &mut dyn FnMut(Arrival<'_>),
    ) -> Result<usize, CaptureError> {
        if max > 0 && !self.has_begun {
            self.has_begun = self.heard.ask(&Ask::Begin).is_ok();
        }
        if std::mem::take(&mut self.is_unrecorded) && self.opened.waits_for_record {
            let _ = self.heard.ask(&Ask::Recorded);
        }
        let (state, has_begun) = (&mut self.opened.state, self.has_begun);
        let (mut taken, mut down) = (0, None);
        let heard = self.heard.each(max, &mut |said| {
            match said.arrival()? {
                Some(arrival) if has_begun => {
                    taken += 1;
                    each(arrival);
                }
                Some(_) => {}
                None => down = note(said, state).or_else(|| down.take()),
            }
            Ok(taken)
        });
        self.frames += taken as u64;
        self.is_unrecorded = taken > 0;
        match (heard, down) {
            (Ok(()), None) => Ok(taken),
            (Ok(()), Some(down)) => Err(down),
            (Err(cause), _) => Err(self.down_error(&cause)),
        }
    }

    fn down(&self) -> Option<&str> {
        let gone = self.heard.gone.as_deref();
        gone.or(self.opened.state.down.as_deref())
    }

    fn may_begin_later(&self) -> bool {
        self.opened.state.may_begin_later
    }

    fn link(&self) -> Option<LinkType> {
        self.opened.state.link?.named().ok()
    }

    fn frames(&self) -> u64 {
        self.frames
    }

    fn dropped(&mut self) -> u64 {
        self.opened.state.dropped
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        let told = self.opened.state.counts.iter();
        let known = told.filter_map(|(name, count)| {
            let known = COUNTS.into_iter().find(|known| known == name)?;
            Some((known, *count))
        });
        known.collect()
    }
}

impl Drop for RemoteCapture {
    /// Goes when everything is recorded that ever will be.
    fn drop(&mut self) {
        if self.is_unrecorded && self.opened.waits_for_record {
            let _ = self.heard.ask(&Ask::Recorded);
        }
    }
}

// === impl RemoteSyns ===

impl RemoteSyns {
    /// Looks for nothing yet.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self {
            heard: Heard {
                channel,
                gone: None,
            },
            wanted: Wanted::default(),
            state: State::default(),
        }
    }
}

impl Syns for RemoteSyns {
    fn follow(&mut self, wanted: Wanted) {
        if std::mem::replace(&mut self.wanted, wanted) != wanted {
            self.state.faults.clear();
            let _ = self.heard.ask(&Ask::Look(wanted));
        }
    }

    fn faults(&self) -> Vec<String> {
        let gone = self.heard.gone.iter().cloned();
        gone.chain(self.state.faults.iter().cloned()).collect()
    }

    fn next_batch(&mut self, _steady: Duration, each: &mut dyn FnMut(Arrival<'_>)) {
        if self.heard.gone.is_some() {
            return;
        }
        let is_wanted = self.wanted != Wanted::default();
        let (state, mut taken) = (&mut self.state, 0);
        let heard = self.heard.each(SYNS_MAX, &mut |said| {
            match said.arrival()? {
                Some(arrival) if is_wanted => {
                    taken += 1;
                    each(arrival);
                }
                Some(_) => taken += 1,
                // What went down was said over there.
                None => drop(note(said, state)),
            }
            Ok(taken)
        });
        if let Err(cause) = heard {
            let error = program::one_line(&cause);
            tracing::error!(%error, "neither SYNs nor knock sequences are seen any more");
        }
    }

    fn poll_fds<'fd>(&'fd self, fds: &mut Vec<PollFd<'fd>>) {
        self.heard.poll_fds(fds);
    }

    fn retry_in(&self, _steady: Duration) -> Option<Duration> {
        None
    }

    fn links_changed(&mut self, _links: &Links) {}
}

// === impl Heard ===

impl Heard {
    fn ask(&self, ask: &Ask) -> Result<(), ChannelError> {
        self.channel.send(ask, PATIENCE)
    }

    /// Readable until it is gone: nothing more comes then.
    fn poll_fds<'fd>(&'fd self, fds: &mut Vec<PollFd<'fd>>) {
        if self.gone.is_none() {
            fds.push(PollFd::new(self.channel.as_fd(), PollFlags::POLLIN));
        }
    }

    /// Hands on what has come, until `told` has counted so much, or all there is for 0.
    ///
    /// # Errors
    ///
    /// [`ChannelError`], once.
    fn each(
        &mut self,
        max: usize,
        told: &mut dyn FnMut(Said<'_>) -> Result<usize, ChannelError>,
    ) -> Result<(), ChannelError> {
        if self.gone.is_some() {
            return Ok(());
        }
        let mut taken = 0;
        let mut read = || -> Result<(), ChannelError> {
            while taken < max.max(1) {
                let Some(message) = self.channel.receive_bytes()? else {
                    return Ok(());
                };
                let mut is_wrong = None;
                each(message, &mut |said| match told(said) {
                    Ok(count) => taken = count,
                    Err(cause) => is_wrong = Some(cause),
                })?;
                is_wrong.map_or(Ok(()), Err)?;
            }
            Ok(())
        };
        let done = read();
        done.inspect_err(|cause| self.gone = Some(cause.to_string()))
    }
}

/// Takes in how a source is; returns what went down.
fn note(said: Said<'_>, state: &mut State) -> Option<CaptureError> {
    match said {
        Said::State(now) => {
            *state = now;
            None
        }
        Said::Down(cause) => {
            state.down = Some(cause.to_string());
            Some(cause)
        }
        Said::Frame(..) | Said::Seen(..) | Said::Datagram(..) => None,
    }
}
