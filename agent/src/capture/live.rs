//! Packets off an interface, through the kernel's ring, with libpcap.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::time::Duration;

use gate::LinkType;
use nix::poll::{PollFd, PollFlags};
use pcap::{Active, Direction};

use super::frames::FrameFilter;
use super::{Arrival, Capture, CaptureError, Filter, SNAPLEN, backoff, link_of};

/// How to capture on one interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct LiveOptions {
    /// `any` is allowed.
    pub(super) interface: String,
    pub(super) filter: Filter,
    /// Size of the kernel's ring in bytes.
    pub(super) buffer_bytes: u32,
    pub(super) promiscuous: bool,
}

/// Captures incoming packets on one interface. An interface that goes away is waited for.
pub(super) struct LiveCapture {
    options: LiveOptions,
    state: State,
    /// Losses of rings that are closed.
    dropped_before: u64,
}

enum State {
    Up {
        ring: pcap::Capture<Active>,
        link: LinkType,
        /// Steady time at which it was opened.
        since: Duration,
    },
    Down {
        reason: String,
        failures: u32,
        retry_at: Duration,
    },
}

/// How long a ring must have been open for its loss to be news: then it is opened again at once.
const STEADY: Duration = Duration::from_secs(1);

// === impl LiveCapture ===

impl LiveCapture {
    /// Starts to capture. An interface that is not there, or not up, is waited for.
    ///
    /// # Errors
    ///
    /// [`CaptureError`] when the interface may not be used, or the filter is none.
    pub(super) fn open(options: LiveOptions) -> Result<Self, CaptureError> {
        let state = match open_ring(&options) {
            Ok((ring, link)) => State::Up {
                ring,
                link,
                since: Duration::ZERO,
            },
            Err(CaptureError::Down { name, reason }) if may_come(&name, &reason) => {
                // A filter that is none is a mistake now, and not when the interface comes.
                FrameFilter::compile(1, LinkType::Ethernet, &options.filter)?;
                tracing::warn!(
                    interface = name,
                    reason,
                    "cannot capture there yet: the interface is waited for"
                );
                State::Down {
                    reason,
                    failures: 0,
                    retry_at: Duration::ZERO,
                }
            }
            Err(cause) => return Err(cause),
        };
        Ok(Self {
            options,
            state,
            dropped_before: 0,
        })
    }

    fn go_down(&mut self, reason: String, retry_at: Duration, failures: u32) {
        self.dropped_before = self.dropped();
        self.state = State::Down {
            reason,
            failures,
            retry_at,
        };
    }

    /// Opens the ring again if it is time.
    fn try_again(&mut self, steady: Duration) {
        let State::Down {
            failures, retry_at, ..
        } = self.state
        else {
            return;
        };
        if steady < retry_at {
            return;
        }
        match open_ring(&self.options) {
            Ok((ring, link)) => {
                tracing::info!(interface = self.options.interface, "capturing again");
                self.state = State::Up {
                    ring,
                    link,
                    since: steady,
                };
            }
            Err(cause) => {
                tracing::debug!(error = %program::one_line(&cause), "still down");
                let retry_at = steady + backoff(failures);
                self.go_down(cause.to_string(), retry_at, failures.saturating_add(1));
            }
        }
    }
}

impl Capture for LiveCapture {
    fn name(&self) -> &str {
        &self.options.interface
    }

    #[expect(
        unsafe_code,
        reason = "the ring owns its descriptor and lives as long as the borrow"
    )]
    fn poll_fds<'fd>(&'fd self, fds: &mut Vec<PollFd<'fd>>) {
        if let State::Up { ring, .. } = &self.state {
            // SAFETY: the descriptor is open for as long as `ring`, which `self` owns.
            let fd = unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) };
            fds.push(PollFd::new(fd, PollFlags::POLLIN));
        }
    }

    fn follow(&mut self, ports: &BTreeSet<NonZeroU16>) -> Result<(), CaptureError> {
        let before = self.options.filter.clone();
        if !self.options.filter.follow(ports) {
            return Ok(());
        }
        let State::Up { ring, .. } = &mut self.state else {
            return Ok(());
        };
        set_filter(ring, &self.options.filter).inspect_err(|_| self.options.filter = before)
    }

    fn retry_in(&self, steady: Duration) -> Option<Duration> {
        match self.state {
            State::Up { .. } => None,
            State::Down { retry_at, .. } => Some(retry_at.saturating_sub(steady)),
        }
    }

    fn down(&self) -> Option<&str> {
        match &self.state {
            State::Up { .. } => None,
            State::Down { reason, .. } => Some(reason),
        }
    }

    fn link_changed(&mut self, name: &str) {
        if let State::Down { retry_at, .. } = &mut self.state
            && name == self.options.interface
        {
            *retry_at = Duration::ZERO;
        }
    }

    fn next_batch(
        &mut self,
        max: usize,
        steady: Duration,
        each: &mut dyn FnMut(Arrival<'_>),
    ) -> Result<usize, CaptureError> {
        self.try_again(steady);
        if max == 0 {
            // To libpcap that is no bound.
            return Ok(0);
        }
        let State::Up { ring, link, since } = &mut self.state else {
            return Ok(0);
        };
        let (link, since) = (*link, *since);
        let taken = ring.dispatch(Some(max), |packet| each(Arrival::Seen(link, packet.data)));
        taken.map_err(|cause| {
            // The notice that it came back may have been heard before this.
            let retry_at = if since + STEADY <= steady {
                steady
            } else {
                steady + backoff(0)
            };
            self.go_down(cause.to_string(), retry_at, 0);
            down(&self.options.interface, &cause)
        })
    }

    fn dropped(&mut self) -> u64 {
        let now = match &mut self.state {
            State::Up { ring, .. } => ring.stats().map_or(0, |stats| u64::from(stats.dropped)),
            State::Down { .. } => 0,
        };
        self.dropped_before + now
    }
}

fn open_ring(options: &LiveOptions) -> Result<(pcap::Capture<Active>, LinkType), CaptureError> {
    let name = &options.interface;
    let failed = |cause: pcap::Error| down(name, &cause);
    let buffer_bytes = i32::try_from(options.buffer_bytes).unwrap_or(i32::MAX);
    let mut ring = pcap::Capture::from_device(name.as_str())
        .map_err(failed)?
        .snaplen(SNAPLEN.cast_signed())
        .buffer_size(buffer_bytes)
        .promisc(options.promiscuous)
        // Every packet at once, not when a block is full.
        .immediate_mode(true)
        .open()
        .map_err(failed)?
        .setnonblock()
        .map_err(failed)?;
    let link = link_of(name, ring.get_datalink().0)?;
    ring.direction(Direction::In).map_err(failed)?;
    set_filter(&mut ring, &options.filter)?;
    Ok((ring, link))
}

/// Whether an interface that cannot be captured on now may be captured on later, without anybody's
/// changing our configuration or rights.
fn may_come(name: &str, reason: &str) -> bool {
    let is_there = name == "any" || nix::net::if_::if_nametoindex(name).is_ok();
    !is_there || reason.contains("not up")
}

fn set_filter(ring: &mut pcap::Capture<Active>, filter: &Filter) -> Result<(), CaptureError> {
    let filter = filter.to_string();
    ring.filter(&filter, true)
        .map_err(|cause| CaptureError::Filter {
            filter,
            reason: cause.to_string(),
        })
}

fn down(name: &str, cause: &pcap::Error) -> CaptureError {
    CaptureError::Down {
        name: name.to_owned(),
        reason: cause.to_string(),
    }
}

impl std::fmt::Debug for LiveCapture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveCapture")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
