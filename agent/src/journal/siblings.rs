//! What siblings have claimed, in memory: a set of its own, so that no sibling fills that of our own
//! messages, and bounded by forgetting the oldest, so that it never refuses anything.
//!
//! The controller's list decides who grants a message. This only says sooner, and without asking,
//! what it would say: whatever is evicted here is asked there.

use std::collections::VecDeque;

use hashbrown::HashSet;

use super::replays::{Short, short};

/// Claims that are remembered; some 5 MB.
pub(super) const SIBLINGS_MAX: usize = 100_000;

/// Claims of siblings, in the order in which they were told.
#[derive(Debug, Default)]
pub(super) struct Siblings {
    known: HashSet<Short>,
    told: VecDeque<Claimed>,
    last_number: u64,
}

#[derive(Clone, Copy, Debug)]
struct Claimed {
    /// Its place on the disk: rising, and never used again.
    number: u64,
    digest: Short,
    forget_after_secs: u64,
}

// === impl Siblings ===

impl Siblings {
    pub(super) fn contains(&self, digest: &[u8; 32]) -> bool {
        self.known.contains(&short(digest))
    }

    /// Remembers a claim, and answers its place; `None` when it is known.
    pub(super) fn insert(&mut self, digest: &[u8; 32], forget_after_secs: u64) -> Option<u64> {
        if self.contains(digest) {
            return None;
        }
        let number = self.last_number + 1;
        self.restore(number, digest, forget_after_secs)
            .then_some(number)
    }

    /// Takes over what an earlier run remembered, in the same order.
    pub(super) fn restore(
        &mut self,
        number: u64,
        digest: &[u8; 32],
        forget_after_secs: u64,
    ) -> bool {
        let digest = short(digest);
        self.last_number = self.last_number.max(number);
        let is_new = self.known.insert(digest);
        if is_new {
            self.told.push_back(Claimed {
                number,
                digest,
                forget_after_secs,
            });
        }
        is_new
    }

    /// Forgets the oldest beyond [`SIBLINGS_MAX`]. Answers up to which place.
    pub(super) fn evict(&mut self) -> Option<u64> {
        self.forget_while(|_, told| told > SIBLINGS_MAX)
    }

    /// Forgets the oldest for as long as they need not be remembered at `now_secs`. Answers up to
    /// which place.
    pub(super) fn forget(&mut self, now_secs: u64) -> Option<u64> {
        self.forget_while(|claimed, _| (1..now_secs).contains(&claimed.forget_after_secs))
    }

    fn forget_while(&mut self, test: impl Fn(&Claimed, usize) -> bool) -> Option<u64> {
        let mut through = None;
        while let Some(oldest) = self.told.front()
            && test(oldest, self.told.len())
        {
            through = Some(oldest.number);
            self.known.remove(&oldest.digest);
            self.told.pop_front();
        }
        through
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_go_in_the_order_in_which_they_were_told_and_as_soon_as_they_may() {
        let mut siblings = Siblings::default();
        for (digest, until) in [(1, 100), (2, 300), (3, 200)] {
            siblings.insert(&[digest; 32], until);
        }
        assert_eq!(siblings.insert(&[2; 32], 900), None);

        assert_eq!(siblings.forget(100), None);
        assert_eq!(siblings.forget(250), Some(1));
        assert!(!siblings.contains(&[1; 32]));
        assert!(siblings.contains(&[3; 32]), "behind one that stays");
        assert_eq!(siblings.forget(301), Some(3));
        assert_eq!(siblings.insert(&[1; 32], 400), Some(4));
    }
}
