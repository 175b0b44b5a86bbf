//! What is known of hosts that are connected to other controllers of the fleet: where they are, and whether they have
//! heard of all that is wanted of them.
//!
//! A controller says of a host up to which record of the log it enforces what it should. Whoever changes something notes
//! since which record that is wanted of each host whose text or lock is another: a host has heard when it is as far. So
//! an answer is the same whichever controller a host is connected to, and what a host acknowledged before is none.

use std::collections::{BTreeSet, HashMap};

use parking_lot::RwLock;

use crate::store::model::{ControllerFacts, ControllerSaid, HostAt};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Others(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    /// This controller's own number.
    myself: Option<u64>,
    /// Those that live, as far as it is known.
    alive: Option<BTreeSet<u64>>,
    /// What those say of themselves that live, or have been silent for a short time; by address.
    controllers: Vec<ControllerSaid>,
    /// By `Member::id`.
    hosts: HashMap<u64, HostAt>,
    followed: Option<Followed>,
    /// Since which record of the log what a host should have is wanted.
    wanted: HashMap<String, u64>,
    /// The same of hosts of which nothing was noted: since this controller follows.
    wanted_before: u64,
    /// Up to this record, every host of ours is asked.
    asked_of_all: u64,
}

/// How far this controller has followed the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Followed {
    /// It has looked at everything up to this record.
    pub(crate) looked: u64,
    /// The last of them after which something is another: it is in force here.
    pub(crate) settled: u64,
}

// === impl Others ===

impl Others {
    /// Who we are among them.
    pub(crate) fn set_myself(&self, id: u64) {
        self.0.write().myself = Some(id);
    }

    /// Who we are among them; `None` before that is known, and where there is nobody else.
    pub(crate) fn myself(&self) -> Option<u64> {
        self.0.read().myself
    }

    /// Whether a controller lives, as far as it is known.
    pub(crate) fn lives(&self, id: u64) -> bool {
        let state = self.0.read();
        state.alive.as_ref().is_none_or(|alive| alive.contains(&id))
    }

    /// Which of them live.
    pub(crate) fn set_alive(&self, alive: BTreeSet<u64>) {
        self.0.write().alive = Some(alive);
    }

    /// Whether a host is connected to another controller that lives.
    pub(crate) fn has(&self, member: u64) -> bool {
        self.at(member).is_some()
    }

    /// The other controller that lives and to which a host is connected.
    pub(crate) fn at(&self, member: u64) -> Option<u64> {
        let state = self.0.read();
        let at = state.hosts.get(&member)?.controller;
        let lives = state.alive.as_ref().is_some_and(|it| it.contains(&at));
        (lives && Some(at) != state.myself).then_some(at)
    }

    /// What controllers say of themselves, this one too, by address.
    pub(crate) fn set_controllers(&self, controllers: Vec<ControllerSaid>) {
        self.0.write().controllers = controllers;
    }

    /// See [`set_controllers`](Self::set_controllers); none before that is known, and where there is nobody else.
    pub(crate) fn controllers(&self) -> Vec<ControllerSaid> {
        self.0.read().controllers.clone()
    }

    /// What a controller says of itself.
    pub(crate) fn facts(&self, id: u64) -> Option<ControllerFacts> {
        let state = self.0.read();
        let said = state.controllers.iter().find(|said| said.id == id)?;
        Some(said.facts.clone())
    }

    /// Whether it is known of all these what they say of themselves, and of no other.
    pub(crate) fn knows(&self, ids: impl Iterator<Item = u64>) -> bool {
        let state = self.0.read();
        let known: BTreeSet<u64> = state.controllers.iter().map(|said| said.id).collect();
        ids.collect::<BTreeSet<u64>>() == known
    }

    /// What a controller has said of a host.
    pub(crate) fn hear(&self, said: HostAt) {
        self.0.write().hosts.insert(said.member, said);
    }

    /// Hosts that are none any more.
    pub(crate) fn forget(&self, member: u64, name: &str) {
        let mut state = self.0.write();
        state.hosts.remove(&member);
        state.wanted.remove(name);
    }

    /// How far the log is followed here; `None` before the first look, and where there is nobody else.
    pub(crate) fn followed(&self) -> Option<Followed> {
        self.0.read().followed
    }

    pub(crate) fn set_followed(&self, followed: Followed) {
        let mut state = self.0.write();
        if state.followed.is_none() {
            state.wanted_before = followed.settled;
        }
        state.followed = Some(followed);
    }

    /// What these hosts should have is another since this record.
    pub(crate) fn want(&self, hosts: &[&str], record: u64) {
        let mut state = self.0.write();
        for host in hosts {
            let before = state.wanted_before;
            let since = state.wanted.entry((*host).to_owned()).or_insert(before);
            *since = (*since).max(record);
        }
    }

    /// Every host of ours is to be asked whether it enforces what is wanted at this record: somebody else may want
    /// something of it of which nothing is known here.
    pub(crate) fn ask_all(&self, record: u64) {
        let mut state = self.0.write();
        state.asked_of_all = state.asked_of_all.max(record);
    }

    /// Whether others have to hear of a host of ours that is as far as this record.
    pub(crate) fn is_asked(&self, name: &str, heard: u64) -> bool {
        let state = self.0.read();
        heard == 0 || heard < state.wanted(name).max(state.asked_of_all)
    }

    /// Whether a host has said at another controller that it enforces what it should.
    pub(crate) fn has_heard(&self, member: u64, name: &str) -> bool {
        let state = self.0.read();
        let heard = state.hosts.get(&member).map_or(0, |at| at.heard);
        state.followed.is_some() && heard > 0 && heard >= state.wanted(name)
    }
}

// === impl State ===

impl State {
    fn wanted(&self, name: &str) -> u64 {
        let wanted = self.wanted.get(name).copied();
        wanted.unwrap_or(self.wanted_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: u64 = 7;

    fn said(controller: u64, heard: u64) -> HostAt {
        HostAt {
            member: HOST,
            controller,
            heard,
            number: 1,
        }
    }

    fn followed(settled: u64) -> Followed {
        Followed {
            looked: settled,
            settled,
        }
    }

    #[test]
    fn a_host_has_heard_when_it_is_as_far_as_what_is_wanted_of_it() {
        let others = Others::default();
        others.set_followed(followed(10));
        others.hear(said(2, 10));
        assert!(others.has_heard(HOST, "web-1"));

        others.want(&["web-1"], 14);
        assert!(!others.has_heard(HOST, "web-1"), "that is of before");
        others.hear(said(2, 13));
        assert!(!others.has_heard(HOST, "web-1"));
        others.hear(said(2, 14));
        assert!(others.has_heard(HOST, "web-1"));
        // Also when it has gone since.
        others.hear(said(0, 14));
        assert!(others.has_heard(HOST, "web-1"));
        assert!(!others.has_heard(8, "web-2"), "nobody has said so");
    }

    #[test]
    fn a_host_is_where_a_controller_that_lives_says_it_is() {
        let others = Others::default();
        others.set_myself(1);
        others.hear(said(2, 0));
        assert!(!others.has(HOST), "nobody knows that one");
        others.set_alive(BTreeSet::from([2]));
        assert!(others.has(HOST));
        others.hear(said(1, 0));
        assert!(!others.has(HOST), "here is not elsewhere");
        others.hear(said(2, 0));
        others.set_alive(BTreeSet::new());
        assert!(!others.has(HOST));
    }
}
