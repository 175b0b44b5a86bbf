//! Packets off an interface, through the kernel's ring, with libpcap.
//!
//! A name is captured on, not a device: an interface that goes away, comes back as another one, or
//! loses its name to another one is left, and the one that has the name is captured on. rtnetlink
//! tells of it, since a ring on a device that is gone or renamed may look as if it were well.

mod reopening;

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::num::NonZeroU16;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use gate::LinkType;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags};
use pcap::{Active, Direction};

use super::bpf::{Program, Wanted};
use super::frames::FrameFilter;
use super::{Arrival, Capture, CaptureError, Filter, SNAPLEN, Transports, link_of};
use crate::network::{Links, Place};

use reopening::Reopening;

/// How to capture on one interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct LiveOptions {
    /// `any` is allowed.
    pub(super) interface: String,
    pub(super) filter: Filter,
    /// Size of the kernel's ring in bytes.
    pub(super) buffer_bytes: u32,
    pub(super) promiscuous: bool,
    /// Also what the host itself sends or forwards.
    pub(super) any_direction: bool,
}

/// Captures incoming packets on one interface. An interface that goes away is waited for.
pub(super) struct LiveCapture {
    options: LiveOptions,
    state: State,
    reopening: Reopening,
    /// Losses of rings that are closed.
    dropped_before: u64,
    frames: u64,
}

enum State {
    Up(Ring),
    Down { reason: String },
}

/// The kernel's ring on one device.
struct Ring {
    ring: pcap::Capture<Active>,
    link: LinkType,
    /// For frames that the kernel does not filter.
    filter: Option<FrameFilter>,
    /// The device; `None` where it is none of those that rtnetlink knows, or all of them.
    index: Option<u32>,
    /// Why it is of no use any more, though it may still hold frames.
    lost: Option<String>,
}

// === impl LiveCapture ===

impl LiveCapture {
    /// Starts to capture. An interface that is not there, or not up, is waited for.
    ///
    /// # Errors
    ///
    /// [`CaptureError`] when the interface may not be used, or the filter is none.
    pub(super) fn open(options: LiveOptions) -> Result<Self, CaptureError> {
        let state = match Ring::open(&options) {
            Ok(ring) => State::Up(ring),
            Err(CaptureError::Down { name, reason }) if may_come(&name, &reason) => {
                // A filter that is none is a mistake now, and not when the interface comes.
                FrameFilter::compile(1, LinkType::Ethernet, &options.filter)?;
                tracing::warn!(
                    interface = name,
                    reason,
                    "cannot capture there yet: the interface is waited for"
                );
                State::Down { reason }
            }
            Err(cause) => return Err(cause),
        };
        Ok(Self {
            options,
            state,
            reopening: Reopening::default(),
            dropped_before: 0,
            frames: 0,
        })
    }

    fn go_down(&mut self, reason: String) {
        self.dropped_before = self.dropped();
        self.state = State::Down { reason };
    }

    /// Opens the ring again if it is time.
    fn try_again(&mut self, steady: Duration) {
        let is_down = matches!(self.state, State::Down { .. });
        if !is_down || !self.reopening.is_due(steady) {
            return;
        }
        match Ring::open(&self.options) {
            Ok(ring) => {
                tracing::info!(interface = self.options.interface, "capturing again");
                self.reopening.opened(steady);
                self.state = State::Up(ring);
            }
            Err(cause) => {
                tracing::debug!(error = %program::one_line(&cause), "still down");
                self.reopening.failed(steady);
                self.go_down(reason_of(cause));
            }
        }
    }
}

impl Capture for LiveCapture {
    fn name(&self) -> &str {
        &self.options.interface
    }

    fn poll_fds<'fd>(&'fd self, fds: &mut Vec<PollFd<'fd>>) {
        if let State::Up(Ring { ring, .. }) = &self.state {
            fds.push(PollFd::new(ring.as_fd(), PollFlags::POLLIN));
        }
    }

    fn follow(&mut self, ports: &BTreeSet<NonZeroU16>) -> Result<(), CaptureError> {
        let before = self.options.filter.clone();
        if !self.options.filter.follow(ports) {
            return Ok(());
        }
        let State::Up(ring) = &mut self.state else {
            return Ok(());
        };
        ring.set_filter(&self.options.filter, self.options.any_direction)
            .inspect_err(|_| self.options.filter = before)
    }

    fn retry_in(&self, steady: Duration) -> Option<Duration> {
        match &self.state {
            // What it still holds is handed on, and then it is closed.
            State::Up(ring) => ring.lost.as_ref().map(|_| Duration::ZERO),
            State::Down { .. } => Some(self.reopening.due_in(steady)),
        }
    }

    fn down(&self) -> Option<&str> {
        match &self.state {
            State::Up(ring) => ring.lost.as_deref(),
            State::Down { reason } => Some(reason),
        }
    }

    fn links_changed(&mut self, links: &Links) {
        let name = &self.options.interface;
        let place = links.place(name);
        // All of them, or none of rtnetlink's, as `nflog:5`.
        if name == ANY || (place == Place::Nowhere && name.contains(':')) {
            return;
        }
        self.reopening.told(place);
        match &mut self.state {
            State::Up(ring) => ring.lost = ring.index.and_then(|at| lost(name, at, place, links)),
            State::Down { reason } => {
                if let Some(why) = why_down(place) {
                    why.clone_into(reason);
                }
            }
        }
    }

    fn link(&self) -> Option<LinkType> {
        match &self.state {
            State::Up(ring) => Some(ring.link),
            State::Down { .. } => None,
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
        let State::Up(ring) = &mut self.state else {
            return Ok(0);
        };
        let taken = ring.dispatch(max, &mut self.frames, each);
        let lost = match (taken, ring.lost.take()) {
            (Ok(taken), None) => return Ok(taken),
            (_, Some(why)) => why,
            (Err(cause), None) => cause.to_string(),
        };
        self.reopening.lost(steady);
        self.go_down(lost.clone());
        Err(CaptureError::Down {
            name: self.options.interface.clone(),
            reason: lost,
        })
    }

    fn frames(&self) -> u64 {
        self.frames
    }

    fn dropped(&mut self) -> u64 {
        let now = match &mut self.state {
            State::Up(Ring { ring, .. }) => {
                ring.stats().map_or(0, |stats| u64::from(stats.dropped))
            }
            State::Down { .. } => 0,
        };
        self.dropped_before + now
    }
}

