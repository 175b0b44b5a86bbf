//! What repeats is counted, not written down each time.
//!
//! Whoever has captured one packet can send copies of it without end, and anyone can send junk. So
//! that neither fills a disk: an authentic packet that is refused is recorded at once the first
//! time, and its repetitions as a count at the end of the minute. Every key has an allowance of such
//! records of its own, so that one user's refusals hide nobody else's; it comes back slowly, and what
//! is beyond it is counted for that key and check. Strangers are counts per source and minute from the start, and beyond the loudest
//! sources one count for all the rest.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use fleet::Event;
use gate::{Check, Grant, Identity, Now, Refusal};
use hashbrown::HashMap;
use spa::Fingerprint;

use crate::record;

/// How often counts are written down.
const WINDOW: Duration = Duration::from_secs(60);
/// Different refusals of one key that are recorded one by one.
const REFUSALS_PER_KEY: u32 = 256;
/// So many of them a key has again after a window: one that floods for a day leaves 24,000 records,
/// some 10 MB, whatever it sends.
const REFUSALS_BACK: u32 = 16;
/// The same when very many refusals of other keys are remembered already.
const REFUSALS_PER_KEY_MIN: u32 = 8;
/// Refusals remembered in a window, so that their repetitions are counted: some 4 MB.
const REFUSALS_MAX: usize = 8_192;
/// Keys that are told apart in a window; the refusals of all others are counted together.
const KEYS_MAX: usize = 4_096;
/// Sources of junk that are told apart while counting.
const SOURCES_MAX: usize = 1_024;
/// Sources of junk that get an event of their own.
const LOUDEST: usize = 16;

/// Counts of this minute.
#[derive(Debug)]
pub(crate) struct Totals {
    refusals: HashMap<([u8; 32], Check), Repeated>,
    keys: HashMap<Fingerprint, OfKey>,
    /// Refusals of keys beyond [`KEYS_MAX`].
    other_keys: Option<Repeated>,
    strangers: HashMap<IpAddr, u64>,
    other_strangers: u64,
    ends_at: Duration,
}

/// A refusal as it was recorded the first time, and how often it came again since.
#[derive(Debug)]
struct Repeated {
    event: Event,
    again: u64,
}

/// What a key has used of its allowance.
#[derive(Debug, Default)]
struct OfKey {
    recorded: u32,
    /// What is beyond it, by the check that refused: a handful.
    further: Vec<(Check, Repeated)>,
}

// === impl Totals ===

impl Totals {
    pub(crate) fn new(steady: Duration) -> Self {
        Self {
            refusals: HashMap::new(),
            keys: HashMap::new(),
            other_keys: None,
            strangers: HashMap::new(),
            other_strangers: 0,
            ends_at: steady + WINDOW,
        }
    }

    /// Counts the refusal of an authentic message. Gives an event if it is to be recorded now.
    pub(crate) fn refused(
        &mut self,
        refusal: &Refusal,
        identity: &Identity,
        now: Now,
    ) -> Option<Event> {
        let name = (identity.opened().replay_digest().0, refusal.check);
        self.count(name, identity.key(), || {
            record::refused(refusal, identity, now)
        })
    }

    /// Counts the refusal of what a stanza permits, for a reason of this host's own.
    pub(crate) fn grant_refused(&mut self, grant: &Grant, reason: &str, now: Now) -> Option<Event> {
        let identity = grant.identity();
        let name = (identity.opened().replay_digest().0, Check::Authorize);
        self.count(name, identity.key(), || {
            record::grant_refused(grant, reason, now)
        })
    }

    fn count(
        &mut self,
        name: ([u8; 32], Check),
        key: Fingerprint,
        event: impl FnOnce() -> Event,
    ) -> Option<Event> {
        if let Some(known) = self.refusals.get_mut(&name) {
            known.again += 1;
            return None;
        }
        let knows_more_keys = self.keys.len() < KEYS_MAX || self.keys.contains_key(&key);
        if !knows_more_keys {
            again(&mut self.other_keys, event);
            return None;
        }
        let remembers_more = self.refusals.len() < REFUSALS_MAX;
        let allowance = if remembers_more {
            REFUSALS_PER_KEY
        } else {
            REFUSALS_PER_KEY_MIN
        };
        let of_key = self.keys.entry(key).or_default();
        if of_key.recorded >= allowance {
            of_key.further(name.1, event);
            return None;
        }
        of_key.recorded += 1;
        let event = event();
        if remembers_more {
            let repeated = Repeated {
                event: event.clone(),
                again: 0,
            };
            self.refusals.insert(name, repeated);
        }
        Some(event)
    }

