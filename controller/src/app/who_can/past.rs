//! Who was there at a moment in the past, under which name: told by the log.
//!
//! A member's row says since when the member of now is there. Whoever had the name before, and was
//! replaced or removed since, is in the log only, and so is what a host was called before.

use std::collections::{BTreeMap, BTreeSet};

use fleet::{EventKind, Role};
use policy::HostFacts;

use crate::context::Context;
use crate::error::Error;
use crate::store::model::{CONTROLLER, Cursor, EventFilter, KEY_DEFAULT, Lock, Member};
use crate::targets::facts;
use crate::timestamp::Timestamp;

const PAGE: usize = 1_000;
/// Events that are looked through on either side of the moment at most.
const EVENTS_MAX: usize = 50_000;

/// What became of somebody.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Deed {
    Joined,
    /// Removed, or replaced.
    Left,
    Locked,
    Unlocked,
    Renamed(String),
}

/// What one of the controller's own events says of a member, or of one of its keys.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Said {
    role: Role,
    name: String,
    /// `None` for the member with all of its keys.
    key: Option<String>,
    deed: Deed,
}

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
    was: BTreeMap<(Role, String), Was>,
    /// There was more in the log than is looked through.
    pub(super) is_cut: bool,
}

/// Whether a member had a key then that was not locked.
pub(super) fn has_key_at(member: &Member, at: Timestamp) -> bool {
    let is_free = |lock: &Option<Lock>| lock.as_ref().is_none_or(|lock| lock.at_ms > at.ms());
    let mut keys = member.keys.iter();
    is_free(&member.lock) && keys.any(|key| key.joined_at_ms <= at.ms() && is_free(&key.lock))
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
    let mut sought: Vec<Sought> = since.left.into_iter().map(Sought::new).collect();
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
    Ok(Past {
        names,
        was,
        is_cut: cut_since || cut_before,
    })
}

/// Reads what is said of members, newest first, as long as `hear` wants more. Whether all was read
/// that was wanted.
async fn look(
    context: &Context,
    filter: EventFilter,
    mut hear: impl FnMut(&Said) -> bool,
) -> Result<bool, Error> {
    let kinds = [
        EventKind::Enrolled,
        EventKind::Removed,
        EventKind::Locked,
        EventKind::Unlocked,
        EventKind::Operator,
    ];
    let filter = EventFilter {
        hosts: vec![CONTROLLER.to_owned()],
        kinds: kinds.map(i32::from).to_vec(),
        ..filter
    };
    let mut after = Cursor::NEWEST;
    let mut count = 0;
    loop {
        let page = context.store.page(filter.clone(), after, PAGE).await?;
        for row in &page.rows {
            let event = row.event();
            let said = Said::of(event.kind(), &event.reason);
            if said.is_some_and(|said| !hear(&said)) {
                return Ok(true);
            }
        }
        count += page.rows.len();
        match page.rows.last() {
            _ if page.cut || count >= EVENTS_MAX => return Ok(false),
            Some(last) if page.rows.len() == PAGE => after = Cursor::after(last),
            Some(_) | None => return Ok(true),
        }
    }
}

/// What happened since the moment, read backwards.
struct Since {
    /// By what hosts are called now: what they were called, and whether they had joined.
    hosts: BTreeMap<String, (String, bool)>,
    /// Whoever, or whose key, is gone since.
    left: BTreeSet<(Role, String, Option<String>)>,
}

// === impl Since ===

impl Since {
    fn new(hosts: impl Iterator<Item = String>) -> Self {
        Self {
            hosts: hosts.map(|name| (name.clone(), (name, true))).collect(),
            left: BTreeSet::new(),
        }
    }

