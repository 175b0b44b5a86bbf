//! Whether a thread gets on with its work, as another one sees it.
//!
//! Counted in looks and not in seconds: where the whole program was stopped, or the machine slept, nobody
//! looked either, and nobody is blamed.

use std::sync::atomic::{AtomicU64, Ordering};

/// Work of one thread, in pieces.
#[derive(Debug, Default)]
pub struct Work {
    /// How many pieces were begun and how many ended: odd while it is at one.
    steps: AtomicU64,
}

/// What one who looks now and then has seen of it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Watch {
    last: u64,
    looks: u32,
}

// === impl Work ===

impl Work {
    /// Does a piece of it.
    pub fn piece<T>(&self, work: impl FnOnce() -> T) -> T {
        self.begin();
        let done = work();
        self.end();
        done
    }

    /// A piece begins.
    pub fn begin(&self) {
        self.steps.fetch_or(1, Ordering::Relaxed);
    }

    /// It has ended: there may be nothing to do.
    pub fn end(&self) {
        let at_work = self.steps.load(Ordering::Relaxed) & 1;
        self.steps.fetch_add(at_work, Ordering::Relaxed);
    }

    /// It goes on, whatever it does: for work that has no end.
    pub fn goes_on(&self) {
        self.steps.fetch_add(2, Ordering::Relaxed);
    }
}

// === impl Watch ===

impl Watch {
    /// Looks; returns at how many looks in a row it has been at the same piece.
    pub fn look(&mut self, work: &Work) -> u32 {
        let steps = work.steps.load(Ordering::Relaxed);
        let is_stuck = steps == self.last && steps & 1 == 1;
        self.note(steps, is_stuck)
    }

    /// Looks; returns at how many looks in a row it has not gone on, also without a piece to do.
    pub fn look_for_more(&mut self, work: &Work) -> u32 {
        let steps = work.steps.load(Ordering::Relaxed);
        self.note(steps, steps == self.last)
    }

    fn note(&mut self, steps: u64, is_same: bool) -> u32 {
        self.looks = if is_same { self.looks + 1 } else { 0 };
        self.last = steps;
        self.looks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_at_one_piece_for_long_is_seen_and_who_has_nothing_to_do_is_not() {
        let (work, mut watch) = (Work::default(), Watch::default());
        for _ in 0..9 {
            assert_eq!(watch.look(&work), 0, "nothing to do");
        }
        for _ in 0..9 {
            work.piece(|| ());
            assert_eq!(watch.look(&work), 0, "piece after piece");
        }
        work.begin();

        assert_eq!([watch.look(&work), watch.look(&work)], [0, 1]);
        work.end();
        assert_eq!(watch.look(&work), 0);
    }

    #[test]
    fn who_is_to_go_on_by_himself_is_seen_when_he_does_not() {
        let (work, mut watch) = (Work::default(), Watch::default());
        work.goes_on();

        assert_eq!([0; 3].map(|_: u32| watch.look_for_more(&work)), [0, 1, 2]);
        work.goes_on();
        assert_eq!(watch.look_for_more(&work), 0);
    }
}
