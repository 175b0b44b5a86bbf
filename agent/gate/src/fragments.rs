//! Packets that come in parts: kept until they are whole, in room that never grows.
//!
//! Anybody can send parts of packets that never become whole, from any address. So there is room
//! for a fixed number of packets, none longer than an SPA packet can be; parts are kept in it for
//! some seconds; one source gets a small share of it; and when it is full, the oldest go. What
//! strangers can do with it is to crowd out parts that are underway, for as long as they keep
//! sending. Whatever is given up is counted.
//!
//! Parts that overlap are an attack or an error, never what a sender sends: the packet is given up
//! with all that may still come of it (RFC 5722). Only the very same bytes once more, as two captures
//! show them, are ignored.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use etherparse::IpNumber;

use crate::counters::Counters;
use crate::datagram::{Datagram, Fragment, NotForUs, UNIT};

/// Packets of which there can be parts at the same time.
pub(crate) const PACKETS_MAX: usize = 256;
/// Those of them from one IPv4 address or one IPv6 network of 64 bits. A client sends one.
pub(crate) const PACKETS_OF_SOURCE_MAX: usize = 8;
/// Bytes behind the IP headers of a packet that is put together: an SPA packet of 1,508 bytes with
/// every header in front.
pub const FRAGMENTED_LEN_MAX: u32 = 1600;
pub(crate) const BYTES_MAX: usize = FRAGMENTED_LEN_MAX as usize;
/// How long parts wait for the others. They are sent at the same moment.
pub(crate) const WAIT: Duration = Duration::from_secs(5);

/// The room.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    /// All of them once there was a fragment; none before.
    slots: Vec<Slot>,
    /// `BYTES_MAX` for each.
    bytes: Vec<u8>,
}

/// Room for one packet.
#[derive(Clone, Copy, Debug)]
struct Slot {
    state: State,
    key: Key,
    /// Steady time at which the first part came.
    since: Duration,
    /// Which units of eight bytes are there.
    units: Units,
    /// Where the packet ends, once its last part is there.
    total: Option<usize>,
    /// What it begins with, once its first part is there.
    number: Option<IpNumber>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Free,
    /// Parts are missing.
    Waiting,
    /// It was whole and is judged. Kept because another capture may show it, too.
    Done,
    /// It is given up, with what may come of it.
    Refused,
}

/// What the parts of one packet have in common (RFC 791, RFC 8200).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    identification: u32,
    /// In IPv6 only the first part knows it.
    number: Option<IpNumber>,
}

/// A set of numbers below 256.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Units([u128; 2]);

/// What a part makes of its packet.
enum Put {
    Waits,
    Whole,
    Repeated,
    /// It cannot be part of the same packet as what is there.
    Contradicts,
}

// === impl Fragments ===

