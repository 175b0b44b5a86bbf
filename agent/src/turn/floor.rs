//! Floors, as the gate thread keeps and tells them.

use std::sync::mpsc::SyncSender;

use gate::{Floor, Now};

use super::GateThread;
use crate::clock;
use crate::report::FloorReport;

// === impl GateThread ===

impl GateThread {
    /// Forgets what is old, and sets a floor anew that a clock set which was ahead.
    pub(super) fn tidy_journal(&mut self, now: Now) {
        let is_proven = self.regular.clock.is_proven(now, clock::is_synchronised());
        self.regular.clock_is_proven = is_proven;
        if let Some(floor) = self.host.journal.tidy(now, is_proven) {
            self.note_floor(floor, "the clock that set it was ahead", now);
        }
    }

    /// Carries out an operator's word.
    pub(super) fn reset_floor(&mut self, answer: &SyncSender<FloorReport>, now: Now) {
        if let Some(floor) = self.host.journal.reset_floor(now.wall_secs) {
            self.note_floor(floor, "an operator says that the clock is right", now);
        }
        // Whoever asked may have given up.
        let _ = answer.send(self.floor_report(now));
    }

    /// The controller has this journal up to there: what stood only because nothing proved that it
    /// is no older copy falls.
    pub(super) fn prove_journal(&mut self, known: (&str, u64, &[u8; 32]), now: Now) {
        let (epoch, seq, chain) = known;
        if self.host.journal.prove(epoch, seq, chain) {
            let floor = self.host.journal.floor();
            self.note_floor(floor, "the controller has the journal that is here", now);
        }
    }

    pub(super) fn floor_report(&self, now: Now) -> FloorReport {
        FloorReport::of(
            self.host.journal.floor(),
            now.wall_secs,
            self.regular.clock_is_proven,
        )
    }

    fn note_floor(&mut self, floor: Floor, why: &str, now: Now) {
        let through_secs = floor.through_secs;
        tracing::warn!(
            through_secs,
            "packets dated at or before this are refused, and no later ones any more: {why}"
        );
        let text =
            format!("packets dated at or before {through_secs} are refused, no later ones: {why}");
        self.engine.floor_changed(&text, now);
    }
}
