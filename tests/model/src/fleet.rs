//! Two hosts that share a key, and the controller whose list decides which of them grants a message:
//! checked exhaustively with the rules that run (`fleet::claims`, `gate::replay`, and the session
//! passes of the controller, whose file is compiled into this crate).
//!
//! The adversary sends any message to any host at any time, and again. Requests and answers arrive
//! late, in any order, twice or never; so a partition is an order of arrivals like any other. Hosts
//! crash, are put back to an older copy without noticing it, and are copied to a third machine. The
//! controller's database alone or its whole directory is put back. Every clock steps by two windows
//! to either side, that of the controller also far ahead, and old claims are forgotten at any moment.
//! What only refuses more is left out, so that the list has to hold without it: that hosts hear of
//! each other's claims and of floors, and the floors of a host that was put back. A restart of the
//! controller changes nothing that is kept, and is not told apart from a silence.
//!
//! Assumptions, each a row of "What is not promised" in docs/security.md:
//!
//! - A directory is copied, not the memory of a running agent.
//! - After a whole directory of the controller was put back, hosts that won claims since the copy come
//!   back before the same messages are claimed elsewhere; they have not crashed since, or began a
//!   session in between; and it happens once an hour. The same where the database alone is put back,
//!   but only while the controller's clock is behind, and for what a host let in whose clock was ahead.
//! - No stanza says that a host may grant while it cannot ask (`ON_CONTROLLER_LOSS`).

mod world;

use fleet::claims::{self, Verdict};
use stateright::{Model, Property};

use self::world::{Held, Loss, Machine};
pub use self::world::{Request, World};
use crate::lineage::{Lineage, Pass, Presented};

const WINDOW: u64 = 120;
const AHEAD: u64 = claims::MAX_FUTURE_SECS;
const T: u64 = 1_000_000;
const STEP: u64 = 120;
/// The dates of the messages that there are.
const DATES: [u64; 2] = [T, T + AHEAD];
/// Names of the two hosts; the third machine has the name of the first.
const NAMES: [&str; 2] = ["a", "b"];
/// Names of runs of an agent.
const RUNS: [&str; 8] = ["1", "2", "3", "4", "5", "6", "7", "8"];
/// Faults in one history: crashes, copies that come back, clocks that step.
const FAULTS_MAX: u8 = 3;
/// Clocks of hosts, seconds off.
const HOST_CLOCKS: [i64; 2] = [-240, 240];
/// Clocks of the controller, seconds off.
const LIST_CLOCKS: [i64; 4] = [-240, 0, 240, 4_000];

/// A fleet, with faults that can be seeded, to see that they are found.
#[derive(Clone, Copy, Debug)]
pub struct Fleet {
    /// How far in the future the floor of a loss lies.
    pub floor_ahead_secs: u64,
    /// Whether forgetting claims spends their dates.
    pub spends_dates: bool,
    /// Whether what hosts have won is compared with the list.
    pub compares_won: bool,
    /// Whether a claim carries the date inside its message.
    pub tells_dates: bool,
    /// What the adversary may do, beside sending, delaying and crashing.
    pub powers: Powers,
}

/// With all of them at once a search is broad, with one of them deep.
#[derive(Clone, Copy, Debug)]
pub struct Powers {
    /// Clocks step, and old claims are forgotten.
    pub clocks: bool,
    /// The controller's database or directory is put back.
    pub list: bool,
    /// A host is put back, or copied.
    pub hosts: bool,
}

/// What may happen.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Action {
    /// Anybody sends this message to this machine.
    Send(usize, usize),
    /// A claim arrives, for the first time or again.
    Claim(Request),
    /// The word that this claim was won arrives.
    Answer(u64),
    /// A machine begins a session; its answer arrives or not.
    Session(usize, bool),
    /// An honest user knocks at this machine.
    Knock(usize),
    Crash(usize),
    Wait,
    HostClock(usize, i64),
    ListClock(i64),
    Forget,
    CopyList,
    /// The controller's database comes back as it was; or the whole directory.
    PutListBack(bool),
    CopyHost,
    PutHostBack,
    Clone,
}

