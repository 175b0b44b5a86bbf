//! Which messages have been seen, in memory: bounded and compact.
//!
//! The disk holds the same, and is written first; this is what is asked per packet.

use hashbrown::HashMap;

/// Half a digest. A SHA-256 cut to 128 bits: an accidental meeting of two would refuse one packet
/// of a user once in the age of the universe, and cannot let anyone in.
type Short = [u8; 16];

/// The most messages that are remembered at once: 1,000,000 of them in the four minutes that the
/// default window keeps them are more than 4,000 authentic packets a second. About 24 MB when full,
/// 3 MB at 100,000.
const REMEMBERED_MAX: usize = 1_000_000;

/// Messages seen, with the second after which each may be forgotten.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    seen: HashMap<Short, Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    forget_after_secs: u32,
    by: SeenBy,
}

/// Who saw a message, which only the audit wants to know: not kept over a restart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SeenBy {
    Us,
    /// Another host, which claimed it.
    Sibling,
}

// === impl Remembered ===

impl Remembered {
    /// Who saw this message, if anybody did.
    pub(super) fn find(&self, digest: &[u8; 32]) -> Option<SeenBy> {
        self.seen.get(&short(digest)).map(|seen| seen.by)
    }

    pub(super) fn is_full(&self) -> bool {
        self.seen.len() >= REMEMBERED_MAX
    }

    /// Remembers a message; who saw it first stays.
    pub(super) fn insert(&mut self, digest: &[u8; 32], by: SeenBy, forget_after_secs: u64) {
        let forget_after_secs = u32::try_from(forget_after_secs).unwrap_or(u32::MAX);
        let seen = Seen {
            forget_after_secs,
            by,
        };
        let known = self.seen.entry(short(digest)).or_insert(seen);
        known.forget_after_secs = known.forget_after_secs.max(forget_after_secs);
    }

    /// Forgets whose second `now_secs` is past. Returns the latest second among what was
    /// forgotten, if anything was.
    pub(super) fn forget(&mut self, now_secs: u64) -> Option<u64> {
        let mut latest = None;
        self.seen.retain(|_, seen| {
            let secs = u64::from(seen.forget_after_secs);
            let keep = secs >= now_secs;
            if !keep {
                latest = latest.max(Some(secs));
            }
            keep
        });
        if self.seen.capacity() > 4 * self.seen.len().max(1024) {
            self.seen.shrink_to(2 * self.seen.len());
        }
        latest
    }
}

fn short(digest: &[u8; 32]) -> Short {
    let (short, _) = digest.split_at(16);
    short.try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sibling_claimed_is_told_apart_from_what_was_seen_here() {
        let mut seen = Remembered::default();
        seen.insert(&[1; 32], SeenBy::Us, 100);
        seen.insert(&[2; 32], SeenBy::Sibling, 100);
        seen.insert(&[2; 32], SeenBy::Us, 100);

        let found = [1, 2, 3].map(|digest| seen.find(&[digest; 32]));
        assert_eq!(found, [Some(SeenBy::Us), Some(SeenBy::Sibling), None]);
    }

    #[test]
    fn remembers_until_the_second_has_passed_and_says_what_it_forgot() {
        let mut seen = Remembered::default();
        seen.insert(&[1; 32], SeenBy::Us, 100);
        seen.insert(&[2; 32], SeenBy::Us, 200);

        assert_eq!(seen.forget(100), None);
        assert_eq!(seen.forget(150), Some(100));

        assert_eq!(seen.find(&[1; 32]), None);
        assert_eq!(seen.find(&[2; 32]), Some(SeenBy::Us));
    }

    #[test]
    fn a_message_seen_twice_is_remembered_for_the_longer_time() {
        let mut seen = Remembered::default();
        seen.insert(&[1; 32], SeenBy::Us, 200);
        seen.insert(&[1; 32], SeenBy::Us, 100);

        seen.forget(150);

        assert_eq!(seen.find(&[1; 32]), Some(SeenBy::Us));
    }
}
