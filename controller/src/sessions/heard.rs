//! What a host said last in its session: what it says again is not written again.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::validity::Validity;
use crate::store::model::{Acknowledgement, HostWord};

/// A change of the clocks' difference that is worth writing, in milliseconds: more than the way here makes of it.
const OFFSET_NEWS_MS: u64 = 50;

/// An acknowledgement, as far as it takes to know it again. Two that differ are taken for one once in 2^64 times, or
/// where a host seeks it, which could as well say nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Word {
    fingerprint: u64,
    clock_offset_ms: Option<i64>,
}

/// What there is to do about an acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hearing {
    /// Nothing: it is stored.
    Again,
    /// It is to be stored; and the life of the text that it acknowledges, where that is not known to be acknowledged yet.
    News(Option<Validity>),
}

/// What is known of the last one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Heard {
    #[default]
    Nothing,
    /// It is being stored.
    Taken(Word),
    Stored(Word),
}

// === impl Word ===

impl Word {
    pub(crate) fn of(acknowledgement: &Acknowledgement) -> Self {
        let Acknowledgement {
            generation,
            digest,
            rejected,
            drift,
            audit_fault,
            word,
        } = acknowledgement;
        let HostWord {
            protected_ports,
            own_protected_ports,
            warnings,
            floor_secs,
            clock_offset_ms,
            commands,
            backend,
            grants_open,
        } = word;
        let policy = (generation, digest, rejected, drift, audit_fault);
        let ports = (protected_ports, own_protected_ports);
        let rest = (warnings, floor_secs, commands, backend, grants_open);
        let mut hasher = DefaultHasher::new();
        (policy, ports, rest).hash(&mut hasher);
        Self {
            fingerprint: hasher.finish(),
            clock_offset_ms: *clock_offset_ms,
        }
    }

    fn says_as(&self, other: &Self) -> bool {
        let as_late = match (self.clock_offset_ms, other.clock_offset_ms) {
            (Some(here), Some(there)) => here.abs_diff(there) <= OFFSET_NEWS_MS,
            (here, there) => here == there,
        };
        as_late && self.fingerprint == other.fingerprint
    }
}

// === impl Heard ===

impl Heard {
    /// Whether this is stored already.
    pub(super) fn has(&self, word: &Word) -> bool {
        matches!(self, Self::Stored(stored) if stored.says_as(word))
    }

    /// This one has been stored. Where another was taken meanwhile, nobody knows which of them was stored last.
    pub(super) fn stored(&mut self, word: &Word) {
        *self = match self {
            Self::Taken(taken) if taken == word => Self::Stored(*word),
            Self::Nothing | Self::Taken(_) | Self::Stored(_) => Self::Nothing,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(clock_offset_ms: Option<i64>, grants_open: u32) -> Word {
        Word::of(&Acknowledgement {
            word: HostWord {
                clock_offset_ms,
                grants_open: Some(grants_open),
                ..HostWord::default()
            },
            ..Acknowledgement::default()
        })
    }

    #[test]
    fn what_is_stored_is_known_again_unless_something_else_was_being_stored_beside_it() {
        let (one, other) = (said(Some(7), 1), said(Some(7), 2));
        let mut heard = Heard::Taken(one);
        assert!(!heard.has(&one));
        heard.stored(&one);
        assert!(heard.has(&one) && !heard.has(&other));

        for first in [one, other] {
            let mut heard = Heard::Taken(other);
            heard.stored(&first);
            heard.stored(&if first == one { other } else { one });
            assert!(!heard.has(&one) && !heard.has(&other));
        }
    }

    #[test]
    fn a_clock_that_differs_by_as_much_as_the_way_here_makes_of_it_says_nothing_new() {
        let heard = Heard::Stored(said(Some(7), 1));
        assert!([-43, 57].iter().all(|ms| heard.has(&said(Some(*ms), 1))));
        assert!([-44, 58].iter().all(|ms| !heard.has(&said(Some(*ms), 1))));
        assert!(!heard.has(&said(None, 1)));
    }
}
