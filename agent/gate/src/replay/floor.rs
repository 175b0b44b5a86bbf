//! Floors: dates at or before which messages are refused, with the clock that set each.

use super::spans::{Span, Spans};

/// Floors of one reason that are told apart; beyond, the two whose clocks differ least become one.
const FLOORS_MAX: usize = 16;

/// A date at or before which messages are refused, and how it came about.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Floor {
    /// Messages dated at or before this are refused, seconds since the Unix epoch; 0 for none.
    pub through_secs: u64,
    /// What the clock said when the floor was set.
    pub set_at_secs: u64,
    /// Why it was set.
    pub why: FloorReason,
}

/// Why a floor stands, or what a start found that makes one necessary or not.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum FloorReason {
    /// Nothing was lost: no floor is needed.
    #[default]
    Known,
    /// The memory is new and messages do not age: nothing is known, and nothing is refused for it.
    Unguarded,
    /// The memory is new, and nothing tells of one before it.
    New,
    /// The memory is new, or not the one that it was; there had been one.
    Lost,
    /// The memory is an older copy of the one that there was.
    SetBack,
    /// The memory may be an older copy: nothing proves that it is not.
    Unproven,
    /// Messages may now be older than before.
    Widened,
    /// The controller said so.
    Ordered,
    /// Messages up to there were forgotten.
    Forgotten,
}

/// Everything that is refused by its date.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Floors {
    /// Each for itself, by reason and height: none hides another, and lowering one lowers no other.
    standing: Vec<Floor>,
    /// What was forgotten lies at or before it.
    forgotten: Floor,
    /// Where exactly what was let through and is not remembered any more lies: it stays refused when
    /// the floor above it is set anew.
    spans: Spans,
}

// === impl FloorReason ===

impl FloorReason {
    /// Every reason, in the order of the numbers under which they are kept.
    const ALL: [Self; 9] = [
        Self::Known,
        Self::Unguarded,
        Self::New,
        Self::Lost,
        Self::SetBack,
        Self::Unproven,
        Self::Widened,
        Self::Ordered,
        Self::Forgotten,
    ];

    /// Returns the number under which it is kept.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Reads a number; one of a later version is a loss, of which nothing is known either.
    #[must_use]
    pub fn of_number(number: u8) -> Self {
        let known = Self::ALL.into_iter().find(|why| why.number() == number);
        known.unwrap_or(Self::Lost)
    }

    /// Returns why older messages are refused, in words for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Known => "nothing was lost",
            Self::Unguarded => "the journal is new and packets do not age",
            Self::New => "the journal is new",
            Self::Lost => "the journal that was here is gone",
            Self::SetBack => "the journal was put back to an older copy",
            Self::Unproven => "nothing proves that the journal is not an older copy",
            Self::Widened => "older packets are allowed than before",
            Self::Ordered => "the controller says that this host was set back",
            Self::Forgotten => "messages up to then were forgotten",
        }
    }
}

// === impl Floors ===

impl Floors {
    /// Takes floors over as they were kept. The order of floors and spans does not matter.
    #[must_use]
    pub fn kept(floors: &[Floor], spans: &[Span]) -> Self {
        let mut kept = Self::default();
        for floor in floors {
            if floor.why == FloorReason::Forgotten {
                kept.forgotten = higher(kept.forgotten, *floor);
            } else {
                kept.raise(*floor);
            }
        }
        for span in spans {
            kept.spans.add(*span);
        }
        kept
    }

