//! Packets that rules of the host hand out to a group of NFLOG: `log group 5` of nftables, `-j NFLOG
//! --nflog-group 5` of iptables.
//!
//! So the host's own rules choose what is judged, and where in their order. One program reads a
//! group. The kernel is asked to hand out each packet at once (its default waits for up to a second),
//! and to number them, so that it is known how many were lost. Numbers: linux/netfilter/nfnetlink_log.h.

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZeroU16;
use std::os::fd::AsFd as _;
use std::time::Duration;

use caps::{CapSet, Capability};
use gate::LinkType;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};

use super::frames::FrameFilter;
use super::{Arrival, Capture, CaptureError, Filter, SNAPLEN, backoff};
use crate::netlink::{Heard, Listener, NLM_F_ACK, NetlinkError, Notice, Requests};

/// The subsystem, and its messages.
const SUBSYSTEM: u8 = 4;
const MSG_PACKET: u16 = u16::from_be_bytes([SUBSYSTEM, 0]);
const MSG_CONFIG: u16 = u16::from_be_bytes([SUBSYSTEM, 1]);
/// Attributes of a packet.
const NFULA_PAYLOAD: u16 = 9;
const NFULA_SEQ: u16 = 12;
/// Attributes of what is asked for, and their values.
const CFG_CMD: u16 = 1;
const CFG_MODE: u16 = 2;
const CFG_QTHRESH: u16 = 5;
const CFG_FLAGS: u16 = 6;
const CMD_BIND: u8 = 1;
const COPY_PACKET: u8 = 2;
const FLAG_SEQ: u16 = 1;
/// `struct nfgenmsg`.
const HEADER_LEN: usize = 4;
/// libpcap's number for IP without anything in front, in memory.
const DLT_RAW: i32 = 12;
/// Which groups are read, and by whom.
const READERS: &str = "/proc/thread-self/net/netfilter/nfnetlink_log";
const TAKEN: &str = "another program reads this group";

/// Reads one group.
pub(super) struct NflogCapture {
    name: String,
    group: u16,
    filter: Filter,
    frame_filter: FrameFilter,
    buffer_bytes: u32,
    state: State,
    failures: u32,
    retry_at: Duration,
    /// What was handed on.
    frames: u64,
    losses: Losses,
}

enum State {
    Up(Listener),
    Down { reason: String },
}

/// What never came, by the numbers that packets have and by what the kernel says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Losses {
    /// The number that the next packet has if none is lost. The kernel begins at 0 for each reader.
    next: u32,
    packets: u64,
    overflows: u64,
    /// Whether the kernel said that one was lost at least, and no number has told of it yet.
    is_noted: bool,
}

// === impl NflogCapture ===

impl NflogCapture {
    /// Starts to read a group.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Down`] when it may not be read, or another program reads it;
    /// [`CaptureError::Filter`] when the filter is none.
    pub(super) fn open(
        group: u16,
        filter: Filter,
        buffer_bytes: u32,
    ) -> Result<Self, CaptureError> {
        let name = format!("nflog:{group}");
        let frame_filter = FrameFilter::compile(DLT_RAW, LinkType::RawIp, &filter)?;
        let listener = subscribe(group, buffer_bytes).map_err(|reason| CaptureError::Down {
            name: name.clone(),
            reason,
        })?;
        Ok(Self {
            name,
            group,
            filter,
            frame_filter,
            buffer_bytes,
            state: State::Up(listener),
            failures: 0,
            retry_at: Duration::ZERO,
            frames: 0,
            losses: Losses::default(),
        })
    }

    fn try_again(&mut self, steady: Duration) {
        if !matches!(self.state, State::Down { .. }) || steady < self.retry_at {
            return;
        }
        match subscribe(self.group, self.buffer_bytes) {
            Ok(listener) => {
                tracing::info!(group = self.group, "reading again");
                self.failures = 0;
                self.losses.next = 0;
                self.state = State::Up(listener);
            }
            Err(reason) => self.go_down(reason, steady),
        }
    }