// === impl Fleet ===

impl Fleet {
    /// As the programs do it.
    pub const SOUND: Self = Self {
        floor_ahead_secs: AHEAD,
        spends_dates: true,
        compares_won: true,
        tells_dates: true,
        powers: Powers::ALL,
    };

    fn send(world: &mut World, machine: usize, message: usize) -> Option<()> {
        let dated_secs = *DATES.get(message)?;
        let now_secs = world.host_secs(machine)?;
        let seq = world.next_seq;
        let host = world.machines.get_mut(machine)?;
        let mut digest = [0; 32];
        *digest.first_mut()? = u8::try_from(message).ok()?;
        if !is_recent(dated_secs, now_secs)
            || host.memory.see(&digest, dated_secs, now_secs).is_err()
        {
            return None;
        }
        host.waiting.insert(seq, message);
        let request = Request {
            name: host.name,
            seq,
            message,
            until_secs: (dated_secs + WINDOW).max(now_secs + 2 * WINDOW),
        };
        world.asked.insert(request);
        world.next_seq += 1;
        Some(())
    }

    fn claim(self, world: &mut World, request: Request) -> Option<()> {
        let dated_secs = *DATES.get(request.message)?;
        let name = *NAMES.get(request.name)?;
        if !world.loss.awaited.is_empty() && dated_secs > world.loss.beyond_secs {
            return None;
        }
        let now_secs = world.list_secs();
        let list = &mut world.list;
        if list.lineages.get(request.name)?.is_cloned() {
            return None;
        }
        let held = list.held.get(&request.message);
        let holder = held.and_then(|held| Some((*NAMES.get(held.name)?, held.seq)));
        let spent_secs = list.spent_secs.max(list.floor_secs);
        let told_secs = if self.tells_dates { dated_secs } else { 0 };
        match claims::judge(holder, (name, request.seq), told_secs, spent_secs) {
            Verdict::Held | Verdict::Spent => return None,
            Verdict::WonBefore => {}
            Verdict::Won => {
                let until_secs = claims::kept_until(request.until_secs, now_secs);
                let held = Held {
                    name: request.name,
                    seq: request.seq,
                    until_secs,
                    dated_secs: claims::kept_date(told_secs, until_secs),
                };
                list.held.insert(request.message, held);
                let won_secs = list.won_secs.get_mut(request.name)?;
                *won_secs = told_secs.max(*won_secs);
            }
        }
        let is_waiting = |machine: &Machine| machine.waiting.contains_key(&request.seq);
        if world.machines.iter().any(is_waiting) {
            world.won.insert(request.seq);
        }
        Some(())
    }

    fn answer(world: &mut World, seq: u64) -> Option<()> {
        world.won.remove(&seq);
        let waits = |machine: &&mut Machine| machine.waiting.contains_key(&seq);
        let host = world.machines.iter_mut().find(waits)?;
        let message = host.waiting.remove(&seq)?;
        host.newest_won_secs = host.newest_won_secs.max(*DATES.get(message)?);
        host.dir.memory = host.memory.clone();
        world.grants = world.grants.saturating_add(1);
        if world.list_copy.is_some() {
            world.winners.entry(host.name).or_insert(true);
        }
        Some(())
    }

    /// As `store::sqlite::{sessions, set_back}`.
    fn session(self, world: &mut World, machine: usize, is_answered: bool) -> Option<()> {
        let now_secs = world.list_secs();
        let host = world.machines.get_mut(machine)?;
        let (list, name) = (&mut world.list, host.name);
        let lineage = list.lineages.get_mut(name)?;
        let pass = host.dir.pass;
        let run = RUNS.get(host.run)?;
        let presented = lineage.present(pass.map(|pass| pass.number), run);
        let won_secs = host.newest_won_secs;
        match presented {
            Presented::Cloned | Presented::StillCloned => return Some(()),
            Presented::Ahead if pass.is_some_and(|pass| pass.claim_epoch >= list.epoch) => {
                let floor_secs = self.floor_of_loss(now_secs, won_secs);
                list.floor_secs = list.floor_secs.max(floor_secs);
                list.epoch = pass.map_or(0, |pass| pass.claim_epoch) + 1;
            }
            Presented::First
            | Presented::Continues
            | Presented::Lost
            | Presented::SetBack
            | Presented::Ahead => {
                let known_secs = list.won_secs.get(name)?.max(&list.floor_secs);
                if self.compares_won && claims::is_lost(won_secs, *known_secs) {
                    let floor_secs = self.floor_of_loss(now_secs, won_secs);
                    list.floor_secs = list.floor_secs.max(floor_secs);
                }
            }
        }
        let given = Pass {
            number: lineage.issue(),
            generation: 1,
            claim_epoch: list.epoch,
            newest_claimed_secs: won_secs,
        };
        if is_answered {
            host.dir.pass = Some(given);
            host.dir.newest_won_secs = won_secs;
        }
        world.loss.awaited.remove(&name);
        Some(())
    }

