//! What the controller's own events say of members: who joined, left, was locked or renamed.

use fleet::{EventKind, Role};

use crate::context::Context;
use crate::error::Error;
use crate::store::model::{CONTROLLER, Cursor, EventFilter, KEY_DEFAULT, Onward};
use crate::timestamp::Timestamp;

const PAGE: usize = 1_000;
/// Events that are looked through on either side of the moment at most.
const EVENTS_MAX: usize = 50_000;

/// What became of somebody.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Deed {
    Joined,
    Left(Parting),
    Locked,
    Unlocked,
    Renamed(String),
}

/// How somebody came to be no more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Parting {
    Removed,
    Replaced,
}

/// What one of the controller's own events says of a member, or of one of its keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Said {
    pub(super) role: Role,
    pub(super) name: String,
    /// `None` for the member with all of its keys.
    pub(super) key: Option<String>,
    pub(super) deed: Deed,
    pub(super) at: Timestamp,
}

/// Reads what is said of members, newest first, as long as `hear` wants more. Whether all was read
/// that was wanted.
pub(super) async fn look(
    context: &Context,
    filter: EventFilter,
    mut hear: impl FnMut(&Said) -> bool,
) -> Result<bool, Error> {
    let kinds = [
        EventKind::Enrolled,
        EventKind::Removed,
        EventKind::Locked,
        EventKind::Banned,
        EventKind::Unlocked,
        EventKind::Operator,
    ];
    let filter = EventFilter {
        hosts: vec![CONTROLLER.to_owned()],
        kinds: kinds.map(i32::from).to_vec(),
        ..filter
    };
    let mut from = Onward::from(Cursor::NEWEST);
    let mut count = 0;
    loop {
        let page = context.store.look(filter.clone(), from, PAGE).await?;
        for row in &page.rows {
            let event = row.event();
            let at = Timestamp::from_ms(event.at_ms);
            let said = Said::of(event.kind(), &event.reason, at);
            if said.is_some_and(|said| !hear(&said)) {
                return Ok(true);
            }
        }
        count += page.rows.len();
        match page.onward() {
            _ if page.cut || count >= EVENTS_MAX => return Ok(false),
            Some(onward) => from = onward,
            None => return Ok(true),
        }
    }
}

// === impl Parting ===

impl Parting {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Replaced => "replaced",
        }
    }
}

// === impl Said ===

impl Said {
    /// Reads `user alice locked: lost laptop`, `key phone of user alice removed`, `user alice joined
    /// with key phone (token 1)` and `host h1: called h2 from now on`. What people have written comes
    /// after that, and is not looked at.
    fn of(kind: EventKind, reason: &str, at: Timestamp) -> Option<Self> {
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
        let done = done.trim_end_matches(':');
        let deed = if kind == EventKind::Operator && done == "called" {
            Deed::Renamed(words.next()?.to_owned())
        } else if kind == EventKind::Removed && done == Parting::Removed.as_str() {
            Deed::Left(Parting::Removed)
        } else if kind == EventKind::Removed && done == Parting::Replaced.as_str() {
            Deed::Left(Parting::Replaced)
        } else if [EventKind::Locked, EventKind::Banned].contains(&kind) && done == kind.as_str() {
            Deed::Locked
        } else if kind == EventKind::Unlocked && done == "unlocked" {
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
            at,
        })
    }
}