    fn go_down(&mut self, reason: String, steady: Duration) {
        self.retry_at = steady + backoff(self.failures);
        self.failures += 1;
        self.state = State::Down { reason };
    }
}

impl Capture for NflogCapture {
    fn name(&self) -> &str {
        &self.name
    }

    fn poll_fds<'fd>(&'fd self, fds: &mut Vec<PollFd<'fd>>) {
        if let State::Up(listener) = &self.state {
            fds.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
        }
    }

    fn follow(&mut self, ports: &BTreeSet<NonZeroU16>) -> Result<(), CaptureError> {
        if self.filter.follow(ports) {
            self.frame_filter = FrameFilter::compile(DLT_RAW, LinkType::RawIp, &self.filter)?;
        }
        Ok(())
    }

    fn retry_in(&self, steady: Duration) -> Option<Duration> {
        match &self.state {
            State::Up(_) => None,
            State::Down { .. } => Some(self.retry_at.saturating_sub(steady)),
        }
    }

    fn next_batch(
        &mut self,
        max: usize,
        steady: Duration,
        each: &mut dyn FnMut(Arrival<'_>),
    ) -> Result<usize, CaptureError> {
        self.try_again(steady);
        let State::Up(listener) = &mut self.state else {
            return Ok(0);
        };
        let (filter, frames, losses) = (&self.frame_filter, &mut self.frames, &mut self.losses);
        let heard = listener.hear(max, &mut |notice| {
            let Some(packet) = packet_of(notice, losses) else {
                return;
            };
            if filter.passes(packet) {
                *frames += 1;
                each(Arrival::Seen(LinkType::RawIp, packet));
            }
        });
        match heard {
            Ok((taken, heard)) => {
                if heard == Heard::Lost {
                    self.losses.overflowed();
                }
                Ok(taken)
            }
            Err(cause) => {
                let reason = cause.to_string();
                self.go_down(reason.clone(), steady);
                Err(CaptureError::Down {
                    name: self.name.clone(),
                    reason,
                })
            }
        }
    }

    fn down(&self) -> Option<&str> {
        match &self.state {
            State::Up(_) => None,
            State::Down { reason } => Some(reason),
        }
    }

    fn link(&self) -> Option<LinkType> {
        Some(LinkType::Nflog)
    }

    fn frames(&self) -> u64 {
        self.frames
    }

    fn dropped(&mut self) -> u64 {
        self.losses.packets
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![("overflows", self.losses.overflows)]
    }
}

// === impl Losses ===

impl Losses {
    /// A packet with this number came.
    fn came(&mut self, number: u32) {
        let missing = number.wrapping_sub(self.next);
        if missing > 0 {
            // What the kernel has told of is among them.
            let told = u32::from(std::mem::take(&mut self.is_noted));
            self.packets += u64::from(missing - told);
        }
        self.next = number.wrapping_add(1);
    }

    /// The kernel had no room for at least one.
    fn overflowed(&mut self) {
        self.overflows += 1;
        if !std::mem::replace(&mut self.is_noted, true) {
            self.packets += 1;
        }
    }
}

/// Takes a message for one of what the kernel logs ([`crate::hostile`]).
pub(super) fn read_hostile(notice: Notice<'_>) {
    let _ = packet_of(notice, &mut Losses::default());
}

/// The packet of a message, if it is one that holds any.
fn packet_of<'a>(notice: Notice<'a>, losses: &mut Losses) -> Option<&'a [u8]> {
    if notice.kind != MSG_PACKET {
        return None;
    }
    let attributes = notice.attributes(HEADER_LEN);
    let number = attributes.find(NFULA_SEQ).and_then(<[u8]>::first_chunk);
    if let Some(number) = number {
        losses.came(u32::from_be_bytes(*number));
    }
    attributes.find(NFULA_PAYLOAD)
}

/// Asks the kernel for the group; says why it does not give it.
fn subscribe(group: u16, buffer_bytes: u32) -> Result<Listener, String> {
    let mut listener =
        Listener::of_netfilter(buffer_bytes as usize).map_err(|cause| cause.to_string())?;
    let mut requests = Requests::default();
    request(&mut requests, group);
    match listener.ask(&mut requests) {
        Ok(()) => Ok(listener),
        Err(NetlinkError::Kernel(errno)) => Err(why_not(group, errno.code)),
        Err(other) => Err(other.to_string()),
    }
}

