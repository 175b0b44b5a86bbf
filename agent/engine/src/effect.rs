//! What the engine wants done.

use std::sync::Arc;
use std::time::Duration;

use fleet::GrantId;
use gate::{CompiledPolicy, Grant};
use spa::ReplayDigest;

use crate::claims::ClaimAsk;
use crate::commands::Command;
use crate::connection::Connection;
use crate::end::End;
use crate::grants::{Grants, LiveGrant, Origin, Restore};
use crate::names::NameAsk;
use crate::rule::{Hole, Rule};
use crate::status::Status;

/// An instruction to the caller of the engine, from [`Engine::next_effect`].
///
/// What opens or runs something comes out only after its record is committed. What opens nothing
/// needs no record, and closing waits for no disk.
///
/// [`Engine::next_effect`]: crate::Engine::next_effect
#[derive(Debug)]
pub enum Effect {
    /// The caller must make this claim at the controller, and hand the answer to
    /// [`Engine::claim_answered`](crate::Engine::claim_answered); that nobody can be asked is an
    /// answer, too.
    Ask(ClaimAsk),
    /// The caller must first take back all of [`Closing::rules`], holding up what goes through
    /// them unless it [`is_gentle`](Closing::is_gentle), end all of [`Closing::connections`] for
    /// good, and then open [`Closing::shorten`] for exactly its timeouts; and it must hand the
    /// instruction back with the result, to [`Engine::closed`](crate::Engine::closed).
    Close(Closing),
    /// The caller must forget this grant, which lives on in no connection any more. It may be late:
    /// whoever finds it at the next start finds no connection of it.
    Forget(GrantId),
    /// The caller must remember, beside this grant, that its user wants its connections ended: they end
    /// when those want the same who may have begun them too, also after a restart.
    GiveUp(GrantId),
    /// The caller must look this host name up without waiting for it, and hand the answer to
    /// [`Engine::name_answered`](crate::Engine::name_answered), also that it cannot.
    LookUp(NameAsk),
    /// The caller must look whether these connections still exist, without waiting for it, and say
    /// which do not, to [`Engine::connections_changed`](crate::Engine::connections_changed).
    LookAt(Vec<Connection>),
    /// The caller must capture what goes to the ports that this policy names, and hide the ports
    /// that it protects.
    Follow(Arc<CompiledPolicy>),
    /// The caller must close everything that is open, leaving connections alone, and hand the
    /// result to [`Engine::flushed`](crate::Engine::flushed).
    Flush,
    /// The caller must open all of [`Opening::holes`], in one step if it can, and hand the
    /// instruction back with the result, to [`Engine::opened`](crate::Engine::opened).
    Open(Opening),
    /// The caller must tell everybody that this is in force now.
    Publish(Status),
    /// The caller must open these again, which somebody else has closed, and hand the result to
    /// [`Engine::reopened`](crate::Engine::reopened).
    Reopen(Vec<Hole>),
    /// The caller must run this command without waiting for it, and say how it ended, to
    /// [`Engine::command_ended`](crate::Engine::command_ended), also when it could not be started.
    Run(Command),
}

/// Grants to open, whose records are committed.
#[derive(Debug, Default)]
#[must_use = "its result belongs to Engine::opened"]
pub struct Opening {
    pub(crate) grants: Vec<LiveGrant>,
    /// Of these an earlier form is open.
    pub(crate) extended: Vec<LiveGrant>,
    pub(crate) holes: Vec<Hole>,
}

/// Grants to close before their time.
#[derive(Debug)]
#[must_use = "its result belongs to Engine::closed"]
pub struct Closing {
    pub(crate) grants: Vec<LiveGrant>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) shorten: Vec<Hole>,
    pub(crate) connections: Vec<Connection>,
    /// How it is recorded when it is done.
    pub(crate) end: End,
    pub(crate) reason: String,
    /// The request that closes, if it was one.
    pub(crate) request: Option<ReplayDigest>,
    /// Grants to be open for no longer than before they were asked for again.
    pub(crate) restore: Vec<Restore>,
}

// === impl Opening ===

impl Opening {
    /// Returns what to open: every rule once.
    #[must_use]
    pub fn holes(&self) -> &[Hole] {
        &self.holes
    }

    /// Returns how many grants depend on it.
    #[must_use]
    pub fn grants(&self) -> usize {
        self.grants.len() + self.extended.len()
    }

    /// Whether there is nothing to open.
    pub(crate) fn is_empty(&self) -> bool {
        self.grants.is_empty() && self.extended.is_empty()
    }

    /// Returns the grants that depend on it, each with its name and its rules, for the log.
    pub fn given(&self) -> impl Iterator<Item = (GrantId, &Grant, &[Rule])> {
        self.grants.iter().filter_map(as_given)
    }

    /// Returns those that were open already.
    pub fn refreshed(&self) -> impl Iterator<Item = (GrantId, &Grant, &[Rule])> {
        self.extended.iter().filter_map(as_given)
    }

    /// Finds what must be opened now: of several holes for one rule the one that is open longest, since
    /// the kernel takes the last word, and the later deadline must win.
    pub(crate) fn find_holes(&mut self, open: &Grants, steady: Duration) {
        for live in self.grants.iter().chain(&self.extended) {
            open.add_holes(live, steady, &mut self.holes);
        }
        if self.holes.len() > 1 {
            self.holes
                .sort_unstable_by_key(|hole| (hole.rule, hole.timeout));
            self.holes.reverse();
            self.holes.dedup_by_key(|hole| hole.rule);
        }
    }
}

fn as_given(live: &LiveGrant) -> Option<(GrantId, &Grant, &[Rule])> {
    match &live.origin {
        Origin::Given(grant) => Some((live.id, grant, &live.rules)),
        Origin::Recovered(_) => None,
    }
}

// === impl Closing ===

impl Closing {
    /// Grants to close. What that means for rules and connections is known when it is carried out.
    pub(crate) const fn of(grants: Vec<LiveGrant>, end: End, reason: String) -> Self {
        Self {
            grants,
            rules: Vec::new(),
            shorten: Vec::new(),
            connections: Vec::new(),
            end,
            reason,
            request: None,
            restore: Vec::new(),
        }
    }

    /// Whether connections go on that are not named: what a user closes before its time ends as it
    /// would at its time, and what could not be opened for longer has not ended.
    #[must_use]
    pub fn is_gentle(&self) -> bool {
        matches!(self.end, End::ByUser | End::NotExtended)
    }

    /// Returns what no grant holds any more.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Returns the connections that may have begun through these grants, or were named.
    #[must_use]
    pub fn connections(&self) -> &[Connection] {
        &self.connections
    }

    /// Returns what other grants hold, for the time that they have left.
    #[must_use]
    pub fn shorten(&self) -> &[Hole] {
        &self.shorten
    }
}