impl Fragments {
    /// Takes a part. Returns the packet when that makes it whole.
    ///
    /// `repeats_for` is for how long the same bytes once more are the same packet.
    ///
    /// # Errors
    ///
    /// [`NotForUs::Fragment`], counted, while it is not whole. Others for a whole packet that is not
    /// for us.
    pub(crate) fn add(
        &mut self,
        fragment: &Fragment<'_>,
        steady: Duration,
        repeats_for: Duration,
        counters: &mut Counters,
    ) -> Result<Datagram<'_>, NotForUs> {
        counters.fragments += 1;
        let at = self.expire(steady, repeats_for, counters);
        if !can_be_part(fragment) {
            counters.fragments_refused += 1;
            return Err(NotForUs::Fragment);
        }
        let key = Key::of(fragment);
        let at = self
            .find(&key)
            .unwrap_or_else(|| self.room_for(&key, at, counters));
        let put = self.put(at, &key, fragment, steady);
        let slot = self.slots.get_mut(at).ok_or(NotForUs::Fragment)?;
        match put {
            Put::Waits | Put::Repeated => {}
            Put::Whole => slot.state = State::Done,
            Put::Contradicts => {
                slot.state = State::Refused;
                counters.fragments_refused += 1;
            }
        }
        counters.fragments_waiting = self.waiting();
        match put {
            Put::Whole => {
                counters.reassembled += 1;
                self.whole(at, fragment)
            }
            Put::Waits | Put::Repeated | Put::Contradicts => Err(NotForUs::Fragment),
        }
    }

    /// Gives up what has waited for long enough. Costs nothing where nothing waits.
    pub(crate) fn tidy(
        &mut self,
        steady: Duration,
        repeats_for: Duration,
        counters: &mut Counters,
    ) {
        if counters.fragments_waiting > 0 {
            let _ = self.expire(steady, repeats_for, counters);
            counters.fragments_waiting = self.waiting();
        }
    }

    /// Frees what is over. Returns a slot that is free, if there is one.
    fn expire(
        &mut self,
        steady: Duration,
        repeats_for: Duration,
        counters: &mut Counters,
    ) -> Option<usize> {
        let mut free = None;
        for (at, slot) in self.slots.iter_mut().enumerate() {
            let keep = match slot.state {
                State::Free => Duration::ZERO,
                State::Waiting | State::Refused => WAIT,
                State::Done => repeats_for,
            };
            if slot.since.saturating_add(keep) <= steady {
                counters.fragments_expired += u64::from(slot.state == State::Waiting);
                slot.state = State::Free;
            }
            if slot.state == State::Free {
                free = free.or(Some(at));
            }
        }
        free
    }

    fn find(&self, key: &Key) -> Option<usize> {
        let is_it = |slot: &Slot| slot.state != State::Free && slot.key == *key;
        self.slots.iter().position(is_it)
    }

    /// A slot for a packet of which nothing is there: a free one if its source has not had its share
    /// and there is one, else the oldest.
    fn room_for(&mut self, key: &Key, free: Option<usize>, counters: &mut Counters) -> usize {
        if self.slots.is_empty() {
            self.slots = vec![Slot::FREE; PACKETS_MAX];
            self.bytes = vec![0; PACKETS_MAX * BYTES_MAX];
            return 0;
        }
        let source = network_of(key.source);
        let is_of_source =
            |slot: &Slot| slot.state != State::Free && network_of(slot.key.source) == source;
        let of_source = self.slots.iter().filter(|slot| is_of_source(slot)).count();
        let has_share = of_source >= PACKETS_OF_SOURCE_MAX;
        if let Some(free) = free.filter(|_| !has_share) {
            return free;
        }
        let slots = self.slots.iter_mut().enumerate();
        let oldest = slots
            .filter(|(_, slot)| !has_share || is_of_source(slot))
            .min_by_key(|(_, slot)| slot.since);
        let Some((at, slot)) = oldest else {
            return 0;
        };
        counters.fragments_crowded_out += u64::from(slot.state == State::Waiting);
        slot.state = State::Free;
        at
    }

    fn put(&mut self, at: usize, key: &Key, fragment: &Fragment<'_>, steady: Duration) -> Put {
        let room = self.bytes.chunks_exact_mut(BYTES_MAX).nth(at);
        let (Some(slot), Some(room)) = (self.slots.get_mut(at), room) else {
            return Put::Contradicts;
        };
        if slot.state == State::Done && slot.repeats(fragment, room) {
            return Put::Repeated;
        }
        if matches!(slot.state, State::Free | State::Done) {
            *slot = Slot {
                state: State::Waiting,
                key: *key,
                since: steady,
                ..Slot::FREE
            };
        }
        slot.put(fragment, room)
    }

    fn whole(&self, at: usize, fragment: &Fragment<'_>) -> Result<Datagram<'_>, NotForUs> {
        let slot = self.slots.get(at).ok_or(NotForUs::Fragment)?;
        let (Some(number), Some(total)) = (slot.number, slot.total) else {
            return Err(NotForUs::Fragment);
        };
        let room = self.bytes.chunks_exact(BYTES_MAX).nth(at);
        let bytes = room.and_then(|room| room.get(..total));
        let bytes = bytes.ok_or(NotForUs::Fragment)?;
        Datagram::reassembled((fragment.source, fragment.destination), number, bytes)
    }

    fn waiting(&self) -> u64 {
        let waiting = |slot: &&Slot| slot.state == State::Waiting;
        self.slots.iter().filter(waiting).count() as u64
    }
}

