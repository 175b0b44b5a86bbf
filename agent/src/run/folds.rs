//! What repeats is counted, not written down each time.
//!
//! Whoever has captured one packet can send copies of it without end, and anyone can send junk. So
//! that neither fills a disk: an authentic packet that is refused is recorded at once the first
//! time, and its repetitions as a count at the end of the minute; strangers are counts per source
//! and minute from the start, and beyond the loudest sources one count for all the rest.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use fleet::{Event, EventKind};
use gate::{Check, Now, Refusal};
use hashbrown::HashMap;

/// How often counts are written down.
const WINDOW: Duration = Duration::from_secs(60);
/// Different refusals recorded one by one in a window; further ones are counted together.
const REFUSALS_MAX: usize = 256;
/// Sources of junk that are told apart while counting.
const SOURCES_MAX: usize = 1024;
/// Sources of junk that get an event of their own.
const LOUDEST: usize = 16;

/// Counts of this minute.
#[derive(Debug)]
pub(super) struct Folds {
    refusals: HashMap<([u8; 32], Check), Repeated>,
    further: Option<Repeated>,
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

// === impl Folds ===

impl Folds {
    pub(super) fn new(steady: Duration) -> Self {
        Self {
            refusals: HashMap::new(),
            further: None,
            strangers: HashMap::new(),
            other_strangers: 0,
            ends_at: steady + WINDOW,
        }
    }

    /// Counts the refusal of an authentic message. Gives the event back if it is to be recorded now.
    pub(super) fn refused(
        &mut self,
        refusal: &Refusal,
        digest: [u8; 32],
        event: impl FnOnce() -> Event,
    ) -> Option<Event> {
        let key = (digest, refusal.check);
        if let Some(known) = self.refusals.get_mut(&key) {
            known.again += 1;
            return None;
        }
        if self.refusals.len() < REFUSALS_MAX {
            let event = event();
            let repeated = Repeated {
                event: event.clone(),
                again: 0,
            };
            self.refusals.insert(key, repeated);
            return Some(event);
        }
        let further = self.further.get_or_insert_with(|| Repeated {
            event: event(),
            again: 0,
        });
        further.again += 1;
        None
    }

    /// Counts a packet of a stranger.
    pub(super) fn stranger(&mut self, source: IpAddr) {
        if let Some(count) = self.strangers.get_mut(&source) {
            *count += 1;
        } else if self.strangers.len() < SOURCES_MAX {
            self.strangers.insert(source, 1);
        } else {
            self.other_strangers += 1;
        }
    }

    pub(super) fn ends_at(&self) -> Duration {
        self.ends_at
    }

    /// Ends the window and gives what it counted. Nothing for a quiet minute.
    pub(super) fn end(&mut self, now: Now) -> Vec<Event> {
        self.ends_at = now.steady + WINDOW;
        let mut events = self.loudest(now);
        let repeated = std::mem::take(&mut self.refusals).into_values();
        for Repeated { mut event, again } in repeated.filter(|repeated| repeated.again > 0) {
            event.at_ms = now.wall_ms();
            event.count = again;
            event.reason.push_str(" (again)");
            events.push(event);
        }
        if let Some(Repeated { mut event, again }) = self.further.take() {
            event.at_ms = now.wall_ms();
            event.count = again;
            event
                .reason
                .push_str(" (and further refusals of this minute)");
            events.push(event);
        }
        events
    }

    fn loudest(&mut self, now: Now) -> Vec<Event> {
        let mut rest = std::mem::take(&mut self.other_strangers);
        // Ordered by count, then by address.
        let ranked: BTreeMap<(u64, IpAddr), ()> = std::mem::take(&mut self.strangers)
            .into_iter()
            .map(|(source, count)| ((count, source), ()))
            .collect();
        let mut events = Vec::new();
        for (count, source) in ranked.into_keys().rev() {
            if events.len() < LOUDEST {
                events.push(noise(now, &source.to_string(), count));
            } else {
                rest += count;
            }
        }
        if rest > 0 {
            events.push(noise(now, "", rest));
        }
        events
    }
}

fn noise(now: Now, source: &str, count: u64) -> Event {
    let mut event = Event::new(EventKind::Noise, now.wall_ms());
    source.clone_into(&mut event.source);
    event.reason = if source.is_empty() {
        "packets of strangers, from many sources".to_owned()
    } else {
        "packets of strangers".to_owned()
    };
    event.count = count;
    event
}

#[cfg(test)]
mod tests {
    use gate::Reason;

    use super::*;

    #[test]
    fn a_replay_sent_a_thousand_times_is_two_events() {
        let mut folds = Folds::new(Duration::ZERO);
        let refusal = refusal();

        let recorded = (0..1_000)
            .filter_map(|_| folds.refused(&refusal, [7; 32], replay))
            .count();
        let counted = folds.end(Now::default());

        assert_eq!(recorded, 1);
        assert_eq!(counted.len(), 1);
        assert_eq!(counted[0].count, 999);
        assert_eq!(folds.end(Now::default()), []);
    }

    #[test]
    fn a_flood_of_different_refusals_is_bounded_and_counted_to_the_last() {
        let mut folds = Folds::new(Duration::ZERO);
        let refusal = refusal();

        let recorded = (0..10_000_u32)
            .filter_map(|n| {
                let mut digest = [0; 32];
                digest[..4].copy_from_slice(&n.to_be_bytes());
                folds.refused(&refusal, digest, replay)
            })
            .count();
        let counted: u64 = folds.end(Now::default()).iter().map(|e| e.count).sum();

        assert_eq!(recorded, REFUSALS_MAX);
        assert_eq!(recorded as u64 + counted, 10_000);
    }

    #[test]
    fn strangers_from_everywhere_are_a_bounded_number_of_events_and_none_is_lost() {
        let mut folds = Folds::new(Duration::ZERO);
        for n in 0..5_000_u32 {
            folds.stranger(IpAddr::from(n.to_be_bytes()));
        }
        for _ in 0..10 {
            folds.stranger(IpAddr::from([0, 0, 0, 9]));
        }

        let events = folds.end(Now::default());

        assert_eq!(events.len(), LOUDEST + 1);
        assert_eq!(
            (events[0].source.as_str(), events[0].count),
            ("0.0.0.9", 11)
        );
        assert_eq!(events.iter().map(|event| event.count).sum::<u64>(), 5_010);
    }

    fn refusal() -> Refusal {
        Refusal {
            check: Check::Replay,
            reason: Reason::Replayed,
            source: IpAddr::from([192, 0, 2, 1]),
            authentic: None,
            copies: 0,
        }
    }

    fn replay() -> Event {
        Event::new(EventKind::Replay, 1)
    }
}
