//! Who was there at a moment in the past, under which name, and what has become of them since: told by
//! the log, and read here only.
//!
//! A member's row says since when the member of now is there. Whoever had the name before, and was
//! replaced or removed since, is in the log only, and so is what a host was called before, and whether
//! somebody was locked who is not now.

mod said;
mod since;

use std::collections::BTreeMap;

use fleet::Role;
use policy::HostFacts;

use self::said::{Deed, Said, look};
use self::since::{Since, Who};
use crate::context::Context;
use crate::error::Error;
use crate::store::model::{EventFilter, Lock, Member};
use crate::targets::facts;
use crate::timestamp::Timestamp;

pub(crate) use self::since::Parted;

/// How somebody was at the moment.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Was {
    Locked,
    There,
}

/// Somebody of whom only the log can tell how it was.
#[derive(Debug)]
struct Sought {
    role: Role,
    /// At the moment.
    name: String,
    /// Where only this key is gone since.
    key: Option<String>,
    /// While the log is read backwards: what it was called then.
    called: String,
    unlocked: bool,
    key_unlocked: bool,
    /// `Some(None)`: it was not there.
    found: Option<Option<Was>>,
}

/// Who was there at a moment.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// What hosts of now were called, by what they are called now; without those that had not joined.
    pub(super) names: BTreeMap<String, String>,
    /// Hosts and users who were there and are no more, by the name of then.
    pub(super) parted: BTreeMap<(Role, String), Parted>,
    was: BTreeMap<(Role, String), Was>,
    was_locked: BTreeMap<Who, bool>,
    /// There was more in the log than is looked through.
    pub(super) is_cut: bool,
}

/// Reads the log back to a moment, and before it as far as it must.
pub(super) async fn past(context: &Context, then: Timestamp) -> Result<Past, Error> {
    let hosts = context.roster.all();
    let hosts = hosts.iter().filter(|member| member.role == Role::Host);
    let mut since = Since::new(hosts.map(|host| host.name.clone()));
    let filter = EventFilter {
        since_ms: Some(then.ms() + 1),
        ..EventFilter::default()
    };
    let cut_since = !look(context, filter, |said| {
        since.hear(said);
        true
    })
    .await?;
    let names = since.names();
    let Since {
        left, was_locked, ..
    } = since;
    let mut sought: Vec<Sought> = left.keys().cloned().map(Sought::new).collect();
    let mut cut_before = false;
    if !sought.is_empty() {
        let filter = EventFilter {
            until_ms: Some(then.ms() + 1),
            ..EventFilter::default()
        };
        cut_before = !look(context, filter, |said| {
            for one in &mut sought {
                one.hear(said);
            }
            sought.iter().any(|one| one.found.is_none())
        })
        .await?;
    }
    let mut was = BTreeMap::new();
    for Sought {
        role, name, found, ..
    } in sought
    {
        if let Some(state) = found.flatten() {
            let known = was.entry((role, name)).or_insert(state);
            // One key that was good is enough.
            *known = state.max(*known);
        }
    }
    // Members and not keys, and those that had joined by then.
    let parted = left.into_iter().filter_map(|((role, name, key), parted)| {
        let who = (role, name);
        let is_one = key.is_none() && was.contains_key(&who);
        is_one.then_some((who, parted))
    });
    Ok(Past {
        names,
        parted: parted.collect(),
        was_locked,
        is_cut: cut_since || cut_before,
        was,
    })
}

// === impl Sought ===

impl Sought {
    fn new((role, name, key): Who) -> Self {
        Self {
            role,
            called: name.clone(),
            name,
            key,
            unlocked: false,
            key_unlocked: false,
            found: None,
        }
    }

    /// Takes the next older thing that is said.
    fn hear(&mut self, said: &Said) {
        let is_member = self.role == said.role
            && match &said.deed {
                Deed::Renamed(to) => *to == self.called,
                Deed::Joined | Deed::Left(_) | Deed::Locked | Deed::Unlocked => {
                    said.name == self.called
                }
            };
        if self.found.is_some() || !is_member {
            return;
        }
        let is_key = self.key.is_some() && self.key == said.key;
        match (&said.deed, said.key.is_some()) {
            (Deed::Renamed(_), _) => self.called.clone_from(&said.name),
            (Deed::Joined, _) if self.key.is_none() || is_key => {
                self.found = Some(Some(Was::There))
            }
            (Deed::Left(_), false) => self.found = Some(None),
            (Deed::Left(_), true) if is_key => self.found = Some(None),
            (Deed::Locked, false) if !self.unlocked => self.found = Some(Some(Was::Locked)),
            (Deed::Locked, true) if is_key && !self.key_unlocked => {
                self.found = Some(Some(Was::Locked));
            }
            (Deed::Unlocked, false) => self.unlocked = true,
            (Deed::Unlocked, true) if is_key => self.key_unlocked = true,
            (Deed::Joined | Deed::Left(_) | Deed::Locked | Deed::Unlocked, _) => {}
        }
    }
}

// === impl Past ===

impl Past {
    /// A host of now as it was, and whether it granted anything; `None` when it had not joined.
    pub(super) fn host(&self, host: &Member, at: Timestamp) -> Option<(HostFacts, bool)> {
        let name = self.names.get(&host.name)?;
        let is_free = if host.joined_at_ms <= at.ms() {
            self.has_key(host, name, at)
        } else {
            *self.was.get(&(Role::Host, name.clone()))? == Was::There
        };
        let name = name.clone();
        Some((
            HostFacts {
                name,
                ..facts(host)
            },
            is_free,
        ))
    }

    /// Users who were there and had a key that is gone since, and whether they might use it.
    pub(super) fn users(&self) -> impl Iterator<Item = (&str, bool)> {
        let users = self.was.iter().filter(|((role, _), _)| *role == Role::User);
        users.map(|((_, name), was)| (name.as_str(), *was == Was::There))
    }

    /// Whether a member that is there still, and was called so, had a key that was not locked.
    pub(super) fn has_key(&self, member: &Member, name: &str, at: Timestamp) -> bool {
        let is_free = |lock: &Option<Lock>, key: Option<&str>| {
            let who = (member.role, name.to_owned(), key.map(str::to_owned));
            match self.was_locked.get(&who) {
                Some(was_locked) => !was_locked,
                None => lock.as_ref().is_none_or(|lock| lock.at_ms > at.ms()),
            }
        };
        let mut keys = member.keys.iter();
        is_free(&member.lock, None)
            && keys.any(|key| key.joined_at_ms <= at.ms() && is_free(&key.lock, Some(&key.name)))
    }
}