    fn floor_of_loss(self, now_secs: u64, newest_secs: u64) -> u64 {
        claims::floor_of_loss(now_secs - AHEAD + self.floor_ahead_secs, newest_secs)
    }

    fn forget(self, world: &mut World) -> Option<()> {
        let before_secs = claims::forgotten_before(world.list_secs());
        let old = |held: &Held| held.until_secs < before_secs;
        let dates = world.list.held.values().filter(|held| old(held));
        let newest_secs = dates.map(|held| held.dated_secs).max()?;
        world.list.held.retain(|_, held| !old(held));
        if self.spends_dates {
            world.list.spent_secs = world.list.spent_secs.max(newest_secs);
        }
        Some(())
    }

    fn put_list_back(self, world: &mut World, is_whole: bool) -> Option<()> {
        let copy = world.list_copy.take()?;
        let all_know = world.winners.values().all(|knows| *knows);
        let is_behind = world.list_clock < 0;
        world.list = copy;
        if !is_whole {
            let floor_secs = self.floor_of_loss(world.list_secs(), 0);
            world.list.floor_secs = world.list.floor_secs.max(floor_secs);
        }
        let is_assumed = is_whole || is_behind;
        let is_ahead = |machine: &Machine| machine.clock > 0;
        if !all_know && (is_assumed || world.machines.iter().any(is_ahead)) {
            return None;
        }
        world.loss = Loss {
            awaited: world.winners.keys().copied().collect(),
            beyond_secs: if is_assumed {
                0
            } else {
                world.true_secs + AHEAD
            },
        };
        world.winners.clear();
        world.restored_secs = Some(world.true_secs);
        Some(())
    }

    fn knock(world: &mut World, machine: usize) -> Option<()> {
        let now_secs = world.host_secs(machine)?;
        let host = world.machines.get(machine)?;
        let name = *NAMES.get(host.name)?;
        let dated_secs = world.true_secs;
        let spent_secs = world.list.spent_secs.max(world.list.floor_secs);
        let verdict = claims::judge(None, (name, world.next_seq), dated_secs, spent_secs);
        let is_soon = world.true_secs <= world.restored_secs? + 2 * WINDOW;
        if verdict != Verdict::Won || !is_recent(dated_secs, now_secs) || !is_soon {
            return None;
        }
        world.is_served_again = true;
        Some(())
    }

    fn faults(self, world: &World, actions: &mut Vec<Action>) {
        let Powers {
            clocks,
            list,
            hosts,
        } = self.powers;
        for machine in 0..world.machines.len() {
            actions.push(Action::Crash(machine));
            if list || hosts {
                actions.push(Action::Session(machine, false));
            }
            if clocks {
                let steps = HOST_CLOCKS.map(|clock| Action::HostClock(machine, clock));
                actions.extend(steps);
            }
        }
        if clocks {
            actions.extend(LIST_CLOCKS.map(Action::ListClock));
        }
        if world.list_copy.is_some() {
            actions.extend([false, true].map(Action::PutListBack));
        }
        if world.dir_copy.is_some() {
            actions.extend([Action::PutHostBack, Action::Clone]);
        }
    }

