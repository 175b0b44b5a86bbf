//! Our lines in the owner's chains: each accepts what carries our mark, and nothing else.
//!
//! What passes through a hole still meets the owner's rules. Where those end in a drop for whatever
//! they do not name, one static line before that last word lets it in; it stands below everything
//! that looks at who sends, so what the owner blocks stays blocked. In a save it is harmless: nobody
//! but the guard sets the mark.
//!
//! | file | what it holds |
//! |---|---|
//! | `iptables` | the chains of iptables, of either kind and family |
//! | `position` | where in a chain the line belongs; pure |
//! | `pace` | when to look; pure |
//! | `notices` | hearing of changes by others |

mod iptables;
mod notices;
mod pace;
mod position;

use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::FirewallError;
use super::hook_place::HookPlace;
use super::stamina::{Stamina, Strength};
use crate::clock;
use crate::config::{FirewallConfig, Hooks as Wanted};
use notices::ChangeWatch;
use pace::Pace;

/// All lines of ours in chains of the owner.
#[derive(Debug)]
pub struct Hooks {
    places: Vec<Place>,
    watch: Option<ChangeWatch>,
}

/// A ruleset of the owner's, and when to look at it.
#[derive(Debug)]
struct Place {
    place: Box<dyn HookPlace>,
    pace: Pace,
    stamina: Stamina,
    /// Whether that it cannot be looked at was said.
    failed: bool,
    /// Whether it was ever as it should be.
    was_laid: bool,
}

/// How often a change is tried that another program has made obsolete in between.
const ATTEMPTS: u32 = 3;

// === impl Hooks ===

impl Hooks {
    /// Those that the configuration wants. Nothing is laid yet.
    pub fn new(config: &FirewallConfig) -> Self {
        if config.dry_run {
            return Self::none();
        }
        let mut places = iptables::places(config);
        places.extend(super::owner::places(config, iptables::is_own));
        Self::of(places)
    }

    /// None anywhere.
    pub fn none() -> Self {
        Self {
            places: Vec::new(),
            watch: None,
        }
    }

    fn of(places: Vec<Box<dyn HookPlace>>) -> Self {
        let now = clock::now().steady;
        let hears = places.iter().any(|place| !place.is_silent());
        let place = |place: Box<dyn HookPlace>| Place {
            pace: Pace::new(now, place.is_silent()),
            place,
            stamina: Stamina::new(now),
            failed: false,
            was_laid: false,
        };
        Self {
            places: places.into_iter().map(place).collect(),
            watch: hears.then(ChangeWatch::open).flatten(),
        }
    }

    /// Takes away every line of ours, whatever the configuration says.
    ///
    /// # Errors
    ///
    /// The first refusal of the host; the others have been tried.
    pub fn remove(config: &FirewallConfig) -> Result<(), FirewallError> {
        let everywhere = FirewallConfig {
            hooks: Wanted::Auto,
            ..config.clone()
        };
        let mut result = super::owner::remove_all(config);
        for mut place in iptables::places(&everywhere) {
            let removed = place.remove();
            result = result.and(removed);
        }
        result
    }

    /// Readable when somebody has changed something that may concern a line.
    pub(super) fn notices(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(ChangeWatch::fd)
    }

    /// For how long there is nothing to do, if nothing is told of.
    pub(super) fn sleep(&self, now: Duration) -> Option<Duration> {
        let places = self.places.iter();
        places.filter_map(|place| place.pace.sleep(now)).min()
    }

    /// Looks where it is time to, and puts right what is not as it should be. Says, once, what is
    /// undone again and again.
    pub fn keep(&mut self) -> Option<String> {
        let now = clock::now().steady;
        let places = &mut self.places;
        if let Some(watch) = &mut self.watch {
            watch.drain(&mut |change| {
                for place in places.iter_mut() {
                    if change.is_none_or(|change| place.place.concerns(&change)) {
                        let is_urgent = change.is_none_or(|change| change.ends_mark_line);
                        place.pace.noticed(now, is_urgent);
                    }
                }
            });
        }
        let due = places.iter_mut().filter(|place| place.pace.is_due(now));
        let undone: Vec<_> = due.filter_map(|place| place.keep(now)).collect();
        (!undone.is_empty()).then(|| undone.join("; "))
    }

    /// The chains in which a line of ours stands, for people.
    pub fn laid(&self) -> Vec<String> {
        let places = self.places.iter();
        places.flat_map(|place| place.place.laid()).collect()
    }
}

// === impl Place ===

impl Place {
    fn keep(&mut self, now: Duration) -> Option<String> {
        let worked = clock::worked();
        let kept = self.put_right(now);
        let worked = clock::worked().saturating_sub(worked);
        self.pace.looked(now, clock::steady(), worked);
        match kept {
            Ok(undone) => {
                self.failed = false;
                undone
            }
            Err(cause) => {
                if !std::mem::replace(&mut self.failed, true) {
                    tracing::warn!(
                        rules = self.place.name(), error = %program::one_line(&cause),
                        "these rules cannot be read or changed: no line of ours lets in there what a \
                         hole lets through"
                    );
                }
                None
            }
        }
    }

    fn put_right(&mut self, now: Duration) -> Result<Option<String>, FirewallError> {
        let mut result = Ok(());
        for _ in 0..ATTEMPTS {
            let Some(correction) = self.place.look()? else {
                self.was_laid = true;
                return Ok(None);
            };
            if self.was_laid {
                match self.stamina.spend(now) {
                    Strength::Left => {}
                    Strength::Spent { is_news: true } => {
                        return Ok(Some(format!(
                            "another program undoes our line in {} again and again: it is left so",
                            correction.chains.join(", ")
                        )));
                    }
                    Strength::Spent { is_news: false } => return Ok(None),
                }
            }
            result = self.place.correct(&correction);
            if result.is_ok() {
                self.was_laid = true;
                tracing::info!(
                    chains = correction.chains.join(", "),
                    "what a hole lets through is let in by a line in the owner's rules"
                );
                return Ok(None);
            }
        }
        result.map(|()| None)
    }
}