// === impl Slot ===

impl Slot {
    const FREE: Self = Self {
        state: State::Free,
        key: Key {
            source: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            destination: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            identification: 0,
            number: None,
        },
        since: Duration::ZERO,
        units: Units([0; 2]),
        total: None,
        number: None,
    };

    /// Writes a part into the room; `fragment` ends within it.
    fn put(&mut self, fragment: &Fragment<'_>, room: &mut [u8]) -> Put {
        let end = fragment.offset + fragment.bytes.len();
        let units = Units::of(fragment);
        if self.state == State::Refused {
            return Put::Contradicts;
        }
        if self.repeats(fragment, room) {
            return Put::Repeated;
        }
        let total = if fragment.more { self.total } else { Some(end) };
        let is_beyond = |total: usize| {
            let last = if fragment.more { end + 1 } else { end };
            self.units.has_from(total.div_ceil(UNIT)) || last > total
        };
        let has_two_ends = self.total.is_some() && self.total != total;
        if has_two_ends || total.is_some_and(is_beyond) || self.units.overlap(units) {
            return Put::Contradicts;
        }
        if let Some(place) = room.get_mut(fragment.offset..end) {
            place.copy_from_slice(fragment.bytes);
        }
        self.units.add(units);
        self.total = total;
        if fragment.offset == 0 {
            self.number = Some(fragment.number);
        }
        let is_whole = |total: usize| self.units == Units::range(0, total.div_ceil(UNIT));
        if total.is_some_and(is_whole) {
            Put::Whole
        } else {
            Put::Waits
        }
    }

    /// Whether all of this is there already, byte for byte.
    fn repeats(&self, fragment: &Fragment<'_>, room: &[u8]) -> bool {
        let end = fragment.offset + fragment.bytes.len();
        let ends_alike = if fragment.more {
            self.total.is_none_or(|total| end < total)
        } else {
            self.total == Some(end)
        };
        ends_alike
            && self.units.contains(Units::of(fragment))
            && room.get(fragment.offset..end) == Some(fragment.bytes)
    }
}

// === impl Key ===

impl Key {
    fn of(fragment: &Fragment<'_>) -> Self {
        Self {
            source: fragment.source,
            destination: fragment.destination,
            identification: fragment.identification,
            number: fragment.source.is_ipv4().then_some(fragment.number),
        }
    }
}

// === impl Units ===

impl Units {
    fn of(fragment: &Fragment<'_>) -> Self {
        let end = fragment.offset + fragment.bytes.len();
        Self::range(fragment.offset / UNIT, end.div_ceil(UNIT))
    }

    /// From `start`, before `end`.
    fn range(start: usize, end: usize) -> Self {
        let below = |end: usize, half: usize| {
            let bits = end.saturating_sub(half * 128).min(128);
            u128::MAX
                .checked_shr(u32::try_from(128 - bits).unwrap_or(128))
                .unwrap_or(0)
        };
        Self([0, 1].map(|half| below(end, half) & !below(start, half)))
    }

    fn overlap(self, other: Self) -> bool {
        let (Self([a, b]), Self([c, d])) = (self, other);
        a & c != 0 || b & d != 0
    }

    fn contains(self, other: Self) -> bool {
        let (Self([a, b]), Self([c, d])) = (self, other);
        a & c == c && b & d == d
    }

    fn has_from(self, start: usize) -> bool {
        self.overlap(Self::range(start, 256))
    }

    fn add(&mut self, other: Self) {
        let (Self([a, b]), Self([c, d])) = (*self, other);
        *self = Self([a | c, b | d]);
    }
}

/// Whether this can be part of a packet that is short enough: all but the last end where another can
/// begin.
fn can_be_part(fragment: &Fragment<'_>) -> bool {
    let length = fragment.bytes.len();
    let ends_well = !fragment.more || length.is_multiple_of(UNIT);
    ends_well && length > 0 && fragment.offset + length + usize::from(fragment.more) <= BYTES_MAX
}

/// What one sender can change at will, left out.
fn network_of(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

const _: () = assert!(BYTES_MAX.div_ceil(UNIT) <= 256);