    fn fault(world: &mut World, action: &Action) -> Option<()> {
        world.faults += 1;
        match action {
            Action::Crash(machine) => {
                let run = world.new_run()?;
                let host = world.machines.get_mut(*machine)?;
                host.begin(run);
                world.forget_winner(*machine);
            }
            Action::HostClock(machine, clock) => {
                world.machines.get_mut(*machine)?.clock = *clock;
            }
            Action::ListClock(clock) => world.list_clock = *clock,
            Action::PutHostBack => {
                let run = world.new_run()?;
                let host = world.machines.first_mut()?;
                host.dir = world.dir_copy.take()?;
                host.begin(run);
                world.forget_winner(0);
            }
            Action::Clone => {
                let run = world.new_run()?;
                let mut host = world.machines.first()?.clone();
                host.dir = world.dir_copy.take()?;
                host.begin(run);
                world.machines.push(host);
            }
            Action::Send(..)
            | Action::Claim(_)
            | Action::Answer(_)
            | Action::Session(..)
            | Action::Knock(_)
            | Action::Wait
            | Action::Forget
            | Action::CopyList
            | Action::PutListBack(_)
            | Action::CopyHost => return None,
        }
        Some(())
    }
}

impl Model for Fleet {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        (0..DATES.len()).map(World::begin).collect()
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let Powers {
            clocks,
            list,
            hosts,
        } = self.powers;
        for machine in 0..world.machines.len() {
            actions.push(Action::Send(machine, world.message));
            if list || hosts {
                actions.push(Action::Session(machine, true));
            }
        }
        actions.extend(world.asked.iter().copied().map(Action::Claim));
        actions.extend(world.won.iter().copied().map(Action::Answer));
        if clocks {
            actions.extend([Action::Wait, Action::Forget]);
        }
        if list && world.list_copy.is_none() && world.restored_secs.is_none() {
            actions.push(Action::CopyList);
        }
        if hosts && world.dir_copy.is_none() && world.machines.len() == NAMES.len() {
            actions.push(Action::CopyHost);
        }
        if world.restored_secs.is_some() && !world.is_served_again {
            actions.extend([Action::Wait, Action::Knock(1)]);
        }
        if world.faults < FAULTS_MAX {
            self.faults(world, actions);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        match &action {
            Action::Send(machine, message) => Self::send(&mut next, *machine, *message)?,
            Action::Claim(request) => self.claim(&mut next, *request)?,
            Action::Answer(seq) => Self::answer(&mut next, *seq)?,
            Action::Session(machine, is_answered) => {
                next.faults += u8::from(!is_answered);
                self.session(&mut next, *machine, *is_answered)?;
            }
            Action::Knock(machine) => Self::knock(&mut next, *machine)?,
            Action::Wait => next.true_secs += STEP,
            Action::Forget => self.forget(&mut next)?,
            Action::CopyList => next.list_copy = Some(world.list.clone()),
            Action::PutListBack(is_whole) => {
                next.faults += 1;
                self.put_list_back(&mut next, *is_whole)?;
            }
            Action::CopyHost => next.dir_copy = Some(world.machines.first()?.dir.clone()),
            Action::Crash(_)
            | Action::HostClock(..)
            | Action::ListClock(_)
            | Action::PutHostBack
            | Action::Clone => Self::fault(&mut next, &action)?,
        }
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no message grants twice", |_, world: &World| {
                world.grants < 2
            }),
            Property::sometimes("a message grants", |_, world: &World| world.grants > 0),
            Property::sometimes(
                "an honest user gets in within two windows after the list was put back",
                |_, world: &World| world.is_served_again,
            ),
            Property::sometimes("a clone is found", |_, world: &World| {
                world.list.lineages.iter().any(Lineage::is_cloned)
            }),
        ]
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.true_secs <= T + 4 * STEP
    }
}

// === impl Powers ===

impl Powers {
    /// Everything.
    pub const ALL: Self = Self {
        clocks: true,
        list: true,
        hosts: true,
    };
}

fn is_recent(dated_secs: u64, now_secs: u64) -> bool {
    dated_secs + WINDOW >= now_secs && dated_secs <= now_secs + AHEAD
}

#[cfg(test)]
mod tests;
