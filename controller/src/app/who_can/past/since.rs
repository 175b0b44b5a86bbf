//! What happened since a moment, read backwards to it.

use std::collections::{BTreeMap, BTreeSet};

use fleet::Role;

use super::said::{Deed, Parting, Said};
use crate::timestamp::Timestamp;

/// A member by its name at the moment, or one of its keys.
pub(super) type Who = (Role, String, Option<String>);

/// How, and when, somebody who was there at the moment came to be no more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Parted {
    pub(crate) how: Parting,
    pub(crate) at: Timestamp,
}

/// What a host was called, and whether it had joined.
type Called = (String, bool);

/// What happened since the moment.
#[derive(Debug)]
pub(super) struct Since {
    /// By what hosts are called now: what they were called, and whether they had joined.
    hosts: BTreeMap<String, Called>,
    /// What they are called now, by that: of as many as there may be, each is found at once.
    by_called: BTreeMap<Called, BTreeSet<String>>,
    /// Whoever, or whose key, is gone since: the first time.
    pub(super) left: BTreeMap<Who, Parted>,
    /// Whether the first thing that was done since is an unlocking, of whoever was locked or unlocked:
    /// then it was locked at the moment.
    pub(super) was_locked: BTreeMap<Who, bool>,
}

// === impl Since ===

impl Since {
    /// Of hosts with these names of now.
    pub(super) fn new(hosts: impl Iterator<Item = String>) -> Self {
        let hosts = hosts.map(|name| (name.clone(), (name, true)));
        let hosts: BTreeMap<String, Called> = hosts.collect();
        let by_called = hosts.iter();
        let by_called = by_called.map(|(now, called)| (called.clone(), [now.clone()].into()));
        Self {
            by_called: by_called.collect(),
            hosts,
            left: BTreeMap::new(),
            was_locked: BTreeMap::new(),
        }
    }

    /// Takes the next older thing that is said.
    pub(super) fn hear(&mut self, said: &Said) {
        let Said {
            role,
            name,
            key,
            deed,
            at,
        } = said;
        let who = (*role, name.clone(), key.clone());
        match deed {
            Deed::Joined => {}
            Deed::Locked => {
                self.was_locked.insert(who, false);
            }
            Deed::Unlocked => {
                self.was_locked.insert(who, true);
            }
            Deed::Left(how) => {
                // What was said of the name until here is of whoever had it later.
                self.was_locked.retain(|(of, called, own), _| {
                    of != role || called != name || (key.is_some() && own != key)
                });
                self.left.insert(who, Parted { how: *how, at: *at });
            }
            Deed::Renamed(to) => {
                move_name(&mut self.left, (to, name));
                move_name(&mut self.was_locked, (to, name));
            }
        }
        if *role == Role::Host {
            self.hear_of_host(name, deed);
        }
    }

    fn hear_of_host(&mut self, name: &str, deed: &Deed) {
        // Another machine may have left under a name that this one was given after it.
        match deed {
            Deed::Joined => {
                self.change((name, true), (name, false));
            }
            Deed::Left(_) => {
                self.change((name, false), (name, true));
            }
            Deed::Renamed(to) => {
                self.change((to, true), (name, true));
            }
            Deed::Locked | Deed::Unlocked => {}
        }
    }

    /// One host that was called so by then, if there is any, was called otherwise before.
    fn change(&mut self, of: (&str, bool), to: (&str, bool)) {
        let [of, to] = [of, to].map(|(called, joined)| (called.to_owned(), joined));
        let Some(now) = self.by_called.get_mut(&of).and_then(BTreeSet::pop_first) else {
            return;
        };
        self.hosts.insert(now.clone(), to.clone());
        self.by_called.entry(to).or_default().insert(now);
    }

    /// What hosts of now were called, without those that had not joined.
    pub(super) fn names(&self) -> BTreeMap<String, String> {
        let hosts = self.hosts.iter().filter(|(_, (_, had_joined))| *had_joined);
        hosts
            .map(|(now, (then, _))| (now.clone(), then.clone()))
            .collect()
    }
}

/// What is known of a host by a later name, it had the older one before.
fn move_name<T>(of: &mut BTreeMap<Who, T>, (later, older): (&str, &str)) {
    let is_it = |(role, called, _): &Who| *role == Role::Host && called == later;
    let moved: Vec<_> = of.extract_if(.., |who, _| is_it(who)).collect();
    let moved = moved
        .into_iter()
        .map(|((role, _, key), what)| ((role, older.to_owned(), key), what));
    of.extend(moved);
}
