//! The replay memory: which messages were seen, and which dates are spent.
//!
//! A state machine without disk or clock: the journal makes it durable, and `tests/model` runs this
//! very code under every order of crash, loss and clock step. It rests on one thing that no clock
//! can change, the date *inside* a message:
//!
//! - A message that was let through is *seen*, under its date and its digest.
//! - Forgetting goes by date, oldest first, and raises a floor to the newest date forgotten. What is
//!   dated at or before a floor is refused, whatever the clock says.
//!
//! So of every message that was ever let through, either it is still seen, or its date is spent.
//!
//! A clock that was ahead can have moved a floor into the future. A floor therefore carries the
//! clock that set it, and is set anew on evidence that this clock was wrong
//! ([`Memory::correct`]). Nothing re-opens by that: what is seen stays seen until its date has
//! passed for real, and of what was forgotten the dates stay spent, as ranges.

mod floor;
mod spans;

use std::collections::BTreeSet;

use spa::ReplayDigest;

use crate::fresh::{ReplayLog, Replayed};
pub use floor::{Floor, FloorReason, Floors};
pub use spans::{Span, Spans};

/// Half a digest. A SHA-256 cut to 128 bits: an accidental meeting of two would refuse one packet
/// of a user once in the age of the universe, and cannot let anyone in.
type Short = [u8; 16];

/// The messages that were seen, in order of the dates inside them, and the floors.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Memory {
    seen: BTreeSet<(u64, Short)>,
    floors: Floors,
    capacity: Capacity,
}

/// How many messages are remembered at once.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Capacity {
    /// Never more than this.
    pub most: usize,
    /// Beyond this, what is old by a clock that nobody vouches for is forgotten too.
    pub unproven: usize,
}

/// What a clock says, and whether something vouches for it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Clock {
    /// Seconds since the Unix epoch.
    pub now_secs: u64,
    /// Whether the kernel says that it is synchronised, or another clock agrees.
    pub is_proven: bool,
}

/// A replay log that forgets nothing and survives nothing: for tests and for `explain`.
pub type MemoryReplayLog = Memory;

// === impl Capacity ===

impl Default for Capacity {
    /// A million messages in the four minutes that the default window keeps them are more than
    /// 4,000 authentic packets a second, and some 36 MB; 100,000 are 4 MB.
    fn default() -> Self {
        Self {
            most: 1_000_000,
            unproven: 100_000,
        }
    }
}

// === impl Memory ===

impl Memory {
    /// Makes a memory in which nothing is seen.
    #[must_use]
    pub fn new(capacity: Capacity, floors: Floors) -> Self {
        Self {
            seen: BTreeSet::new(),
            floors,
            capacity,
        }
    }

    /// Takes over a message that an earlier run saw. Answers the newest date that was forgotten for it.
    pub fn restore(&mut self, digest: &[u8; 32], dated_secs: u64, now_secs: u64) -> Option<u64> {
        self.seen.insert((dated_secs, short(digest)));
        self.make_room(now_secs)
    }

    /// Lets a message through, once: sees it, unless it is seen or its date is spent. Answers the
    /// newest date that was forgotten to make room.
    ///
    /// When the memory is full of what is still recent, the oldest by date goes, and its date is
    /// spent: a flood by somebody who holds a key costs those whose clocks are late, and nobody else.
    ///
    /// # Errors
    ///
    /// [`Replayed`], and why.
    pub fn see(
        &mut self,
        digest: &[u8; 32],
        dated_secs: u64,
        now_secs: u64,
    ) -> Result<Option<u64>, Replayed> {
        if let Some(floor_secs) = self.floors.over(dated_secs) {
            return Err(Replayed::BeforeFloor { floor_secs });
        }
        if !self.seen.insert((dated_secs, short(digest))) {
            return Err(Replayed::Here);
        }
        Ok(self.make_room(now_secs))
    }

