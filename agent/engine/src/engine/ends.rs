//! What ends, or is tried again, because time has passed.

use gate::Now;

use super::Engine;
use crate::effect::{Closing, Effect};
use crate::end::End;
use crate::grants::LiveGrant;
use crate::record;

// === impl Engine ===

impl Engine {
    pub(super) fn end_grants(&mut self, now: Now) {
        while let Some(live) = self.grants.take_ended(now.steady) {
            let at_ms = live.until_ms;
            self.record_end(End::Closed, &live, at_ms, "");
            self.put_by(live, None, now);
        }
    }

    /// Ends the minute of counting.
    pub(super) fn end_totals(&mut self, now: Now) {
        let lost = self.counters.packets_lost;
        let more = lost.saturating_sub(self.losses_recorded);
        self.losses_recorded = lost;
        if more > 0 {
            self.record(record::packets_lost(more, now));
        }
        for event in self.totals.end(now) {
            self.record(event);
        }
    }

    /// Tries again what the firewall did not close; what has ended by itself meanwhile is closed.
    pub(super) fn close_again(&mut self, now: Now) {
        let is_due = |(retry_at, _): &mut (_, Closing)| *retry_at <= now.steady;
        let due: Vec<_> = self.unclosed.extract_if(.., is_due).collect();
        for (_, closing) in due {
            if closing.is_gentle() {
                self.close_again_gently(closing, now);
                continue;
            }
            let Closing {
                grants,
                connections,
                end,
                reason,
                ..
            } = closing;
            if grants.is_empty() {
                let again = Closing {
                    connections,
                    ..Closing::of(grants, end, reason)
                };
                self.effects.push_back(Effect::Close(again));
                continue;
            }
            // What has closed before does not end by itself.
            let (ended, left): (Vec<_>, Vec<_>) = grants
                .into_iter()
                .partition(|live| end != End::Cut && live.deadline <= now.steady);
            // What is left is counted again when it is ordered again.
            self.closing -= ended.len() + left.len();
            let end_by_time = match end {
                End::NotOpened => End::NotOpened,
                End::Closed | End::Revoked | End::Cut | End::ByUser | End::NotExtended => {
                    End::Closed
                }
            };
            let mut live_on = Vec::new();
            for live in ended {
                let at_ms = live.until_ms;
                self.record_end(end_by_time, &live, at_ms, &reason);
                if self.connections.count_of(live.id) > 0 {
                    live_on.push(live);
                }
            }
            if !live_on.is_empty() {
                self.close(live_on, End::Cut, reason.clone());
            }
            if !left.is_empty() {
                self.close(left, end, reason);
            }
        }
    }

    /// The same for what a user has closed.
    fn close_again_gently(&mut self, mut closing: Closing, now: Now) {
        let is_over = |live: &mut LiveGrant| live.deadline <= now.steady;
        let ended: Vec<LiveGrant> = closing.grants.extract_if(.., is_over).collect();
        self.closing -= ended.len();
        for live in ended {
            let reason = "at its time; it could not be closed before";
            let (at_ms, request) = (live.until_ms, closing.request);
            self.record_end_asked(End::Closed, &live, at_ms, reason, request);
            self.put_by(live, None, now);
        }
        let is_done = closing.grants.is_empty() && closing.connections.is_empty();
        if !(is_done && closing.restore.is_empty()) {
            // Found anew when it is carried out.
            closing.rules.clear();
            closing.shorten.clear();
            self.effects.push_back(Effect::Close(closing));
        }
    }

    /// Has everything opened that should be open, if somebody has closed it.
    pub(super) fn reopen(&mut self, now: Now) {
        if self.reopen_at.is_some_and(|at| at <= now.steady) {
            self.reopen_at = None;
            let holes = self.grants.all_holes(now.steady);
            if !holes.is_empty() {
                self.effects.push_back(Effect::Reopen(holes));
            }
        }
    }
}
