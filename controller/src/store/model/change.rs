//! Locking, unlocking and removing: of whom, why, by whom, and what came of it.

use std::fmt;

use fleet::{Event, EventKind, Role};

use super::Origin;

/// A member, or one key of a user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Whom {
    pub(crate) role: Role,
    pub(crate) name: String,
    /// Only this key; `None` for the member with all of its keys.
    pub(crate) key: Option<String>,
}

/// What somebody does to a membership.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Change {
    pub(crate) whom: Whom,
    /// For people; may be empty.
    pub(crate) reason: String,
    pub(crate) origin: Origin,
    /// Milliseconds since the Unix epoch.
    pub(crate) at_ms: u64,
}

/// What a change came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ChangeOutcome {
    Done(Changed),
    /// It was so before; nothing is recorded.
    DoneBefore,
    UnknownMember,
    UnknownKey,
    /// Nobody could say any more who may do what.
    LastOwner,
    /// A member without a key is none: it is to be removed itself.
    LastKey,
}

/// What else a change did, and what should be looked at.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Changed {
    /// Ids of tokens that were open until now: made by the member, or for it.
    pub(crate) revoked_tokens: Vec<String>,
    /// Who joined by tokens that the member made, each as `user eve`.
    pub(crate) invited: Vec<String>,
}

// === impl Change ===

impl Change {
    /// The event that says so: `user alice locked: lost laptop`.
    pub(crate) fn event(&self, kind: EventKind, done: &str) -> Event {
        let reason = format!("{} {done}", self.whom);
        let mut event = self.note(kind, reason);
        if !self.reason.is_empty() {
            event.reason += ": ";
            event.reason += &self.reason;
        }
        event
    }

    /// An event of something that comes with it.
    pub(crate) fn note(&self, kind: EventKind, reason: String) -> Event {
        let mut event = self.origin.clone().done(kind, self.at_ms);
        event.user = self.origin.name().to_owned();
        event.reason = reason;
        event
    }
}

// === impl Whom ===

impl Whom {
    /// The host of this name.
    pub(crate) fn host(name: String) -> Self {
        Self {
            role: Role::Host,
            name,
            key: None,
        }
    }
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, name, key } = self;
        match key {
            Some(key) => write!(f, "key {key} of {role} {name}"),
            None => write!(f, "{role} {name}"),
        }
    }
}