    /// Returns every floor that stands, to be kept.
    pub fn all(&self) -> impl Iterator<Item = Floor> + '_ {
        let forgotten = Some(self.forgotten).filter(|floor| floor.through_secs > 0);
        self.standing.iter().copied().chain(forgotten)
    }

    /// Returns where exactly what was let through and is not remembered any more lies.
    #[must_use]
    pub fn spans(&self) -> &Spans {
        &self.spans
    }

    /// Returns the highest of the floors.
    #[must_use]
    pub fn highest(&self) -> Floor {
        self.standing.iter().copied().fold(self.forgotten, higher)
    }

    /// Returns the newest date that is spent.
    #[must_use]
    pub fn newest_secs(&self) -> u64 {
        self.highest().through_secs.max(self.spans.newest_secs())
    }

    /// The date up to which messages around `dated_secs` are refused, if that one is.
    pub(super) fn over(&self, dated_secs: u64) -> Option<u64> {
        let floor = self.highest().through_secs;
        if floor > 0 && dated_secs <= floor {
            return Some(floor);
        }
        self.spans.over(dated_secs)
    }

    pub(super) fn raise(&mut self, floor: Floor) {
        let is_over = |one: &Floor, other: &Floor| {
            // Higher, and by a clock that is harder to prove wrong: it goes through all that the
            // other goes through. One that no clock may lower is set at 0.
            one.why == other.why
                && one.through_secs >= other.through_secs
                && one.set_at_secs <= other.set_at_secs
        };
        let is_held = self.standing.iter().any(|held| is_over(held, &floor));
        if floor.through_secs == 0 || is_held {
            return;
        }
        self.standing.retain(|held| !is_over(&floor, held));
        self.standing.push(floor);
        self.standing
            .sort_unstable_by_key(|floor| (floor.why.number(), floor.through_secs));
        self.make_room(floor.why);
    }

    /// Of too many floors of a reason two become one, which is as high as the higher and as firm as
    /// the firmer.
    fn make_room(&mut self, why: FloorReason) {
        let alike = self.standing.iter().filter(|floor| floor.why == why);
        if alike.count() <= FLOORS_MAX {
            return;
        }
        let pairs = self.standing.iter().zip(self.standing.iter().skip(1));
        let alike = pairs.filter(|(lower, _)| lower.why == why);
        let alike = alike.filter(|(_, next)| next.why == why);
        let nearest = alike.min_by_key(|(lower, next)| next.set_at_secs - lower.set_at_secs);
        if let Some((lower, next)) = nearest {
            let one = Floor {
                set_at_secs: lower.set_at_secs,
                ..*next
            };
            self.raise(one);
        }
    }

    pub(super) fn prove(&mut self) -> bool {
        let before = self.standing.len();
        self.standing
            .retain(|floor| floor.why != FloorReason::Unproven);
        self.standing.len() < before
    }

    pub(super) fn spend_spans(&mut self, spans: &Spans) {
        for span in spans.iter() {
            self.spans.add(span);
        }
    }

    pub(super) fn spend(&mut self, dated_secs: u64, now_secs: u64) {
        self.spans.add_date(dated_secs);
        if dated_secs > self.forgotten.through_secs {
            self.forgotten = Floor {
                through_secs: dated_secs,
                set_at_secs: now_secs,
                why: FloorReason::Forgotten,
            };
        }
    }

    pub(super) fn correct(&mut self, now_secs: u64, max_future_secs: u64) -> bool {
        let limit_secs = now_secs.saturating_add(max_future_secs);
        self.lower(now_secs, limit_secs, |floor| floor.set_at_secs > now_secs)
    }

    pub(super) fn correct_first(&mut self, now_secs: u64) -> bool {
        let is_wrong =
            |floor: &Floor| floor.why == FloorReason::New && floor.set_at_secs > now_secs;
        self.lower(now_secs, now_secs.saturating_sub(1), is_wrong)
    }

    pub(super) fn reset(&mut self, now_secs: u64, max_future_secs: u64) -> bool {
        let limit_secs = now_secs.saturating_add(max_future_secs);
        self.lower(now_secs, limit_secs, |_| true)
    }

    /// Sets anew, to at most `through_secs`, each floor that `is_wrong`. What was forgotten needs no
    /// more than now: the spans say exactly what lies above.
    fn lower(
        &mut self,
        now_secs: u64,
        through_secs: u64,
        is_wrong: impl Fn(&Floor) -> bool,
    ) -> bool {
        let mut is_lower = is_wrong(&self.forgotten) && self.forgotten.lower(now_secs, now_secs);
        for mut floor in std::mem::take(&mut self.standing) {
            is_lower |= is_wrong(&floor) && floor.lower(through_secs, now_secs);
            self.raise(floor);
        }
        is_lower
    }
}

// === impl Floor ===

impl Floor {
    fn lower(&mut self, through_secs: u64, now_secs: u64) -> bool {
        let is_lower = through_secs < self.through_secs;
        if is_lower {
            self.through_secs = through_secs;
            self.set_at_secs = now_secs;
        }
        is_lower
    }
}

/// The first of two that are as high as each other.
fn higher(one: Floor, other: Floor) -> Floor {
    if other.through_secs > one.through_secs {
        other
    } else {
        one
    }
}