    /// Counts a packet of a stranger.
    pub(crate) fn stranger(&mut self, source: IpAddr) {
        if let Some(count) = self.strangers.get_mut(&source) {
            *count += 1;
        } else if self.strangers.len() < SOURCES_MAX {
            self.strangers.insert(source, 1);
        } else {
            self.other_strangers += 1;
        }
    }

    pub(crate) fn ends_at(&self) -> Duration {
        self.ends_at
    }

    /// Ends the window and gives what it counted. Nothing for a quiet minute.
    pub(crate) fn end(&mut self, now: Now) -> Vec<Event> {
        self.ends_at = now.steady + WINDOW;
        let mut events = self.loudest(now);
        let repeated = std::mem::take(&mut self.refusals).into_values();
        let repeated = repeated.filter(|repeated| repeated.again > 0);
        events.extend(repeated.map(|repeated| repeated.counted(now, " (again)")));

        let note = " (and further refusals of this key in this minute)";
        self.keys.retain(|_, of_key| {
            let further = std::mem::take(&mut of_key.further).into_iter();
            events.extend(further.map(|(_, further)| further.counted(now, note)));
            of_key.recorded = of_key.recorded.saturating_sub(REFUSALS_BACK);
            of_key.recorded > 0
        });

        let others = self.other_keys.take();
        let note = " (and further refusals of further keys in this minute)";
        events.extend(others.map(|others| others.counted(now, note)));
        events
    }

    fn loudest(&mut self, now: Now) -> Vec<Event> {
        let mut rest = std::mem::take(&mut self.other_strangers);
        // Ordered by count, then by address.
        let ranked: BTreeMap<(u64, IpAddr), ()> = self
            .strangers
            .drain()
            .map(|(source, count)| ((count, source), ()))
            .collect();
        let mut events = Vec::new();
        for (count, source) in ranked.into_keys().rev() {
            if events.len() < LOUDEST {
                events.push(record::noise(now, Some(source), count));
            } else {
                rest += count;
            }
        }
        if rest > 0 {
            events.push(record::noise(now, None, rest));
        }
        events
    }
}

// === impl OfKey ===

impl OfKey {
    fn further(&mut self, check: Check, event: impl FnOnce() -> Event) {
        if let Some((_, known)) = self.further.iter_mut().find(|(of, _)| *of == check) {
            known.again += 1;
        } else {
            let event = event();
            self.further.push((check, Repeated { event, again: 1 }));
        }
    }
}

// === impl Repeated ===

impl Repeated {
    fn counted(self, now: Now, note: &str) -> Event {
        let Self { mut event, again } = self;
        event.at_ms = now.wall_ms();
        event.count = again;
        event.reason.push_str(note);
        event
    }
}

/// Counts once more what stands in `place`, which begins with `event`.
fn again(place: &mut Option<Repeated>, event: impl FnOnce() -> Event) {
    let repeated = place.get_or_insert_with(|| Repeated {
        event: event(),
        again: 0,
    });
    repeated.again += 1;
}

#[cfg(test)]
mod tests {
    use fleet::EventKind;

    use super::*;

    #[test]
    fn a_replay_sent_a_thousand_times_is_two_events() {
        let mut totals = Totals::new(Duration::ZERO);

        let recorded = (0..1_000)
            .filter_map(|_| totals.count(([7; 32], Check::Replay), ALICE, replay))
            .count();
        let counted = totals.end(Now::default());

        assert_eq!(recorded, 1);
        assert_eq!(counted.len(), 1);
        assert_eq!(counted[0].count, 999);
        assert_eq!(totals.end(Now::default()), []);
    }

