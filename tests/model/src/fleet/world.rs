//! What there is in a fleet: machines with their directories, the controller's list, and what is on the
//! way between them.

use std::collections::{BTreeMap, BTreeSet};

use gate::{Capacity, Floors, Memory};

use super::{NAMES, RUNS, T};
use crate::lineage::{Lineage, Pass};

/// What lies in a host's state directory.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Dir {
    pub(super) memory: Memory,
    pub(super) pass: Option<Pass>,
    pub(super) newest_won_secs: u64,
}

/// A machine with an agent.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Machine {
    pub(super) name: usize,
    pub(super) run: usize,
    pub(super) clock: i64,
    pub(super) dir: Dir,
    /// Committed before anything opens; lost with a crash until then.
    pub(super) memory: Memory,
    pub(super) newest_won_secs: u64,
    /// Numbers of claims that wait, each with its message.
    pub(super) waiting: BTreeMap<u64, usize>,
}

/// The controller's database.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct List {
    pub(super) held: BTreeMap<usize, Held>,
    pub(super) spent_secs: u64,
    pub(super) floor_secs: u64,
    pub(super) epoch: u64,
    pub(super) lineages: [Lineage; 2],
    pub(super) won_secs: [u64; 2],
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Held {
    pub(super) name: usize,
    pub(super) seq: u64,
    pub(super) until_secs: u64,
    pub(super) dated_secs: u64,
}

/// A claim on its way.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Request {
    pub(super) name: usize,
    pub(super) seq: u64,
    pub(super) message: usize,
    pub(super) until_secs: u64,
}

/// What has to happen before a loss of the list is made good.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Loss {
    /// Hosts that have won since the copy, and have not come back.
    pub(super) awaited: BTreeSet<usize>,
    /// Messages dated after this are not claimed before.
    pub(super) beyond_secs: u64,
}

/// One state.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct World {
    pub(super) true_secs: u64,
    pub(super) machines: Vec<Machine>,
    pub(super) list: List,
    pub(super) list_clock: i64,
    pub(super) list_copy: Option<List>,
    /// Hosts that have won since that copy, and whether each still knows it.
    pub(super) winners: BTreeMap<usize, bool>,
    pub(super) loss: Loss,
    pub(super) restored_secs: Option<u64>,
    pub(super) dir_copy: Option<Dir>,
    pub(super) asked: BTreeSet<Request>,
    pub(super) won: BTreeSet<u64>,
    pub(super) next_seq: u64,
    pub(super) next_run: usize,
    pub(super) faults: u8,
    /// The one message of this history: others would only make its dates be refused.
    pub(super) message: usize,
    pub(super) grants: u8,
    pub(super) is_served_again: bool,
}

// === impl World ===

impl World {
    pub(super) fn begin(message: usize) -> Self {
        let dir = Dir {
            memory: Memory::new(Capacity::default(), Floors::default()),
            pass: None,
            newest_won_secs: 0,
        };
        let machine = |name| Machine {
            name,
            run: name,
            clock: 0,
            memory: dir.memory.clone(),
            dir: dir.clone(),
            newest_won_secs: 0,
            waiting: BTreeMap::new(),
        };
        Self {
            true_secs: T,
            machines: (0..NAMES.len()).map(machine).collect(),
            list: List {
                held: BTreeMap::new(),
                spent_secs: 0,
                floor_secs: T - 1,
                epoch: 1,
                lineages: [Lineage::default(), Lineage::default()],
                won_secs: [0; 2],
            },
            list_clock: 0,
            list_copy: None,
            winners: BTreeMap::new(),
            loss: Loss::default(),
            restored_secs: None,
            dir_copy: None,
            asked: BTreeSet::new(),
            won: BTreeSet::new(),
            next_seq: 1,
            next_run: NAMES.len(),
            faults: 0,
            message,
            grants: 0,
            is_served_again: false,
        }
    }

    pub(super) fn host_secs(&self, machine: usize) -> Option<u64> {
        let clock = self.machines.get(machine)?.clock;
        self.true_secs.checked_add_signed(clock)
    }

    pub(super) fn list_secs(&self) -> u64 {
        self.true_secs.saturating_add_signed(self.list_clock)
    }

    pub(super) fn new_run(&mut self) -> Option<usize> {
        let run = self.next_run;
        self.next_run += 1;
        (run < RUNS.len()).then_some(run)
    }

    /// What this machine has won since its last session is known to nobody any more.
    pub(super) fn forget_winner(&mut self, machine: usize) {
        let Some(host) = self.machines.get(machine) else {
            return;
        };
        if let Some(knows) = self.winners.get_mut(&host.name) {
            *knows = false;
        }
    }
}

// === impl Machine ===

impl Machine {
    /// The agent starts with what is in its directory.
    pub(super) fn begin(&mut self, run: usize) {
        self.run = run;
        self.memory = self.dir.memory.clone();
        self.newest_won_secs = self.dir.newest_won_secs;
        self.waiting.clear();
    }
}
