//! What is to be read again of the database after records of the log, by their kinds. Pure.

use fleet::EventKind;

/// What is to be read again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Reload {
    pub(crate) members: bool,
    pub(crate) policy: bool,
    pub(crate) fleet: bool,
}

// === impl Reload ===

impl Reload {
    pub(crate) const ALL: Self = Self {
        members: true,
        policy: true,
        fleet: true,
    };

    /// What may be another after records of these kinds, by their numbers in the contract: of a kind that is not known
    /// it may be anything.
    pub(crate) fn after(kinds: impl IntoIterator<Item = i32>) -> Self {
        let each = kinds
            .into_iter()
            .map(|kind| match EventKind::try_from(kind) {
                Ok(kind) => Self::after_one(kind),
                Err(_) => Self::ALL,
            });
        each.fold(Self::default(), |all, one| Self {
            members: all.members || one.members,
            policy: all.policy || one.policy,
            fleet: all.fleet || one.fleet,
        })
    }

    /// Kinds of records after which nothing is another.
    pub(crate) fn of_no_consequence() -> Vec<i32> {
        let kinds = EventKind::ALL.into_iter();
        let nothing = kinds.filter(|kind| Self::after_one(*kind) == Self::default());
        nothing.map(i32::from).collect()
    }

    const fn after_one(kind: EventKind) -> Self {
        let nothing = Self {
            members: false,
            policy: false,
            fleet: false,
        };
        match kind {
            EventKind::Unspecified
            | EventKind::Operator
            | EventKind::ControllerSetBack
            | EventKind::HostCloned
            | EventKind::HostSetBack => Self::ALL,
            EventKind::Banned
            | EventKind::Enrolled
            | EventKind::Locked
            | EventKind::Removed
            | EventKind::Unlocked => Self {
                members: true,
                ..nothing
            },
            EventKind::PolicyApplied => Self {
                policy: true,
                fleet: true,
                ..nothing
            },
            EventKind::AgentStarted
            | EventKind::AgentStopped
            | EventKind::AuditConflict
            | EventKind::AuditGap
            | EventKind::Clock
            | EventKind::CommandRun
            | EventKind::ConnectionsCut
            | EventKind::Drift
            | EventKind::FloorChanged
            | EventKind::GrantBlocked
            | EventKind::GrantClosed
            | EventKind::GrantOpened
            | EventKind::GrantRevoked
            | EventKind::Noise
            | EventKind::PolicyRejected
            | EventKind::Quota
            | EventKind::Read
            | EventKind::Refused
            | EventKind::Replay
            | EventKind::ReplayElsewhere
            | EventKind::Retention
            | EventKind::SignIn
            | EventKind::Sink => nothing,
        }
    }
}
