//! What connections begin and end, whose they are, and that they end with what let them begin.

use std::iter;

use fleet::GrantId;
use gate::Now;

use super::Engine;
use crate::connection::Connection;
use crate::connections::{CONNECTIONS_MAX, ConnectionChange, LOOK_EVERY, Past};
use crate::effect::{Closing, Effect};
use crate::end::End;
use crate::grants::LiveGrant;
use crate::record;

// === impl Engine ===

impl Engine {
    /// Takes what has become of connections to this host. What no grant of ours let begin is
    /// nobody's to end.
    pub fn connections_changed(
        &mut self,
        changes: impl IntoIterator<Item = ConnectionChange>,
        now: Now,
    ) {
        for change in changes {
            match change {
                ConnectionChange::Began(connection) => self.attribute(connection, false, now),
                ConnectionChange::Found(connection) => self.attribute(connection, true, now),
                ConnectionChange::Ended(connection) => self.connection_ended(&connection),
            }
        }
    }

    /// Finds out through which grants a connection may have begun, and remembers that. For one of
    /// which it is not known when it began, every grant is a candidate that still is known.
    fn attribute(&mut self, connection: Connection, at_any_time: bool, now: Now) {
        if self.connections.knows(&connection) {
            return;
        }
        let mut candidates: Vec<GrantId> = self.grants.letting_begin(&connection);
        let is_contested = !candidates.is_empty();
        let past = self.past.letting_begin(&connection).filter(|past| {
            at_any_time
                || past.is_just_past(now.steady)
                || !is_contested && past.is_recent(now.steady)
        });
        candidates.extend(past.map(|past| past.live.id));
        if candidates.is_empty() {
            return;
        }
        let taken_back = candidates.iter().find_map(|id| {
            let past = self.past.get(*id)?;
            Some((*id, past.revoked.clone()?))
        });
        let over_limit = self.connections.len() >= CONNECTIONS_MAX;
        match (taken_back, candidates.first()) {
            (Some((id, reason)), _) => self.cut_one(connection, id, reason, now),
            (None, Some(id)) if over_limit => {
                self.counters.over_limit += 1;
                let reason = "too many connections are followed on this host";
                self.cut_one(connection, *id, reason.to_owned(), now);
            }
            (None, _) => self.connections.enter(connection, candidates),
        }
    }

    /// Ends one connection, and says so for the grant that it may have begun through.
    fn cut_one(&mut self, connection: Connection, id: GrantId, reason: String, now: Now) {
        let past = self.past.get(id).map(|past| &past.live);
        let Some(live) = past.or_else(|| self.grants.get(id)) else {
            return;
        };
        let event = record::connections_cut(live, 1, now.wall_ms(), &reason);
        self.record(event);
        self.effects.push_back(Effect::Close(Closing {
            connections: vec![connection],
            ..Closing::of(Vec::new(), End::Cut, reason)
        }));
    }

    pub(super) fn connection_ended(&mut self, connection: &Connection) {
        for id in self.connections.forget(connection) {
            if self.past.get(id).is_some_and(|past| past.is_kept) {
                self.past.remove(id);
                self.effects.push_back(Effect::Forget(id));
            }
        }
    }

    /// The hole of this grant has closed. It is remembered for as long as it has connections, and
    /// for a moment in which some may become known.
    pub(super) fn put_by(&mut self, live: LiveGrant, revoked: Option<String>, now: Now) {
        let is_kept = revoked.is_none() && self.connections.count_of(live.id) > 0;
        // At its deadline it closed, however late that is seen; before, only if it was taken back.
        let ended_at = live.deadline.min(now.steady);
        self.past.enter(Past {
            live,
            ended_at,
            revoked,
            is_kept,
        });
    }

    /// Has connections ended through which grants live on.
    pub(super) fn cut_past(&mut self, past: Vec<Past>, reason: &str, now: Now) {
        let (kept, late): (Vec<_>, Vec<_>) = past.into_iter().partition(|past| past.is_kept);
        if !kept.is_empty() {
            let grants = kept.into_iter().map(|past| past.live).collect();
            self.close(grants, End::Cut, reason.to_owned());
        }
        // What became known after its end was recorded is in no table.
        for Past { live, .. } in late {
            let connections = self.connections.of_grants(iter::once(live.id));
            let count = connections.len() as u64;
            let event = record::connections_cut(&live, count, now.wall_ms(), reason);
            self.record(event);
            self.effects.push_back(Effect::Close(Closing {
                connections: connections.into_iter().collect(),
                ..Closing::of(Vec::new(), End::Cut, reason.to_owned())
            }));
        }
    }

    /// Forgets grants that are over, and has those connections looked at whose end may not have been
    /// told.
    pub(super) fn due_connections(&mut self, now: Now) {
        let connections = &self.connections;
        let is_over = |past: &Past| !past.is_recent(now.steady) && !past.lives_on(connections);
        let over = self.past.take_out(is_over);
        let kept = over.iter().filter(|past| past.is_kept);
        self.effects
            .extend(kept.map(|past| Effect::Forget(past.live.id)));
        if self.look_at <= now.steady {
            self.look_at = now.steady + LOOK_EVERY;
            if self.connections.len() > 0 {
                self.effects
                    .push_back(Effect::LookAt(self.connections.all()));
            }
        }
    }
}
