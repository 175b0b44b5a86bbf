//! How much each kind of event matters.

use super::record::Record;
use crate::event::{EventKind, Outcome};

/// How much a record matters, from little to much.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// As every day.
    Informational,
    /// Seldom, or somebody was turned away.
    Notice,
    /// Somebody should look.
    Warning,
    /// Somebody should look now.
    Error,
}

// === impl Severity ===

impl Severity {
    /// Of a record: that of its kind; a failure or a flaw is worth a look, whatever the kind.
    pub fn of(record: &Record) -> Self {
        let of_kind = record.kind().map_or(Self::Notice, Self::of_kind);
        let failed = record.event.outcome() == Outcome::Failure;
        if failed || !record.flaw.is_empty() || !record.is_readable {
            of_kind.max(Self::Warning)
        } else {
            of_kind
        }
    }

    const fn of_kind(kind: EventKind) -> Self {
        match kind {
            EventKind::GrantOpened
            | EventKind::GrantClosed
            | EventKind::CommandRun
            | EventKind::PolicyApplied
            | EventKind::AgentStarted
            | EventKind::Enrolled
            | EventKind::Unlocked
            | EventKind::Read
            | EventKind::SignIn => Self::Informational,
            EventKind::Unspecified
            | EventKind::GrantRevoked
            | EventKind::ConnectionsCut
            | EventKind::Refused
            | EventKind::Noise
            | EventKind::AgentStopped
            | EventKind::Banned
            | EventKind::Locked
            | EventKind::Removed
            | EventKind::Operator
            | EventKind::FloorChanged
            | EventKind::Retention
            | EventKind::Clock => Self::Notice,
            EventKind::Replay
            | EventKind::GrantBlocked
            | EventKind::PolicyRejected
            | EventKind::Drift
            | EventKind::Quota
            | EventKind::Sink => Self::Warning,
            EventKind::ReplayElsewhere
            | EventKind::AuditConflict
            | EventKind::AuditGap
            | EventKind::HostSetBack
            | EventKind::HostCloned
            | EventKind::ControllerSetBack => Self::Error,
        }
    }
}
