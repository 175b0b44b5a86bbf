//! Where the controller is dialled next: one of several, while any of them answers.
//!
//! Pure: what happened and when comes in, where to dial or how long to wait comes out. A place is kept while it works.
//! When it fails, every other one that is not being rested is tried before anything is waited for; one that fails is
//! rested for longer each time, on its own account, so that none is hammered and none is given up.

use std::time::Duration;

use super::backoff::Backoff;
use super::home::Home;

/// When a controller ends under a whole fleet, its hosts come to the others within this, and not in one moment.
const SPREAD: Duration = Duration::from_millis(300);

/// All places that are known, in the order in which they are tried.
#[derive(Debug)]
pub(super) struct Places {
    places: Vec<Place>,
    /// The one in use, or tried last.
    at: usize,
    /// It ended the session in an orderly way, and is asked again before others are.
    is_asked_again: bool,
    home: Home,
}

#[derive(Debug)]
struct Place {
    address: String,
    backoff: Backoff,
    /// By the steady clock.
    not_before: Duration,
}

/// What to do now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Next {
    Dial(String),
    Wait(Duration),
}

/// How it ended at a place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ended {
    /// No session was opened, or nothing was heard in it.
    Unheard,
    /// A session broke in which something was heard, after so long.
    Broke { was_long: bool },
    /// One was ended in an orderly way, by either side: there is one to be had again.
    Orderly { was_long: bool },
}

// === impl Places ===

impl Places {
    /// The first is dialled first.
    pub(super) fn new(addresses: Vec<String>, home: Home) -> Self {
        let mut places = Self {
            places: Vec::new(),
            at: 0,
            is_asked_again: false,
            home,
        };
        places.know(addresses);
        places
    }

    /// Which are known now, in the order in which they are tried. The one in use stays in use, also where it is not
    /// among them; nothing is forgotten of those that are. None at all is no news.
    pub(super) fn know(&mut self, addresses: Vec<String>) {
        if addresses.is_empty() {
            return;
        }
        let mut before = std::mem::take(&mut self.places);
        let in_use = before.get(self.at).map(|place| place.address.clone());
        for address in addresses {
            if self.places.iter().any(|place| place.address == address) {
                continue;
            }
            let known = before.iter().position(|place| place.address == address);
            let place = known.map_or_else(|| Place::new(address), |at| before.swap_remove(at));
            self.places.push(place);
        }
        let Some(in_use) = in_use else {
            self.at = 0;
            return;
        };
        let position = |places: &[Place]| places.iter().position(|place| place.address == in_use);
        self.at = position(&self.places).unwrap_or_else(|| {
            self.places
                .extend(before.into_iter().find(|it| it.address == in_use));
            self.places.len().saturating_sub(1)
        });
    }

    /// The one in use, or tried last.
    pub(super) fn current(&self) -> &str {
        self.places.get(self.at).map_or("", |place| &place.address)
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        self.places.iter().map(|place| place.address.as_str())
    }

    /// Where to dial now; `now` is of the steady clock.
    pub(super) fn next(&mut self, now: Duration) -> Next {
        let count = self.places.len();
        let ring = (0..count).map(|step| (self.at + step) % count);
        let ring = ring.take(if self.is_asked_again { 1 } else { count });
        let due: Vec<(usize, Duration)> = ring
            .filter_map(|at| Some((at, self.places.get(at)?.not_before)))
            .collect();
        if let Some(&(at, _)) = due.iter().find(|(_, not_before)| *not_before <= now) {
            self.at = at;
            return Next::Dial(self.current().to_owned());
        }
        let first = due.iter().map(|(_, not_before)| *not_before).min();
        Next::Wait(first.unwrap_or(now + SPREAD).saturating_sub(now))
    }

    /// A session was opened at the one in use.
    pub(super) fn opened(&mut self, now: Duration, share: f64) {
        self.home.opened(self.at == 0, now, share);
    }

    /// They may be in another order now, while a session goes on.
    pub(super) fn reordered(&mut self, now: Duration, share: f64) {
        self.home.reordered(self.at == 0, now, share);
    }

    /// When an earlier one than that in use is tried, by the steady clock.
    pub(super) fn goes_home_at(&self) -> Option<Duration> {
        self.home.due()
    }

    /// The earliest that is not being rested, where it comes before the one in use.
    pub(super) fn earlier(&self, now: Duration) -> Option<String> {
        let mut earlier = self.places.iter().take(self.at);
        let found = earlier.find(|place| place.not_before <= now);
        found.map(|place| place.address.clone())
    }

    /// A session was opened there beside the one in use, which it replaces.
    pub(super) fn went_home(&mut self, address: &str, now: Duration, share: f64) {
        if let Some(at) = self.places.iter().position(|it| it.address == address) {
            self.at = at;
        }
        self.opened(now, share);
    }

    /// None was opened.
    pub(super) fn stays(&mut self, now: Duration, share: f64) {
        self.home.failed(now, share);
    }

    /// It has ended at the one in use, at this moment. `share` of the moment in which others are dialled is for those who
    /// come at the same time, from 0 to 1.
    pub(super) fn ended(&mut self, how: Ended, now: Duration, share: f64) {
        let at = self.at;
        if let Some(place) = self.places.get_mut(at) {
            match how {
                Ended::Broke { was_long } | Ended::Orderly { was_long } => {
                    place.backoff.succeeded(was_long);
                }
                Ended::Unheard => {}
            }
            place.not_before = now + place.backoff.next();
        }
        if !matches!(how, Ended::Unheard) {
            self.home.ended(at == 0, now);
        }
        self.is_asked_again = matches!(how, Ended::Orderly { .. });
        if matches!(how, Ended::Broke { .. }) {
            let from = now + SPREAD.mul_f64(share.clamp(0.0, 1.0));
            for place in &mut self.places {
                place.not_before = place.not_before.max(from);
            }
        }
    }
}

