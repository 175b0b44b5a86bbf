//! A host that its controller has locked: it grants nothing, and nothing goes on.

use fleet::EventKind;
use gate::Now;

use super::Engine;
use crate::batch::Permits;
use crate::end::End;
use crate::record::{self, Record};

// === impl Engine ===

impl Engine {
    /// Grants nothing from now on, closes what is open and ends its connections. What is protected
    /// stays hidden. Doing it twice changes nothing.
    pub fn lock(&mut self, reason: &str, now: Now) {
        let is_known = self.status.locked.as_deref() == Some(reason);
        if is_known {
            return;
        }
        self.status.locked = Some(reason.to_owned());
        let generation = self.gate.compiled().generation();
        let event = record::locked(EventKind::Locked, reason, generation, now);
        self.stage(Record::new(event), Permits::Publish);
        self.close_for_lock(now);
    }

    /// Ends the lock.
    pub fn unlock(&mut self, now: Now) {
        let Some(reason) = self.status.locked.take() else {
            return;
        };
        let generation = self.gate.compiled().generation();
        let event = record::locked(EventKind::Unlocked, &reason, generation, now);
        self.stage(Record::new(event), Permits::Publish);
    }

    /// Why nothing is granted, for whoever is refused.
    pub(super) fn refusal_of_lock(&self) -> Option<String> {
        self.status.locked.as_deref().map(refusal)
    }

    /// Closes everything, with its connections, if this host is locked.
    pub(super) fn close_for_lock(&mut self, now: Now) {
        let Some(reason) = self.refusal_of_lock() else {
            return;
        };
        let gone = self.grants.take_out(|_| false);
        let connections = &self.connections;
        let past = self.past.take_out(|past| past.lives_on(connections));
        let waiting = self.commands.give_up(|_| false);
        let names = self.names.give_up(|_| false);
        for grant in waiting.into_iter().chain(names) {
            self.refuse_grant(&grant, &reason, now);
        }
        self.withdraw(|_| true, &reason);
        self.end_cycles(End::Revoked, &reason, |_, _| false);
        self.cut_past(past, &reason, now);
        if !gone.is_empty() {
            self.close(gone, End::Revoked, reason);
        }
        self.close_cycles(now);
    }
}

fn refusal(reason: &str) -> String {
    format!("this host is locked: {reason}")
}
