//! The replay machine of a host, checked exhaustively: the very code that the journal makes durable
//! (`gate::replay`), under every order of messages, crashes, losses and clock steps up to a depth.
//!
//! The world: a few messages with fixed dates, which anybody may send again at any time; a clock that
//! may be right or far ahead; a journal that may be put back to an older copy, in the same boot (the
//! witness is there) or across one (nothing proves anything). Evidence that the clock is right is given
//! only when it is. Across a boot a copy is put back only where the clock was never ahead: what a clock
//! that was ahead let in, and a loss without a witness, nobody can know together.

pub mod fleet;
#[path = "../../../controller/src/store/model/lineage.rs"]
#[cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "the controller's file: the model calls a part of it"
    )
)]
mod lineage;

use gate::{Capacity, Clock, Floor, FloorReason, Floors, Memory};
use stateright::{Model, Property};

const WINDOW: u64 = 120;
const AHEAD: u64 = 120;
const T: u64 = 1_000_000;
const STEP: u64 = 120;
/// How far ahead a wrong clock is.
const WRONG: u64 = 1_000;
/// The dates of the messages there are: now, ahead, soon, and for the clock that is wrong.
const DATES: [u64; 4] = [T, T + AHEAD, T + 300, T + WRONG];

/// A host and its world; with the fault of a floor that is now, to see that it is found.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// How far in the future the floor of a loss lies; [`Host::SOUND`] has what is accepted.
    pub floor_ahead_secs: u64,
    /// Whether forgetting raises a floor.
    pub floors_forgetting: bool,
}

/// One state.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct World {
    true_secs: u64,
    is_ahead: bool,
    was_ahead: bool,
    memory: Memory,
    /// What the witness says: everything let through is dated at or before it.
    newest_secs: u64,
    copy: Option<Memory>,
    grants: [u8; DATES.len()],
    /// An honest message, made now, was let through after the clock had been set right.
    is_served_again: bool,
}

/// What may happen.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Action {
    /// Anybody sends this message.
    Send(usize),
    /// An honest user sends a new one.
    Knock,
    Wait,
    ClockAhead,
    ClockRight,
    Tidy,
    /// Killed and started again, in the same boot: the journal is as it was.
    Restart,
    Copy,
    /// The copy comes back while the agent is stopped.
    PutBack,
    /// The same, across a boot.
    PutBackAndBoot,
}

// === impl Host ===

impl Host {
    /// As the agent does it.
    pub const SOUND: Self = Self {
        floor_ahead_secs: AHEAD,
        floors_forgetting: true,
    };

    fn send(self, world: &mut World, dated_secs: u64, message: Option<usize>) {
        let now_secs = world.now_secs();
        let is_recent = dated_secs + WINDOW >= now_secs && dated_secs <= now_secs + AHEAD;
        if !is_recent {
            return;
        }
        let mut digest = [0; 32];
        if let Some(first) = digest.first_mut() {
            *first = message.map_or(255, |n| u8::try_from(n).unwrap_or(254));
        }
        if world.memory.see(&digest, dated_secs, now_secs).is_err() {
            return;
        }
        world.newest_secs = world.newest_secs.max(dated_secs);
        match message.and_then(|n| world.grants.get_mut(n)) {
            Some(grants) => *grants = grants.saturating_add(1),
            None => world.is_served_again = world.was_ahead && !world.is_ahead,
        }
    }

    fn tidy(self, world: &mut World) {
        let now_secs = world.now_secs();
        let is_proven = !world.is_ahead;
        if is_proven {
            world.memory.correct(now_secs, AHEAD);
        }
        world.memory.correct_first(now_secs);
        // Also by a clock that is wrong while something vouches for it.
        let clock = Clock {
            now_secs,
            is_proven: true,
        };
        let floors = world.memory.floors().clone();
        let forgotten = world.memory.forget(clock, WINDOW);
        if forgotten.is_some() && !self.floors_forgetting {
            world.memory = Memory::new(capacity(), floors);
        }
    }

    fn put_back(self, world: &mut World, is_witnessed: bool) {
        let Some(copy) = world.copy.clone() else {
            return;
        };
        let now_secs = world.now_secs();
        world.memory = copy;
        let (through_secs, set_at_secs, why) = if is_witnessed {
            (world.newest_secs, 0, FloorReason::SetBack)
        } else {
            (
                now_secs + self.floor_ahead_secs,
                now_secs,
                FloorReason::Unproven,
            )
        };
        world.memory.raise(Floor {
            through_secs,
            set_at_secs,
            why,
        });
        world.newest_secs = world.memory.newest_secs();
    }
}

impl Model for Host {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        [false, true].map(World::begin).into()
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        actions.extend((0..DATES.len()).map(Action::Send));
        actions.extend([Action::Knock, Action::Wait, Action::Tidy, Action::Restart]);
        actions.push(if world.is_ahead {
            Action::ClockRight
        } else {
            Action::ClockAhead
        });
        match world.copy {
            None => actions.push(Action::Copy),
            Some(_) if world.was_ahead => actions.push(Action::PutBack),
            Some(_) => actions.extend([Action::PutBack, Action::PutBackAndBoot]),
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        match action {
            Action::Send(n) => self.send(&mut next, *DATES.get(n)?, Some(n)),
            Action::Knock => self.send(&mut next, world.now_secs() + 7, None),
            Action::Wait => next.true_secs += STEP,
            Action::ClockAhead => (next.is_ahead, next.was_ahead) = (true, true),
            Action::ClockRight => next.is_ahead = false,
            Action::Tidy => self.tidy(&mut next),
            Action::Restart => {
                next.memory.correct_first(next.now_secs());
            }
            Action::Copy => next.copy = Some(world.memory.clone()),
            Action::PutBack => self.put_back(&mut next, true),
            Action::PutBackAndBoot => self.put_back(&mut next, false),
        }
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no message grants twice", |_, world: &World| {
                world.grants.iter().all(|grants| *grants < 2)
            }),
            Property::sometimes("a message grants", |_, world: &World| {
                world.grants.contains(&1)
            }),
            Property::sometimes(
                "an honest user gets in within two windows after the clock is right",
                |_, world: &World| world.is_served_again && world.true_secs <= T + 2 * WINDOW,
            ),
        ]
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.true_secs <= T + WRONG + 2 * WINDOW
    }
}

// === impl World ===

impl World {
    /// The first start, by a clock that is right or ahead.
    fn begin(is_ahead: bool) -> Self {
        let mut world = Self {
            true_secs: T,
            is_ahead,
            was_ahead: is_ahead,
            memory: Memory::new(capacity(), Floors::default()),
            newest_secs: 0,
            copy: None,
            grants: [0; DATES.len()],
            is_served_again: false,
        };
        let now_secs = world.now_secs();
        world.memory.raise(Floor {
            through_secs: now_secs - 1,
            set_at_secs: now_secs,
            why: FloorReason::New,
        });
        world.newest_secs = world.memory.newest_secs();
        world
    }

    fn now_secs(&self) -> u64 {
        self.true_secs + if self.is_ahead { WRONG } else { 0 }
    }
}

/// Small, so that a full memory is met.
fn capacity() -> Capacity {
    Capacity {
        most: 3,
        unproven: 2,
    }
}

#[cfg(test)]
mod tests;
