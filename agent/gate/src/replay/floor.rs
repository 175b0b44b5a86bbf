//! Floors: dates at or before which messages are refused, with the clock that set each.

/// Spans of spent dates that are told apart; beyond, the two oldest become one.
const SPANS_MAX: usize = 16;
/// Spans that are so near to each other become one: what lies between them is refused for no longer
/// than the default window takes twice.
const NEAR_SECS: u64 = 240;

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

/// Dates of messages that were let through and forgotten, both ends included.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Span {
    /// The oldest of them, seconds since the Unix epoch.
    pub from_secs: u64,
    /// The newest of them.
    pub through_secs: u64,
}

/// Everything that is refused by its date.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Floors {
    /// What a loss needs: nobody knows what was let through up to there.
    lost: Floor,
    /// The same, for as long as nothing proves that nothing was lost.
    unproven: Floor,
    /// What was forgotten lies at or before it.
    forgotten: Floor,
    /// Where exactly what was forgotten lies, oldest first and apart from each other: it stays
    /// refused when the floor above it is set anew.
    spans: Vec<Span>,
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
    /// Takes floors over as they were kept. Order and distance of `spans` do not matter.
    #[must_use]
    pub fn kept(lost: Floor, unproven: Floor, forgotten: Floor, spans: &[Span]) -> Self {
        let mut floors = Self {
            lost,
            unproven,
            forgotten,
            spans: Vec::new(),
        };
        for span in spans {
            floors.add(*span);
        }
        floors
    }

    /// Returns the floor of a loss.
    #[must_use]
    pub fn lost(&self) -> Floor {
        self.lost
    }

    /// Returns the floor of what may have been lost.
    #[must_use]
    pub fn unproven(&self) -> Floor {
        self.unproven
    }

    /// Returns the floor of what was forgotten.
    #[must_use]
    pub fn forgotten(&self) -> Floor {
        self.forgotten
    }

    /// Returns where exactly what was forgotten lies, oldest first.
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Returns the highest of the floors.
    #[must_use]
    pub fn highest(&self) -> Floor {
        let higher = |one: Floor, other: Floor| {
            if other.through_secs > one.through_secs {
                other
            } else {
                one
            }
        };
        higher(higher(self.lost, self.unproven), self.forgotten)
    }

    /// Returns the newest date that is spent.
    #[must_use]
    pub fn newest_secs(&self) -> u64 {
        let span = self.spans.last().map_or(0, |span| span.through_secs);
        self.highest().through_secs.max(span)
    }

    /// The date up to which messages around `dated_secs` are refused, if that one is.
    pub(super) fn over(&self, dated_secs: u64) -> Option<u64> {
        let floor = self.highest().through_secs;
        if floor > 0 && dated_secs <= floor {
            return Some(floor);
        }
        let over = |span: &&Span| (span.from_secs..=span.through_secs).contains(&dated_secs);
        self.spans.iter().find(over).map(|span| span.through_secs)
    }

    pub(super) fn raise(&mut self, floor: Floor) {
        let place = if floor.why == FloorReason::Unproven {
            &mut self.unproven
        } else {
            &mut self.lost
        };
        // One that no clock may lower (set at 0) stays so, whichever of both is higher; and one of a
        // first start is none any more once something was lost.
        let is_exact = floor.through_secs > 0 && floor.set_at_secs == 0;
        let was_exact = place.through_secs > 0 && place.set_at_secs == 0;
        if floor.through_secs > place.through_secs {
            *place = floor;
        } else if floor.through_secs > 0 && place.why == FloorReason::New {
            place.why = floor.why;
        }
        if is_exact || was_exact {
            place.set_at_secs = 0;
        }
    }

    pub(super) fn prove(&mut self) -> bool {
        std::mem::take(&mut self.unproven).through_secs > 0
    }

    pub(super) fn spend(&mut self, dated_secs: u64, now_secs: u64) {
        self.add(Span {
            from_secs: dated_secs,
            through_secs: dated_secs,
        });
        if dated_secs > self.forgotten.through_secs {
            self.forgotten = Floor {
                through_secs: dated_secs,
                set_at_secs: now_secs,
                why: FloorReason::Forgotten,
            };
        }
    }

    pub(super) fn correct(&mut self, now_secs: u64, max_future_secs: u64) -> bool {
        self.lower(now_secs, max_future_secs, |floor| {
            floor.set_at_secs > now_secs
        })
    }

    pub(super) fn correct_first(&mut self, now_secs: u64) -> bool {
        self.lost.why == FloorReason::New
            && self.lost.set_at_secs > now_secs
            && self.lost.lower(now_secs.saturating_sub(1), now_secs)
    }

    pub(super) fn reset(&mut self, now_secs: u64, max_future_secs: u64) -> bool {
        self.lower(now_secs, max_future_secs, |_| true)
    }

    /// Sets anew each floor that `is_wrong`. What was forgotten needs no more than now: the spans say
    /// exactly what lies above.
    fn lower(
        &mut self,
        now_secs: u64,
        max_future_secs: u64,
        is_wrong: impl Fn(&Floor) -> bool,
    ) -> bool {
        let limit_secs = now_secs.saturating_add(max_future_secs);
        let floors = [
            (&mut self.lost, limit_secs),
            (&mut self.unproven, limit_secs),
            (&mut self.forgotten, now_secs),
        ];
        let mut is_lower = false;
        for (floor, through_secs) in floors {
            is_lower |= is_wrong(floor) && floor.lower(through_secs, now_secs);
        }
        is_lower
    }

    /// Adds a span; what touches or lies near becomes one with it.
    fn add(&mut self, mut span: Span) {
        let near = |one: &Span, other: &Span| {
            one.from_secs <= other.through_secs.saturating_add(NEAR_SECS)
                && other.from_secs <= one.through_secs.saturating_add(NEAR_SECS)
        };
        self.spans.retain(|other| {
            let is_near = near(&span, other);
            if is_near {
                span.from_secs = span.from_secs.min(other.from_secs);
                span.through_secs = span.through_secs.max(other.through_secs);
            }
            !is_near
        });
        let place = self
            .spans
            .partition_point(|other| other.from_secs < span.from_secs);
        self.spans.insert(place, span);
        if self.spans.len() > SPANS_MAX {
            let oldest = self.spans.remove(0);
            if let Some(next) = self.spans.first_mut() {
                next.from_secs = oldest.from_secs;
            }
        }
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
