//! Which messages a version before has left, which kept them without their dates.
//!
//! The disk holds the same; this is what is asked per packet. It only shrinks: a few minutes after
//! an upgrade it is empty.

use hashbrown::HashMap;

/// Half a digest. A SHA-256 cut to 128 bits: an accidental meeting of two would refuse one packet
/// of a user once in the age of the universe, and cannot let anyone in.
pub(super) type Short = [u8; 16];

/// Messages seen, with the second after which each may be forgotten.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    seen: HashMap<Short, u64>,
}

// === impl Remembered ===

impl Remembered {
    pub(super) fn contains(&self, digest: &[u8; 32]) -> bool {
        !self.seen.is_empty() && self.seen.contains_key(&short(digest))
    }

    /// Remembers a message, for the longer time if it was seen twice.
    pub(super) fn insert(&mut self, digest: &[u8; 32], forget_after_secs: u64) {
        let known = self.seen.entry(short(digest)).or_insert(forget_after_secs);
        *known = forget_after_secs.max(*known);
    }

    /// Forgets whose second `now_secs` is past. Returns the latest second among what was
    /// forgotten, if anything was.
    pub(super) fn forget(&mut self, now_secs: u64) -> Option<u64> {
        let mut latest = None;
        self.seen.retain(|_, secs| {
            let keep = *secs >= now_secs;
            if !keep {
                latest = latest.max(Some(*secs));
            }
            keep
        });
        if self.seen.capacity() > 4 * self.seen.len().max(1024) {
            self.seen.shrink_to(2 * self.seen.len());
        }
        latest
    }
}

pub(super) fn short(digest: &[u8; 32]) -> Short {
    let (short, _) = digest.split_at(16);
    short.try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_until_the_second_has_passed_and_says_what_it_forgot() {
        let mut seen = Remembered::default();
        seen.insert(&[1; 32], 100);
        seen.insert(&[2; 32], 200);

        assert_eq!(seen.forget(100), None);
        assert_eq!(seen.forget(150), Some(100));

        assert!(!seen.contains(&[1; 32]));
        assert!(seen.contains(&[2; 32]));
    }

    #[test]
    fn a_message_seen_twice_is_remembered_for_the_longer_time() {
        let mut seen = Remembered::default();
        seen.insert(&[1; 32], 200);
        seen.insert(&[1; 32], 100);

        seen.forget(150);

        assert!(seen.contains(&[1; 32]));
    }
}
