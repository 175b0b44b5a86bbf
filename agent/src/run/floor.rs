//! What a start found of the journal, in the log and in the audit.

use std::time::Duration;

use engine::Engine;
use gate::Now;

use crate::journal::{FloorReason, Start};

/// Says until when older packets are refused, and why.
pub(super) fn log(start: &Start, max_future: Duration) {
    let before = start.floor.not_before_secs;
    let secs = max_future.as_secs();
    match start.floor.why {
        FloorReason::Known | FloorReason::Ordered | FloorReason::Forgotten => {}
        FloorReason::New => tracing::info!(
            before,
            "a new journal: packets dated before now are refused"
        ),
        FloorReason::Lost => tracing::warn!(
            before,
            "the journal that was here is gone: packets dated before that are refused, because they may have been granted"
        ),
        FloorReason::SetBack => tracing::error!(
            before,
            "the journal was put back to an older copy: packets dated before that are refused, because they may have been granted; the journal goes on under a new name"
        ),
        FloorReason::Unproven => tracing::warn!(
            before,
            secs,
            "nothing proves that the journal is not an older copy, as after every boot of the machine: packets dated before that are refused, because they may have been granted"
        ),
        FloorReason::Widened => tracing::warn!(
            before,
            "older packets are allowed than before: those dated before now are refused"
        ),
        FloorReason::Unguarded => tracing::warn!(
            "a new journal and no ageing: every packet that was ever captured is good once"
        ),
    }
}

/// Records a floor that costs somebody something.
pub(super) fn record(engine: &mut Engine, start: &Start, now: Now) {
    let why = start.floor.why;
    let text = format!(
        "{}: packets dated before {} are refused",
        why.words(),
        start.floor.not_before_secs
    );
    match why {
        FloorReason::SetBack => engine.set_back(&text, now),
        FloorReason::Lost | FloorReason::Unproven => engine.floor_changed(&text, now),
        FloorReason::Known
        | FloorReason::Unguarded
        | FloorReason::New
        | FloorReason::Widened
        | FloorReason::Ordered
        | FloorReason::Forgotten => {}
    }
}
