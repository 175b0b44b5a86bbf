//! Spans of dates: a few, in place of all the dates of messages.

/// Spans that are told apart; beyond, the two oldest become one.
const SPANS_MAX: usize = 16;
/// Spans that are so near to each other become one: what lies between them is refused for no longer
/// than the default window takes twice.
const NEAR_SECS: u64 = 240;

/// Dates of messages that were let through, both ends included.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Span {
    /// The oldest of them, seconds since the Unix epoch.
    pub from_secs: u64,
    /// The newest of them.
    pub through_secs: u64,
}

/// Spans, oldest first and apart from each other. They cover every date that was added.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Spans(Vec<Span>);

// === impl Spans ===

impl Spans {
    /// There are never more.
    pub const MOST: usize = SPANS_MAX;

    /// Returns them, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Span> + '_ {
        self.0.iter().copied()
    }

    /// Returns the newest date in them; 0 for none.
    #[must_use]
    pub fn newest_secs(&self) -> u64 {
        self.0.last().map_or(0, |span| span.through_secs)
    }

    /// Returns the end of the span in which a date lies.
    #[must_use]
    pub fn over(&self, dated_secs: u64) -> Option<u64> {
        let over = |span: &&Span| (span.from_secs..=span.through_secs).contains(&dated_secs);
        self.0.iter().find(over).map(|span| span.through_secs)
    }

    /// Adds the date of a message.
    pub fn add_date(&mut self, dated_secs: u64) {
        self.add(Span {
            from_secs: dated_secs,
            through_secs: dated_secs,
        });
    }

    /// Adds a span; what touches or lies near becomes one with it.
    pub fn add(&mut self, mut span: Span) {
        let near = |one: &Span, other: &Span| {
            one.from_secs <= other.through_secs.saturating_add(NEAR_SECS)
                && other.from_secs <= one.through_secs.saturating_add(NEAR_SECS)
        };
        self.0.retain(|other| {
            let is_near = near(&span, other);
            if is_near {
                span.from_secs = span.from_secs.min(other.from_secs);
                span.through_secs = span.through_secs.max(other.through_secs);
            }
            !is_near
        });
        let place = self
            .0
            .partition_point(|other| other.from_secs < span.from_secs);
        self.0.insert(place, span);
        if self.0.len() > SPANS_MAX {
            let oldest = self.0.remove(0);
            if let Some(next) = self.0.first_mut() {
                next.from_secs = oldest.from_secs;
            }
        }
    }
}
