//! What is counted while the controller runs.

use std::time::Duration;

use fleet::EventKind;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::error::Error;
use crate::store::Store;
use crate::store::model::ClaimOutcome;

/// Half a millisecond to 16 seconds: the first bound, the factor to the next, how many.
const CLAIM_BUCKETS: (f64, f64, u16) = (0.0005, 2.0, 16);

/// What a claim comes to.
const OUTCOMES: [&str; 4] = ["won", "lost", "spent", "refused"];

/// One label of a series.
pub(super) type Label = [(&'static str, String); 1];

/// See the module.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(super) claims: Family<Label, Histogram, fn() -> Histogram>,
    pub(super) events: Family<Label, Counter>,
    /// Pushes of hosts that were made to wait.
    pub(super) held_back: Counter,
    /// Records up to this one are counted in `events`.
    counted_id: Mutex<Option<u64>>,
    /// When certificates expire, seconds since the Unix epoch.
    pub(super) expiries: Mutex<Vec<(&'static str, u64)>>,
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new(expiries: Vec<(&'static str, u64)>) -> Self {
        let claims: Family<Label, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(histogram);
        let events = Family::<Label, Counter>::default();
        // A series that is there from the start: of one that only begins with its first event,
        // nobody sees that it rose.
        for outcome in OUTCOMES {
            drop(claims.get_or_create(&label("outcome", outcome)));
        }
        for kind in EventKind::ALL {
            drop(events.get_or_create(&label("kind", kind.as_str())));
        }
        Self {
            claims,
            events,
            held_back: Counter::default(),
            counted_id: Mutex::default(),
            expiries: Mutex::new(expiries),
        }
    }

    /// When certificates expire from now on, seconds since the Unix epoch.
    pub(crate) fn expire_at(&self, expiries: Vec<(&'static str, u64)>) {
        *self.expiries.lock() = expiries;
    }

    /// A push of a host was made to wait.
    pub(crate) fn held_back(&self) {
        self.held_back.inc();
    }

    /// A claim was answered after so long.
    pub(crate) fn claimed(&self, outcome: &Result<ClaimOutcome, Error>, took: Duration) {
        let [won, lost, spent, refused] = OUTCOMES;
        let outcome = match outcome {
            Ok(ClaimOutcome::Won | ClaimOutcome::WonBefore) => won,
            Ok(ClaimOutcome::Lost { .. }) => lost,
            Ok(ClaimOutcome::Spent) => spent,
            Err(_) => refused,
        };
        let claims = self.claims.get_or_create(&label("outcome", outcome));
        claims.observe(took.as_secs_f64());
    }

    /// Counts the kinds of the records that came since the last time, and gives the newest one. Those
    /// of before the first time are not counted: a counter begins at 0.
    pub(super) async fn count_events(&self, store: &Store) -> Result<u64, Error> {
        let newest = store.newest_record().await?;
        let from = self.counted_id.lock().replace(newest);
        if let Some(from) = from.filter(|from| *from < newest) {
            for (kind, count) in store.kinds_between(from, newest).await? {
                let kind = EventKind::name_of(kind);
                let events = self.events.get_or_create(&label("kind", &kind));
                events.inc_by(count);
            }
        }
        Ok(newest)
    }
}

fn histogram() -> Histogram {
    let (start, factor, length) = CLAIM_BUCKETS;
    Histogram::new(exponential_buckets(start, factor, length))
}

pub(super) fn label(name: &'static str, value: &str) -> Label {
    [(name, value.to_owned())]
}
