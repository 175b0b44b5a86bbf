//! Whether whoever changes the packet filter still does.

use std::sync::mpsc::SyncSender;

use gate::Now;

use super::GateThread;
use crate::domains::pulse;

// === impl GateThread ===

impl GateThread {
    /// Says when whoever changes the packet filter does not answer any more, and opens again what is to be
    /// open when he does.
    pub(super) fn look_at_filter(&mut self, now: Now) {
        const SILENT: &str =
            "the process that changes the packet filter does not answer: nothing opens";
        const ANSWERS: &str = "the process that changes the packet filter answers again";
        if self.regular.reach_at > now.steady {
            return;
        }
        self.regular.reach_at = now.steady + pulse::EVERY;
        let is_out_of_reach = !self.host.holes.answers();
        if is_out_of_reach == self.regular.is_out_of_reach {
            return;
        }
        self.regular.is_out_of_reach = is_out_of_reach;
        self.note_warnings();
        if is_out_of_reach {
            tracing::error!("{SILENT}");
            self.engine.filter_is_silent(SILENT, now);
        } else {
            tracing::warn!("{ANSWERS}");
            self.engine.filter_answers(ANSWERS, now);
        }
    }

    /// Says which generation is in force, and whether the packet filter can be reached. Waits for it: who
    /// asks has changed something, and wants to know.
    pub(super) fn confirm(&mut self, answer: &SyncSender<(u64, Result<(), String>)>) {
        let reached = self.host.holes.reach().map_err(|cause| cause.to_string());
        let generation = self.engine.status().generation;
        // Whoever asked may have given up.
        drop(answer.send((generation, reached)));
    }
}