    #[test]
    fn a_flood_of_different_refusals_is_bounded_and_counted_to_the_last() {
        let mut totals = Totals::new(Duration::ZERO);

        let recorded = refuse(&mut totals, ALICE, 0..10_000);
        let counted: u64 = totals.end(Now::default()).iter().map(|e| e.count).sum();

        assert_eq!(recorded, u64::from(REFUSALS_PER_KEY));
        assert_eq!(recorded + counted, 10_000);
    }

    #[test]
    fn a_key_that_floods_for_a_day_leaves_a_bounded_number_of_events_and_none_is_uncounted() {
        let mut totals = Totals::new(Duration::ZERO);
        let (mut events, mut counted) = (0, 0);

        for minute in 0..1_440 {
            let recorded = refuse(&mut totals, ALICE, minute * 1_000..(minute + 1) * 1_000);
            let folded = totals.end(Now::default());
            events += recorded + folded.len() as u64;
            counted += recorded + folded.iter().map(|event| event.count).sum::<u64>();
        }

        assert_eq!(counted, 1_440_000);
        let most = u64::from(REFUSALS_PER_KEY + 1_440 * (REFUSALS_BACK + 1));
        assert!(events <= most, "{events}");
        // A quiet key is forgotten.
        for _ in 0..REFUSALS_PER_KEY / REFUSALS_BACK {
            totals.end(Now::default());
        }
        assert!(totals.keys.is_empty());
    }

    #[test]
    fn one_users_refusals_do_not_hide_anothers() {
        let mut totals = Totals::new(Duration::ZERO);

        let of_alice = refuse(&mut totals, ALICE, 0..300);
        let of_mallory = refuse(&mut totals, Fingerprint([2; 8]), 300..305);

        assert_eq!(of_alice, 256);
        assert_eq!(of_mallory, 5);
        let counted = totals.end(Now::default());
        assert_eq!(counted.len(), 1, "{counted:?}");
        assert_eq!(counted[0].count, 44);
    }

    #[test]
    fn however_many_keys_flood_each_has_some_records_and_memory_is_bounded() {
        let mut totals = Totals::new(Duration::ZERO);
        let key = |n: u32| {
            let [a, b, c, d] = n.to_be_bytes();
            Fingerprint([a, b, c, d, 0, 0, 0, 0])
        };

        for n in 0..100 {
            refuse(&mut totals, key(n), n * 300..n * 300 + 300);
        }
        let of_the_last = refuse(&mut totals, key(100), 1_000_000..1_000_005);

        assert_eq!(of_the_last, 5);
        assert_eq!(totals.refusals.len(), REFUSALS_MAX);
        for n in 0..10_000 {
            refuse(&mut totals, key(n), 2_000_000 + n..2_000_001 + n);
        }
        assert_eq!(totals.keys.len(), KEYS_MAX);
    }

    #[test]
    fn strangers_from_everywhere_are_a_bounded_number_of_events_and_none_is_lost() {
        let mut totals = Totals::new(Duration::ZERO);
        for n in 0..5_000_u32 {
            totals.stranger(IpAddr::from(n.to_be_bytes()));
        }
        for _ in 0..10 {
            totals.stranger(IpAddr::from([0, 0, 0, 9]));
        }

        let events = totals.end(Now::default());

        assert_eq!(events.len(), LOUDEST + 1);
        assert_eq!(
            (events[0].source.as_str(), events[0].count),
            ("0.0.0.9", 11)
        );
        assert_eq!(events.iter().map(|event| event.count).sum::<u64>(), 5_010);
    }

    const ALICE: Fingerprint = Fingerprint([1; 8]);

    /// How many of these different refusals are recorded at once.
    fn refuse(totals: &mut Totals, key: Fingerprint, numbers: std::ops::Range<u32>) -> u64 {
        let recorded = numbers.filter_map(|n| {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&n.to_be_bytes());
            totals.count((digest, Check::Replay), key, replay)
        });
        recorded.count() as u64
    }

    fn replay() -> Event {
        Event::new(EventKind::Replay, 1)
    }
}