    /// Forgets what has been old for a whole window of `window_secs`, by a clock that is proven; by
    /// one that is not, only beyond [`Capacity::unproven`]. Answers the newest date that was forgotten.
    pub fn forget(&mut self, clock: Clock, window_secs: u64) -> Option<u64> {
        let kept_secs = window_secs.saturating_mul(2);
        let mut forgotten = None;
        while let Some(dated_secs) = self.oldest_secs() {
            let is_old = dated_secs.saturating_add(kept_secs) < clock.now_secs;
            let may_go = clock.is_proven || self.seen.len() > self.capacity.unproven;
            if !(is_old && may_go) {
                break;
            }
            self.forget_date(dated_secs, clock.now_secs);
            forgotten = Some(dated_secs);
        }
        forgotten
    }

    /// The floor for `dated_secs`: `Some` of the date up to which messages are refused.
    #[must_use]
    pub fn floor_over(&self, dated_secs: u64) -> Option<u64> {
        self.floors.over(dated_secs)
    }

    /// Refuses what is dated at or before a floor, from now on, because nobody knows whether it was
    /// let through before.
    pub fn raise(&mut self, floor: Floor) {
        self.floors.raise(floor);
    }

    /// Spends these dates, in which messages were let through that this memory does not know: they
    /// stay refused when the floor above them is set anew.
    pub fn spend(&mut self, spans: &Spans) {
        self.floors.spend_spans(spans);
    }

    /// Sets floors anew that were set by a clock that was ahead: nothing above `now_secs` and
    /// `max_future_secs` stays refused for them but what was truly forgotten. To be called only on
    /// evidence that `now_secs` is right. Reports whether a floor has changed.
    pub fn correct(&mut self, now_secs: u64, max_future_secs: u64) -> bool {
        self.floors.correct(now_secs, max_future_secs)
    }

    /// As [`correct`](Self::correct), on no evidence, for the floor of a memory that had no
    /// predecessor: there is nothing that it could guard.
    pub fn correct_first(&mut self, now_secs: u64) -> bool {
        self.floors.correct_first(now_secs)
    }

    /// Takes the floors away above `now_secs` and `max_future_secs` on an operator's word, whatever
    /// clock set them. Reports whether a floor has changed.
    pub fn reset(&mut self, now_secs: u64, max_future_secs: u64) -> bool {
        self.floors.reset(now_secs, max_future_secs)
    }

    /// Somebody proves that nothing was lost: the floor goes that stood for want of a proof. Reports
    /// whether there was one.
    pub fn prove(&mut self) -> bool {
        self.floors.prove()
    }

    /// Returns the floors, to be kept with what is seen.
    #[must_use]
    pub fn floors(&self) -> &Floors {
        &self.floors
    }

    /// Returns the oldest date that is seen.
    #[must_use]
    pub fn oldest_secs(&self) -> Option<u64> {
        self.seen.first().map(|(dated_secs, _)| *dated_secs)
    }

    /// Returns the newest date that was ever let through or spent: a floor there refuses everything
    /// that this memory has let through.
    #[must_use]
    pub fn newest_secs(&self) -> u64 {
        let seen = self.seen.last().map_or(0, |(dated_secs, _)| *dated_secs);
        seen.max(self.floors.newest_secs())
    }

    /// Returns how many messages are seen.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether no message is seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    fn make_room(&mut self, now_secs: u64) -> Option<u64> {
        let mut forgotten = None;
        while self.seen.len() > self.capacity.most
            && let Some(dated_secs) = self.oldest_secs()
        {
            self.forget_date(dated_secs, now_secs);
            forgotten = Some(dated_secs);
        }
        forgotten
    }

    /// Forgets everything of the oldest date: the floor refuses all of it from now on.
    fn forget_date(&mut self, dated_secs: u64, now_secs: u64) {
        while self.oldest_secs() == Some(dated_secs) {
            self.seen.pop_first();
        }
        self.floors.spend(dated_secs, now_secs);
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(Capacity::default(), Floors::default())
    }
}

/// A memory that survives nothing: for tests, and for `explain`.
impl ReplayLog for Memory {
    fn floor_over(&self, dated_secs: u64) -> Option<u64> {
        self.floor_over(dated_secs)
    }

    fn check_and_insert(
        &mut self,
        digest: ReplayDigest,
        dated_secs: u64,
        now_secs: u64,
    ) -> Result<(), Replayed> {
        self.see(&digest.0, dated_secs, now_secs).map(|_| ())
    }
}

fn short(digest: &[u8; 32]) -> Short {
    let (short, _) = digest.split_at(16);
    short.try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests;