    fn hear(&mut self, said: &Said) {
        let Said {
            role,
            name,
            key,
            deed,
        } = said;
        if *deed == Deed::Left {
            self.left.insert((*role, name.clone(), key.clone()));
        }
        if *role != Role::Host {
            return;
        }
        // Another machine may have left under a name that this one was given after it.
        let own = |called: &str, had_joined: bool| had_joined && called == name;
        match deed {
            Deed::Joined => {
                let mut hosts = self.hosts.values_mut();
                if let Some(host) = hosts.find(|(called, joined)| own(called, *joined)) {
                    host.1 = false;
                }
            }
            Deed::Left => {
                let mut hosts = self.hosts.values_mut();
                let anew = hosts.find(|(called, joined)| !joined && called == name);
                if let Some(host) = anew {
                    host.1 = true;
                }
            }
            Deed::Renamed(to) => {
                let mut hosts = self.hosts.values_mut();
                if let Some(host) = hosts.find(|(called, joined)| *joined && called == to) {
                    host.0.clone_from(name);
                }
                // Whoever left under the name later had the older one before.
                let later = self
                    .left
                    .iter()
                    .filter(|(role, called, _)| *role == Role::Host && called == to);
                let later: Vec<_> = later.cloned().collect();
                for gone in later {
                    self.left.remove(&gone);
                    self.left.insert((gone.0, name.clone(), gone.2));
                }
            }
            Deed::Locked | Deed::Unlocked => {}
        }
    }

    fn names(&self) -> BTreeMap<String, String> {
        let hosts = self.hosts.iter().filter(|(_, (_, had_joined))| *had_joined);
        hosts
            .map(|(now, (then, _))| (now.clone(), then.clone()))
            .collect()
    }
}

// === impl Sought ===

impl Sought {
    fn new((role, name, key): (Role, String, Option<String>)) -> Self {
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
                Deed::Joined | Deed::Left | Deed::Locked | Deed::Unlocked => {
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
            (Deed::Left, false) => self.found = Some(None),
            (Deed::Left, true) if is_key => self.found = Some(None),
            (Deed::Locked, false) if !self.unlocked => self.found = Some(Some(Was::Locked)),
            (Deed::Locked, true) if is_key && !self.key_unlocked => {
                self.found = Some(Some(Was::Locked));
            }
            (Deed::Unlocked, false) => self.unlocked = true,
            (Deed::Unlocked, true) if is_key => self.key_unlocked = true,
            (Deed::Joined | Deed::Left | Deed::Locked | Deed::Unlocked, _) => {}
        }
    }
}

// === impl Past ===

impl Past {
    /// A host of now as it was, and whether it granted anything; `None` when it had not joined.
    pub(super) fn host(&self, host: &Member, at: Timestamp) -> Option<(HostFacts, bool)> {
        let name = self.names.get(&host.name)?;
        let is_free = if host.joined_at_ms <= at.ms() {
            has_key_at(host, at)
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
}

// === impl Said ===

impl Said {
    /// Reads `user alice locked: lost laptop`, `key phone of user alice removed`, `user alice joined
    /// with key phone (token 1)` and `host h1: called h2 from now on`. What people have written comes
    /// after that, and is not looked at.
    fn of(kind: EventKind, reason: &str) -> Option<Self> {
        let mut words = reason.split(' ');
        let mut word = words.next()?;
        let mut key = None;
        if word == "key" {
            key = Some(words.next()?.to_owned());
            words.next().filter(|of| *of == "of")?;
            word = words.next()?;
        }
        let role: Role = word.parse().ok()?;
        let name = words.next()?;
        let done = words.next()?;
        let is_done = |words: &[&str]| words.contains(&done.trim_end_matches(':'));
        let deed = if kind == EventKind::Operator && done == "called" {
            Deed::Renamed(words.next()?.to_owned())
        } else if kind == EventKind::Removed && is_done(&["removed", "replaced"]) {
            Deed::Left
        } else if kind == EventKind::Locked && is_done(&["locked"]) {
            Deed::Locked
        } else if kind == EventKind::Unlocked && is_done(&["unlocked"]) {
            Deed::Unlocked
        } else if kind == EventKind::Enrolled && done == "joined" {
            let named = words.next() == Some("with") && words.next() == Some("key");
            let own = words.next().filter(|_| named);
            key = Some(own.unwrap_or(KEY_DEFAULT).to_owned());
            Deed::Joined
        } else {
            return None;
        };
        let is_renamed = matches!(deed, Deed::Renamed(_));
        let name = if is_renamed {
            name.strip_suffix(':')?
        } else {
            name
        };
        Some(Self {
            role,
            name: name.to_owned(),
            key,
            deed,
        })
    }
}
