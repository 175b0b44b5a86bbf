//! Which connection may have begun through which grant. They outlive the holes, here as in the
//! kernel, until they end.
//!
//! Whose a connection is follows from when it began: every grant is a candidate whose hole let its
//! address and port in then. Where several did (two users behind one address) it cannot be told
//! apart, and what ends one of them ends the connection.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use fleet::GrantId;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::connection::Connection;
use crate::grants::LiveGrant;
use crate::rule_index::RuleIndex;

/// Connections that are remembered. As many as the kernel tracks by default; each takes some 200
/// bytes.
pub(crate) const CONNECTIONS_MAX: usize = 262_144;
/// Grants that live on in connections.
pub(crate) const LIVING_ON_MAX: usize = 65_536;
/// How much later than it began a connection may become known: its grant is a candidate for so long
/// after its end.
pub(crate) const GRACE: Duration = Duration::from_secs(1);
/// The same where the hole of another grant for the same rule is open: whoever comes through that one
/// is not to be taken for whoever came before. Notices take milliseconds.
const GRACE_CONTESTED: Duration = Duration::from_millis(200);
/// Between two looks whether connections still exist whose end was not told.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What becomes of connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum ConnectionChange {
    /// It has just begun.
    Began(Connection),
    /// It exists; nobody was told when it began.
    Found(Connection),
    /// It is over.
    Ended(Connection),
}

/// Connections with the grants that may have let them begin.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    grants: HashMap<Connection, Vec<GrantId>>,
    of_grant: HashMap<GrantId, BTreeSet<Connection>>,
    /// Those whose users want their connections ended: they keep none alive for anybody else. They
    /// stay candidates, so that what takes them back ends the rest.
    given_up: BTreeSet<GrantId>,
}

/// A grant whose hole has closed.
#[derive(Debug)]
pub(crate) struct Past {
    pub(crate) live: LiveGrant,
    /// Steady time at which its hole closed.
    pub(crate) ended_at: Duration,
    /// Why it was taken back, if it was: what becomes known late is ended, too.
    pub(crate) revoked: Option<String>,
    /// Whether the journal remembers it.
    pub(crate) is_kept: bool,
}

/// Grants whose holes have closed.
#[derive(Debug, Default)]
pub(crate) struct PastGrants {
    grants: BTreeMap<GrantId, Past>,
    by_rule: RuleIndex,
}

// === impl Connections ===

impl Connections {
    pub(crate) fn len(&self) -> usize {
        self.grants.len()
    }

    pub(crate) fn knows(&self, connection: &Connection) -> bool {
        self.grants.contains_key(connection)
    }

    pub(crate) fn enter(&mut self, connection: Connection, grants: Vec<GrantId>) {
        for id in &grants {
            self.of_grant.entry(*id).or_default().insert(connection);
        }
        self.grants.insert(connection, grants);
    }

    /// Forgets a connection; which of its grants have none left.
    pub(crate) fn forget(&mut self, connection: &Connection) -> Vec<GrantId> {
        let mut grants = self.grants.remove(connection).unwrap_or_default();
        grants.retain(|id| {
            let Some(others) = self.of_grant.get_mut(id) else {
                return false;
            };
            others.remove(connection);
            let none_left = others.is_empty();
            if none_left {
                self.of_grant.remove(id);
                self.given_up.remove(id);
            }
            none_left
        });
        grants
    }

    /// How many may have begun through this grant.
    pub(crate) fn count_of(&self, id: GrantId) -> usize {
        self.of_grant.get(&id).map_or(0, BTreeSet::len)
    }

    pub(crate) fn of_grants(&self, ids: impl Iterator<Item = GrantId>) -> BTreeSet<Connection> {
        ids.filter_map(|id| self.of_grant.get(&id))
            .flatten()
            .copied()
            .collect()
    }

    /// The users of these grants want their connections ended; those that may be somebody else's
    /// live on until he wants the same. Which of the grants have any, and were not given up before.
    pub(crate) fn give_up(&mut self, ids: &BTreeSet<GrantId>) -> Vec<GrantId> {
        let live_on = ids.iter().filter(|id| self.of_grant.contains_key(*id));
        live_on
            .copied()
            .filter(|id| self.given_up.insert(*id))
            .collect()
    }

    /// Those that can have begun through these grants only, or through such as were given up.
    pub(crate) fn of_grants_only(&self, ids: &BTreeSet<GrantId>) -> Vec<Connection> {
        let may = self.of_grants(ids.iter().copied()).into_iter();
        let ends = |id: &GrantId| ids.contains(id) || self.given_up.contains(id);
        let is_only = |connection: &Connection| {
            let candidates = self.grants.get(connection);
            candidates.is_some_and(|candidates| candidates.iter().all(ends))
        };
        may.filter(is_only).collect()
    }

    pub(crate) fn all(&self) -> Vec<Connection> {
        self.grants.keys().copied().collect()
    }
}

// === impl Past ===

impl Past {
    /// Whether it lives on in connections that nobody is ending.
    pub(crate) fn lives_on(&self, connections: &Connections) -> bool {
        self.revoked.is_none() && connections.count_of(self.live.id) > 0
    }

    /// Whether a connection that becomes known now may have begun before the hole closed.
    pub(crate) fn is_recent(&self, steady: Duration) -> bool {
        self.ended_at + GRACE > steady
    }

    /// The same where it may have begun through another grant.
    pub(crate) fn is_just_past(&self, steady: Duration) -> bool {
        self.ended_at + GRACE_CONTESTED > steady
    }
}

// === impl PastGrants ===

impl PastGrants {
    pub(crate) fn len(&self) -> usize {
        self.grants.len()
    }

    pub(crate) fn get(&self, id: GrantId) -> Option<&Past> {
        self.grants.get(&id)
    }

    pub(crate) fn enter(&mut self, past: Past) {
        let id = past.live.id;
        for rule in &past.live.rules {
            self.by_rule.insert(*rule, id);
        }
        self.grants.insert(id, past);
    }

    /// Those whose holes let this address in.
    pub(crate) fn letting_in(&self, address: IpAddr) -> impl Iterator<Item = &Past> {
        let ids = self.by_rule.letting_in(address).into_iter();
        ids.filter_map(|id| self.grants.get(&id))
    }

    /// Those whose holes let this connection begin.
    pub(crate) fn letting_begin(&self, connection: &Connection) -> impl Iterator<Item = &Past> {
        let ids = self.by_rule.letting_begin(connection).into_iter();
        ids.filter_map(|id| self.grants.get(&id))
    }

    pub(crate) fn remove(&mut self, id: GrantId) {
        if let Some(past) = self.grants.remove(&id) {
            self.leave(&past);
        }
    }

    pub(crate) fn take_out(&mut self, gone: impl Fn(&Past) -> bool) -> Vec<Past> {
        let gone = self.grants.extract_if(.., |_, past| gone(past));
        let gone: Vec<Past> = gone.map(|(_, past)| past).collect();
        for past in &gone {
            self.leave(past);
        }
        gone
    }

    fn leave(&mut self, past: &Past) {
        for rule in &past.live.rules {
            self.by_rule.remove(*rule, past.live.id);
        }
    }
}