/// All in one message: nothing comes before it is numbered.
fn request(requests: &mut Requests, group: u16) {
    let [high, low] = group.to_be_bytes();
    requests.begin_other(MSG_CONFIG, NLM_F_ACK, &[0, 0, high, low]);
    requests.attribute(CFG_CMD, &[CMD_BIND]);
    let [a, b, c, d] = SNAPLEN.to_be_bytes();
    requests.attribute(CFG_MODE, &[a, b, c, d, COPY_PACKET, 0]);
    // Every packet at once.
    requests.attribute(CFG_QTHRESH, &1_u32.to_be_bytes());
    requests.attribute(CFG_FLAGS, &FLAG_SEQ.to_be_bytes());
    requests.end();
}

fn may_read_groups() -> bool {
    caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_ADMIN).unwrap_or(false)
}

fn why_not(group: u16, code: i32) -> String {
    let readers = fs::read_to_string(READERS).unwrap_or_default();
    match (reader_of(&readers, group), Errno::from_raw(code)) {
        (Some(port), _) => format!(
            "another program reads this group (netlink port {port}, mostly its process); give the \
             rule a group of its own"
        ),
        (None, Errno::EBUSY) => TAKEN.to_owned(),
        // Who may not read the list of readers has been told by the kernel all the same.
        (None, Errno::EPERM) if may_read_groups() => TAKEN.to_owned(),
        (None, Errno::EPERM) => "it takes the capability CAP_NET_ADMIN".to_owned(),
        (None, errno) => format!("{} (does this kernel have nfnetlink_log?)", errno.desc()),
    }
}

/// By its port who reads a group, of lines that begin with group and port.
fn reader_of(readers: &str, group: u16) -> Option<u32> {
    readers.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let is_it = words.next()?.parse() == Ok(group);
        words.next()?.parse().ok().filter(|_| is_it)
    })
}

impl std::fmt::Debug for NflogCapture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NflogCapture")
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_counted_once_by_numbers_and_by_the_kernels_word() {
        let mut losses = Losses::default();
        let packets = |losses: &Losses| losses.packets;

        losses.came(0);
        losses.came(1);
        assert_eq!(packets(&losses), 0);
        losses.came(4);
        assert_eq!(packets(&losses), 2);
        losses.overflowed();
        losses.overflowed();
        assert_eq!((packets(&losses), losses.overflows), (3, 2));
        losses.came(5);
        assert_eq!(packets(&losses), 3, "it waited before the overflow");
        losses.came(9);
        assert_eq!(packets(&losses), 5, "6, 7 and 8");
        let mut losses = Losses {
            next: u32::MAX,
            ..Losses::default()
        };
        losses.came(1);
        assert_eq!(packets(&losses), 2, "the numbers begin anew");
    }

    #[test]
    fn what_is_asked_for_is_the_group_whole_packets_at_once_with_numbers() {
        let mut requests = Requests::default();

        request(&mut requests, 0x0105);

        let asked: Vec<_> = requests.sent()[0]
            .map(|(kind, v)| (kind, v.to_vec()))
            .collect();
        let expected: [(u16, &[u8]); 4] = [
            (1, &[1]),
            (2, &[0, 0, 6, 64, 2, 0]),
            (5, &[0, 0, 0, 1]),
            (6, &[0, 1]),
        ];
        let expected = expected.map(|(kind, value)| (kind, value.to_vec()));
        assert_eq!(asked, expected);
    }

    #[test]
    fn who_reads_a_group_is_found_among_all_readers() {
        let readers = "    2  16123     0 2    64      1  1\n    5 2417161 1 2 1600 100  1\n";

        assert_eq!(reader_of(readers, 5), Some(2_417_161));
        assert_eq!(reader_of(readers, 7), None);
        assert_eq!(reader_of("", 5), None);
    }
}
