//! What was committed is permitted, what was not is refused; and what came of the effects.

use std::fmt;

use fleet::GrantId;
use gate::Now;
use spa::ReplayDigest;

use super::{Engine, FIREWALL_RETRY, IDLE_CAPACITY, WAITING_MAX};
use crate::batch::{Committed, Item, NotCommitted, Permits};
use crate::commands::{Ended, Whose};
use crate::effect::{Closing, Effect, Opening};
use crate::end::End;
use crate::grants::LiveGrant;
use crate::record::{self, Change, Record};

// === impl Engine ===

impl Engine {
    /// A batch is durable: what it permits becomes effects.
    pub fn committed(&mut self, committed: Committed, now: Now) {
        let mut items = committed.into_items();
        let mut opening = Opening::default();
        for item in items.drain(..) {
            match item.permits {
                Permits::Nothing | Permits::Join => {}
                Permits::Open(live) => opening.grants.push(*live),
                Permits::Extend(live) => opening.extended.push(*live),
                Permits::Publish => self.publish(),
                Permits::Run(command, grant) => {
                    self.counters.commands_started += 1;
                    self.commands.started(command.id, Whose::Message(grant));
                    self.effects.push_back(Effect::Run(command));
                }
                Permits::Cycle(command, cycle) => {
                    self.counters.commands_started += 1;
                    self.commands.started(command.id, Whose::Opening);
                    self.cycles.enter(*cycle);
                    self.effects.push_back(Effect::Run(command));
                }
                Permits::CloseCycle(command) => self.run_closing(command),
            }
        }
        if !opening.is_empty() {
            self.effects.push_back(Effect::Open(opening));
        }
        // Its allocation serves the next batch.
        if self.items.is_empty() {
            items.shrink_to(IDLE_CAPACITY);
            self.items = items;
        }
        // Only now: while the disk takes nothing, this would be one more record that waits.
        let lost = std::mem::take(&mut self.records_lost);
        if lost > 0 {
            self.record(record::records_lost(lost, now));
        }
    }

    /// Nothing of a batch was written: what it would have permitted is refused, and all of it waits
    /// for the next attempt.
    pub fn not_committed(&mut self, not_committed: NotCommitted, now: Now) {
        self.counters.commits_failed += 1;
        let mut items = not_committed.into_items();
        for item in &mut items {
            item.is_retried = true;
            match std::mem::replace(&mut item.permits, Permits::Nothing) {
                Permits::Nothing => {}
                Permits::Open(_) => {
                    self.opening -= 1;
                    self.counters.not_recorded += 1;
                }
                // It is open for as long as before.
                Permits::Extend(_) | Permits::Join => self.counters.not_recorded += 1,
                // It is enforced, whether or not it could be recorded.
                Permits::Publish => self.publish(),
                Permits::CloseCycle(command) => self.run_closing(command),
                Permits::Run(_, _) | Permits::Cycle(_, _) => {
                    self.commands.not_started();
                    self.counters.not_recorded += 1;
                }
            }
        }
        items.append(&mut self.items);
        self.staged.clear();
        let lost = give_up_excess(&mut items);
        self.records_lost += lost;
        self.counters.records_lost += lost;
        self.items = items;
        // Others may have had to wait for those.
        self.start_commands(now);
    }

    /// What came of [`Effect::Open`].
    pub fn opened(&mut self, opening: Opening, result: Result<(), impl fmt::Display>) {
        let Opening {
            grants,
            extended,
            holes: _,
        } = opening;
        self.opening -= grants.len();
        match result {
            Ok(()) => {
                self.counters.opened += grants.len() as u64;
                self.counters.refreshed += extended.len() as u64;
                for live in grants.into_iter().chain(extended) {
                    self.end_displaced(&live);
                    self.grants.enter(live);
                }
            }
            Err(cause) => {
                // Some of it may be open nevertheless, and for longer than is recorded.
                self.counters.not_opened += grants.len() as u64;
                let reason = format!("not opened: {cause}");
                if !grants.is_empty() {
                    self.close(grants, End::NotOpened, reason);
                }
                self.take_back_extensions(extended, format!("not extended: {cause}"));
            }
        }
    }

    /// A packet filter leads what one client asks of one port to one place: what leads it elsewhere
    /// now has ended what led it before, which is not to be recorded as open any longer.
    fn end_displaced(&mut self, live: &LiveGrant) {
        let displaced = self.grants.displaced_by(live);
        if displaced.is_empty() {
            return;
        }
        let displaced = self.grants.take_these(&displaced);
        self.closing += displaced.len();
        let reason = format!("led elsewhere by grant {}", live.id);
        self.effects
            .push_back(Effect::Close(Closing::of(displaced, End::ByUser, reason)));
    }

    /// What came of [`Effect::Close`]. What could not be closed is tried again until it has closed
    /// by itself, and not recorded as closed before.
    pub fn closed(&mut self, closing: Closing, result: Result<(), impl fmt::Display>, now: Now) {
        if result.is_err() {
            self.counters.firewall_failures += 1;
            self.unclosed.push((now.steady + FIREWALL_RETRY, closing));
            return;
        }
        if closing.is_gentle() {
            self.closed_gently(closing, now);
            return;
        }
        self.closing -= closing.grants.len();
        for live in closing.grants {
            self.record_closing(closing.end, live, &closing.reason, now);
        }
        self.counters.connections_cut += closing.connections.len() as u64;
        for connection in &closing.connections {
            self.connections.forget(connection);
        }
    }

