//! How much is on its way to hosts at one time.
//!
//! An apply has something to say to all hosts in one moment. Said to all at once, their answers would keep a
//! controller busy for longer than a host waits for a word of it, and those who gave up would come again as a
//! storm. So a thousand are told at a time, and the next whenever one has answered; and a large policy, which
//! would stand in memory once for each of them and leave nothing of the line to claims, has a lane of its own
//! that is counted in bytes: of those that wait there the smallest is next. Nobody is refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// What is small, bytes; whatever is less takes as much room.
const SMALL: usize = 64 * 1024;
/// Hosts that are told something small at one time. 256 would keep two cores busy, too; but where a host's answer
/// takes 0.3 s, far away, a thousand are some 3,000 hosts a second.
pub(super) const SMALL_AT_ONCE: usize = 1_000;
/// On their way at one time of all that is large, bytes; one that is larger goes alone.
const MAX: usize = 16 * 1024 * 1024;
/// How long others wait for an answer to something small: that of a host that is there has come by then.
pub(super) const SMALL_LASTS: Duration = Duration::from_secs(1);
/// And for that to a large policy.
pub(super) const LARGE_LASTS: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug)]
pub(crate) struct Flow {
    small: Lane,
    large: Lane,
}

/// One kind of what is on its way; clones share it.
#[derive(Clone, Debug)]
struct Lane(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Bytes.
    free: usize,
    /// By the room they take and then by age.
    waiting: BTreeMap<(usize, u64), oneshot::Sender<Passage>>,
    /// Questions so far.
    asked: u64,
}

/// The room that what is told to one host has on its way; dropped when it has arrived, or nobody is there any
/// more.
#[derive(Debug)]
pub(crate) struct Passage {
    lane: Lane,
    bytes: usize,
}

// === impl Flow ===

impl Default for Flow {
    fn default() -> Self {
        Self::of(SMALL_AT_ONCE, MAX)
    }
}

impl Flow {
    fn of(small: usize, large: usize) -> Self {
        Self {
            small: Lane::of(small * SMALL),
            large: Lane::of(large),
        }
    }

    /// Asks for room for so many bytes. Whoever does not wait any more drops the receiver.
    pub(crate) fn ask(&self, bytes: usize) -> oneshot::Receiver<Passage> {
        let bytes = counted(bytes);
        if bytes > SMALL {
            self.large.ask(bytes)
        } else {
            self.small.ask(bytes)
        }
    }
}

/// How much room is taken by so many bytes.
pub(crate) fn counted(bytes: usize) -> usize {
    bytes.clamp(SMALL, MAX)
}

// === impl Lane ===

impl Lane {
    fn of(free: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free,
            waiting: BTreeMap::new(),
            asked: 0,
        })))
    }

    fn ask(&self, bytes: usize) -> oneshot::Receiver<Passage> {
        let (passage, asked) = oneshot::channel();
        let mut state = self.0.lock();
        state.asked += 1;
        let place = (bytes, state.asked);
        state.waiting.insert(place, passage);
        drop(state);
        self.serve();
        asked
    }

    /// Lets those through for whom there is room.
    fn serve(&self) {
        while let Some((passage, waiting)) = self.next() {
            // One that has gone gives its room back by being dropped, which comes back here.
            let _ = waiting.send(passage);
        }
    }

    fn next(&self) -> Option<(Passage, oneshot::Sender<Passage>)> {
        let mut state = self.0.lock();
        let ((bytes, number), waiting) = state.waiting.pop_first()?;
        if bytes > state.free {
            state.waiting.insert((bytes, number), waiting);
            return None;
        }
        state.free -= bytes;
        let lane = self.clone();
        Some((Passage { lane, bytes }, waiting))
    }
}

// === impl Passage ===

impl Passage {
    /// Whether so many bytes may go with it.
    pub(crate) fn carries(&self, bytes: usize) -> bool {
        counted(bytes) <= self.bytes
    }

    /// How long others wait for it to end.
    pub(crate) const fn lasts(&self) -> Duration {
        if self.bytes > SMALL {
            LARGE_LASTS
        } else {
            SMALL_LASTS
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.lane.0.lock().free += self.bytes;
        self.lane.serve();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    fn is_through(asked: &mut oneshot::Receiver<Passage>) -> bool {
        !asked.is_terminated() && !asked.is_empty()
    }

    #[test]
    fn what_is_small_never_waits_for_what_is_large_and_of_that_the_smallest_is_next() {
        let flow = Flow::of(1, 4 * MIB);
        let mut first = flow.ask(3 * MIB);
        let mut largest = flow.ask(4 * MIB);
        let mut smaller = flow.ask(2 * MIB);
        let mut small = flow.ask(SMALL);

        let passage = first.try_recv().unwrap();
        assert!(passage.carries(3 * MIB) && !passage.carries(4 * MIB));
        let small = small.try_recv().unwrap();
        assert!(small.carries(SMALL) && !small.carries(SMALL + 1));
        assert!(!is_through(&mut largest) && !is_through(&mut smaller));

        drop(passage);
        let passage = smaller.try_recv().unwrap();
        assert!(!is_through(&mut largest));
        drop(passage);
        assert!(is_through(&mut largest));
    }

    #[test]
    fn of_what_is_small_so_many_go_at_a_time_and_the_oldest_is_next() {
        let flow = Flow::of(2, MIB);
        let mut asked: Vec<_> = (0..5).map(|bytes| flow.ask(100 - bytes)).collect();
        let mut through = Vec::new();

        for place in 0..asked.len() {
            let told: Vec<bool> = asked.iter_mut().skip(place).map(is_through).collect();
            let some: Vec<bool> = (0..told.len()).map(|place| place < 2).collect();
            assert_eq!(told, some);
            through.push(asked[place].try_recv().unwrap());
            through.remove(0);
        }
    }

    #[test]
    fn whoever_has_gone_takes_no_room() {
        let flow = Flow::of(1, 2 * MIB);
        for bytes in [2 * MIB, 1] {
            let passage = flow.ask(bytes).try_recv().unwrap();
            drop(flow.ask(bytes));
            let mut waits = flow.ask(bytes);

            drop(passage);

            assert!(is_through(&mut waits));
        }
        assert_eq!(flow.large.0.lock().free, 2 * MIB);
        assert_eq!(flow.small.0.lock().free, SMALL);
    }

    #[test]
    fn one_that_is_larger_than_all_room_goes_alone() {
        let flow = Flow::default();
        let mut huge = flow.ask(10 * MAX);
        let mut other = flow.ask(MIB);

        // The smaller one came second, when nothing was free any more.
        let passage = huge.try_recv().unwrap();
        assert!(passage.carries(10 * MAX));
        assert!(!is_through(&mut other));
        drop(passage);
        assert!(is_through(&mut other));
    }
}