// === impl Ring ===

impl Ring {
    fn open(options: &LiveOptions) -> Result<Self, CaptureError> {
        let name = &options.interface;
        let failed = |cause: pcap::Error| down(name, &cause);
        let buffer_bytes = i32::try_from(options.buffer_bytes).unwrap_or(i32::MAX);
        let ring = pcap::Capture::from_device(name.as_str())
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
        let direction = if options.any_direction {
            Direction::InOut
        } else {
            Direction::In
        };
        ring.direction(direction).map_err(failed)?;
        let mut opened = Self {
            index: index_of(&ring),
            ring,
            link,
            filter: None,
            lost: None,
        };
        opened.set_filter(&options.filter, options.any_direction)?;
        Ok(opened)
    }

    /// Has the kernel filter, or whoever can.
    fn set_filter(&mut self, filter: &Filter, any_direction: bool) -> Result<(), CaptureError> {
        let refused = |filter: &str, reason| CaptureError::Filter {
            filter: filter.to_owned(),
            reason,
        };
        if let Filter::Own(text) = filter {
            let set = self.ring.filter(text, true);
            return set.map_err(|cause| refused(text, cause.to_string()));
        }
        let ports = filter.ports().unwrap_or_default();
        let wanted = Wanted {
            ports: &ports,
            transports: filter.transports().unwrap_or(Transports::UDP),
            any_direction,
        };
        match Program::new(self.link, wanted) {
            Some(program) => program
                .attach(self.ring.as_fd())
                .map_err(|cause| refused("made from spa_port", cause.to_string())),
            None => {
                self.filter = Some(FrameFilter::compile(0, self.link, filter)?);
                Ok(())
            }
        }
    }

    fn dispatch(
        &mut self,
        max: usize,
        frames: &mut u64,
        each: &mut dyn FnMut(Arrival<'_>),
    ) -> Result<usize, pcap::Error> {
        let (link, filter) = (self.link, &self.filter);
        self.ring.dispatch(Some(max), |packet| {
            if filter
                .as_ref()
                .is_none_or(|filter| filter.passes(packet.data))
            {
                *frames += 1;
                each(Arrival::Seen(link, packet.data));
            }
        })
    }
}

/// The device that a ring is bound to; `None` for all of them, and for what is no network device.
#[expect(
    unsafe_code,
    reason = "nix reads only addresses of the full length, and the kernel cuts this one"
)]
fn index_of(ring: &pcap::Capture<Active>) -> Option<u32> {
    let mut bound = MaybeUninit::<libc::sockaddr_ll>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of_val(&bound)).ok()?;
    let fd = ring.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `bound`.
    let result = unsafe { libc::getsockname(fd, bound.as_mut_ptr().cast(), &raw mut length) };
    Errno::result(result).ok()?;
    // SAFETY: all of it was zero, which is a value of its fields, before the kernel wrote.
    let bound = unsafe { bound.assume_init() };
    let is_device = i32::from(bound.sll_family) == libc::AF_PACKET && bound.sll_ifindex > 0;
    u32::try_from(bound.sll_ifindex).ok().filter(|_| is_device)
}

/// Why a ring on the device `index` is of no use for who wants to capture on `name`.
fn lost(name: &str, index: u32, place: Place, links: &Links) -> Option<String> {
    match place {
        Place::Up(at) if at == index => None,
        // The name leads elsewhere now, or nowhere.
        Place::Up(_) | Place::Nowhere => Some(match links.name(index) {
            Some(now) => format!("the interface that was {name} is {now} now"),
            None => GONE.to_owned(),
        }),
        Place::Down(_) => Some(OFF.to_owned()),
    }
}

const GONE: &str = "there is no such interface";
const OFF: &str = "the interface is down";
/// All interfaces, to libpcap.
const ANY: &str = "any";

fn why_down(place: Place) -> Option<&'static str> {
    match place {
        Place::Nowhere => Some(GONE),
        Place::Down(_) => Some(OFF),
        Place::Up(_) => None,
    }
}

fn reason_of(cause: CaptureError) -> String {
    match cause {
        CaptureError::Down { reason, .. } => reason,
        CaptureError::Filter { .. }
        | CaptureError::Link { .. }
        | CaptureError::NoLibpcap { .. }
        | CaptureError::NotCapture { .. }
        | CaptureError::File { .. }
        | CaptureError::Socket { .. } => cause.to_string(),
    }
}

/// Whether an interface that cannot be captured on now may be captured on later, without anybody's
/// changing our configuration or rights.
fn may_come(name: &str, reason: &str) -> bool {
    let is_there = name == ANY || nix::net::if_::if_nametoindex(name).is_ok();
    !is_there || reason.contains("not up")
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