    /// A grant is closed, and its connections are ended.
    fn record_closing(&mut self, end: End, live: LiveGrant, reason: &str, now: Now) {
        let count = self.connections.count_of(live.id) as u64;
        self.count_end(end);
        let mut record = Record::ends(end, &live, now.wall_ms(), reason);
        if end == End::Cut {
            record.count_connections(count);
        }
        self.stage(record, Permits::Nothing);
        // What it let begin and is not known yet ends, too.
        let revoked = Some(reason.to_owned());
        self.put_by(live, revoked, now);
    }

    /// What came of [`Effect::Flush`].
    pub fn flushed(&mut self, result: Result<(), impl fmt::Display>, now: Now) {
        match result {
            Ok(()) => {
                let at_ms = now.wall_ms();
                for live in self.grants.take_out(|_| false) {
                    self.record_end(End::Closed, &live, at_ms, "agent stopped");
                }
                for (_, closing) in std::mem::take(&mut self.unclosed) {
                    self.closing -= closing.grants.len();
                    let (end, reason) = match closing.end {
                        End::NotOpened => (End::NotOpened, closing.reason.as_str()),
                        End::NotExtended => continue,
                        End::ByUser => (End::ByUser, closing.reason.as_str()),
                        End::Closed | End::Revoked => (End::Closed, "agent stopped"),
                        // The next start tries again.
                        End::Cut => continue,
                    };
                    for live in closing.grants {
                        self.record_end(end, &live, at_ms, reason);
                    }
                }
            }
            // Then they are still open, and the next start records how they end.
            Err(_) => self.counters.firewall_failures += 1,
        }
        self.record_stop(now);
    }

    /// What came of [`Effect::Reopen`]. It is tried again for as long as it fails.
    pub fn reopened(&mut self, result: Result<(), impl fmt::Display>, now: Now) {
        self.reopen_at = None;
        if result.is_err() {
            self.counters.firewall_failures += 1;
            self.reopen_at = Some(now.steady + FIREWALL_RETRY);
        }
    }

    /// What came of [`Effect::Run`]. The next command that waits gets its turn.
    pub fn command_ended(&mut self, id: GrantId, ended: &Ended, now: Now) {
        match self.commands.ended(id) {
            Some(Whose::Message(grant)) => {
                self.record(record::command_ended(&grant, id, ended, now));
            }
            Some(Whose::Opening) => self.cycle_opened(id, ended, now),
            Some(Whose::Closing) => self.cycle_closed(id, ended, now),
            None => {}
        }
        self.start_commands(now);
        self.close_cycles(now);
    }

    /// Has grants closed that are in no table any more.
    pub(super) fn close(&mut self, grants: Vec<LiveGrant>, end: End, reason: String) {
        self.closing += grants.len();
        self.effects
            .push_back(Effect::Close(Closing::of(grants, end, reason)));
    }

    /// Records that the hole of a grant has closed. With connections it is not over yet.
    pub(super) fn record_end(&mut self, end: End, live: &LiveGrant, at_ms: u64, reason: &str) {
        self.record_end_asked(end, live, at_ms, reason, None);
    }

    /// The same, where a packet has asked for it.
    pub(super) fn record_end_asked(
        &mut self,
        end: End,
        live: &LiveGrant,
        at_ms: u64,
        reason: &str,
        request: Option<ReplayDigest>,
    ) {
        self.count_end(end);
        let mut record = Record::ends(end, live, at_ms, reason);
        record.note_request(request);
        if self.connections.count_of(live.id) > 0 {
            record = record.lives_on(live);
        }
        self.stage(record, Permits::Nothing);
    }

    pub(super) fn count_end(&mut self, end: End) {
        match end {
            End::Closed | End::ByUser => self.counters.closed += 1,
            // Counted when the firewall said so, or when the hole had closed.
            End::NotOpened | End::NotExtended | End::Cut => {}
            End::Revoked => self.counters.revoked += 1,
        }
    }

    fn publish(&mut self) {
        self.effects.push_back(Effect::Publish(self.status.clone()));
    }
}

/// Gives up the newest of too many records; how many. The end of a grant is always kept: there are
/// no more of them than grants may be open. So is what permits something: that it is under way is
/// counted elsewhere.
fn give_up_excess(items: &mut Vec<Item>) -> u64 {
    let before = items.len();
    if before <= WAITING_MAX {
        return 0;
    }
    let mut place = 0;
    items.retain(|item| {
        place += 1;
        let change = item.record.change();
        let ends = matches!(
            change,
            Change::Ends(_) | Change::LivesOn(_) | Change::CycleStands(_) | Change::CycleCloses(_)
        );
        place <= WAITING_MAX || ends || !matches!(item.permits, Permits::Nothing)
    });
    (before - items.len()) as u64
}
