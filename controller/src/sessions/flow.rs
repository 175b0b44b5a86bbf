//! How many bytes of policies are on their way at one time, to all hosts together.
//!
//! A large policy that a thousand hosts are to have would otherwise stand in memory a thousand times
//! and leave nothing of the line to claims. Small ones go at once; of large ones those that fit go,
//! and the smallest of the rest is next. Whoever has asked is served or gone: nothing is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// What is not counted, bytes.
const SMALL: usize = 64 * 1024;
/// On their way at one time, bytes; one that is larger goes alone.
const MAX: usize = 16 * 1024 * 1024;

/// See the module; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Flow(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    /// By size and then by age.
    waiting: BTreeMap<(usize, u64), oneshot::Sender<Passage>>,
    /// Questions so far.
    asked: u64,
}

/// The room that one policy has on its way; dropped when it has arrived, or nobody is there any more.
#[derive(Debug)]
pub(crate) struct Passage {
    flow: Flow,
    bytes: usize,
}

// === impl Flow ===

impl Default for Flow {
    fn default() -> Self {
        Self::of(MAX)
    }
}

impl Flow {
    fn of(bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: bytes,
            waiting: BTreeMap::new(),
            asked: 0,
        })))
    }

    /// Asks for room for a policy of this size. Whoever does not wait any more drops the receiver.
    pub(crate) fn ask(&self, bytes: usize) -> oneshot::Receiver<Passage> {
        let (passage, asked) = oneshot::channel();
        let bytes = if bytes <= SMALL { 0 } else { bytes.min(MAX) };
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
        let flow = self.clone();
        Some((Passage { flow, bytes }, waiting))
    }
}

// === impl Passage ===

impl Passage {
    /// Whether somebody else may wait for this one to end.
    pub(crate) const fn is_large(&self) -> bool {
        self.bytes > 0
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.flow.0.lock().free += self.bytes;
            self.flow.serve();
        }
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
    fn what_is_small_goes_at_once_and_what_is_large_waits_for_room_the_smallest_first() {
        let flow = Flow::of(4 * MIB);
        let mut first = flow.ask(3 * MIB);
        let mut largest = flow.ask(4 * MIB);
        let mut smaller = flow.ask(2 * MIB);
        let mut small = flow.ask(SMALL);

        let passage = first.try_recv().unwrap();
        assert!(passage.is_large());
        assert!(!small.try_recv().unwrap().is_large());
        assert!(!is_through(&mut largest) && !is_through(&mut smaller));

        drop(passage);
        let passage = smaller.try_recv().unwrap();
        assert!(!is_through(&mut largest));
        drop(passage);
        assert!(is_through(&mut largest));
    }

    #[test]
    fn whoever_has_gone_takes_no_room() {
        let flow = Flow::of(2 * MIB);
        let mut held = flow.ask(2 * MIB);
        let passage = held.try_recv().unwrap();
        drop(flow.ask(MIB));
        let mut waits = flow.ask(2 * MIB);

        drop(passage);

        assert!(is_through(&mut waits));
        drop(waits);
        assert_eq!(flow.0.lock().free, 2 * MIB);
    }

    #[test]
    fn one_that_is_larger_than_all_room_goes_alone() {
        let flow = Flow::default();
        let mut huge = flow.ask(10 * MAX);
        let mut other = flow.ask(MIB);

        // The smaller one came second, when nothing was free any more.
        let passage = huge.try_recv().unwrap();
        assert!(!is_through(&mut other));
        drop(passage);
        assert!(is_through(&mut other));
    }
}