// === impl Place ===

impl Place {
    fn new(address: String) -> Self {
        Self {
            address,
            backoff: Backoff::new(),
            not_before: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);
    const BROKE: Ended = Ended::Broke { was_long: true };
    const ORDERLY: Ended = Ended::Orderly { was_long: true };

    fn places(addresses: &[&str]) -> Places {
        let addresses = addresses.iter().map(|&it| it.to_owned()).collect();
        Places::new(addresses, Home::new(Duration::from_secs(60)))
    }

    fn dial(address: &str) -> Next {
        Next::Dial(address.to_owned())
    }

    #[test]
    fn a_place_is_kept_while_it_works_and_left_at_once_when_it_breaks() {
        let mut places = places(&["a", "b", "c"]);
        assert_eq!(places.next(NOW), dial("a"));

        places.ended(BROKE, NOW, 0.0);
        assert_eq!(places.next(NOW), dial("b"));

        // One that works again is no reason to leave one that works.
        places.ended(ORDERLY, NOW, 0.0);
        let Next::Wait(wait) = places.next(NOW) else {
            panic!("not rested")
        };
        assert!(wait <= Duration::from_millis(400), "{wait:?}");
        assert_eq!(places.next(NOW + wait), dial("b"));
    }

    #[test]
    fn all_that_are_known_are_tried_before_anything_is_waited_for() {
        let mut places = places(&["a", "b", "c"]);
        for address in ["a", "b", "c"] {
            assert_eq!(places.next(NOW), dial(address));
            places.ended(Ended::Unheard, NOW, 0.5);
        }

        assert!(matches!(places.next(NOW), Next::Wait(wait) if wait > Duration::ZERO));
    }

    #[test]
    fn no_place_is_dialled_more_often_than_where_it_is_the_only_one() {
        let mut places = places(&["a", "b", "c"]);
        let mut dials = std::collections::BTreeMap::<String, u32>::new();
        let (mut now, end) = (NOW, NOW + Duration::from_secs(600));
        while now < end {
            match places.next(now) {
                Next::Dial(address) => {
                    *dials.entry(address).or_default() += 1;
                    places.ended(Ended::Unheard, now, 0.5);
                }
                Next::Wait(wait) => now += wait,
            }
        }

        // 0.2 s, doubled up to 15 s, and at most as much again.
        assert_eq!(dials.len(), 3);
        assert!(
            dials.values().all(|times| (20..60).contains(times)),
            "{dials:?}"
        );
    }

    #[test]
    fn those_of_a_controller_that_has_ended_do_not_come_to_another_in_one_moment() {
        let mut places = places(&["a", "b"]);
        assert_eq!(places.next(NOW), dial("a"));

        places.ended(BROKE, NOW, 0.5);

        assert_eq!(places.next(NOW), Next::Wait(SPREAD / 2));
        assert_eq!(places.next(NOW + SPREAD / 2), dial("b"));
    }

    #[test]
    fn one_that_ended_in_order_and_does_not_come_back_is_left_for_another() {
        let mut places = places(&["a", "b"]);
        assert_eq!(places.next(NOW), dial("a"));
        places.ended(ORDERLY, NOW, 0.0);
        let later = NOW + Duration::from_secs(1);
        assert_eq!(places.next(later), dial("a"));

        places.ended(Ended::Unheard, later, 0.0);

        assert_eq!(places.next(later), dial("b"));
    }

    #[test]
    fn what_is_learned_of_other_places_does_not_move_whoever_has_one_that_works() {
        let mut places = places(&["a", "b"]);
        assert_eq!(places.next(NOW), dial("a"));

        places.know(["c", "b", "c"].map(str::to_owned).to_vec());

        assert_eq!(places.current(), "a");
        assert_eq!(places.all().collect::<Vec<_>>(), ["c", "b", "a"]);
        places.ended(BROKE, NOW, 0.0);
        assert_eq!(places.next(NOW), dial("c"));
        places.know(Vec::new());
        assert_eq!(places.current(), "c");
    }

    #[test]
    fn who_was_driven_to_another_goes_back_to_the_earliest_that_is_not_rested() {
        let mut places = places(&["a", "b", "c"]);
        for address in ["a", "b"] {
            assert_eq!(places.next(NOW), dial(address));
            places.ended(Ended::Unheard, NOW, 0.0);
        }
        assert_eq!(places.next(NOW), dial("c"));
        places.opened(NOW, 0.0);
        assert_eq!(places.goes_home_at(), Some(NOW + Duration::from_secs(60)));
        assert_eq!(places.earlier(NOW), None);
        let later = NOW + Duration::from_secs(60);
        assert_eq!(places.earlier(later).as_deref(), Some("a"));

        places.went_home("b", later, 0.0);
        assert_eq!(
            (places.current(), places.goes_home_at()),
            ("b", Some(later + Duration::from_secs(60)))
        );
        places.went_home("a", later, 0.0);

        assert_eq!((places.current(), places.goes_home_at()), ("a", None));
        // Where it ends there, the others are dialled as ever.
        places.ended(BROKE, later, 0.0);
        assert_eq!(places.next(later), dial("b"));
    }
}
