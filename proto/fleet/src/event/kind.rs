//! What kind of thing happened, how it ended, and how people spell that.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::wire::{Event, EventKind, Outcome, UserIdentity};

/// A kind that is none of ours.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is not a kind of event")]
pub struct UnknownEventKind(pub String);

// === impl EventKind ===

/// `Display` and `FromStr` use kebab case, as `postern audit list --kind`.
impl EventKind {
    /// Every kind that this version makes, in alphabetical order.
    pub const ALL: [Self; 33] = [
        Self::AgentStarted,
        Self::AgentStopped,
        Self::AuditConflict,
        Self::AuditGap,
        Self::Banned,
        Self::Clock,
        Self::CommandRun,
        Self::ConnectionsCut,
        Self::ControllerSetBack,
        Self::Drift,
        Self::Enrolled,
        Self::FloorChanged,
        Self::GrantBlocked,
        Self::GrantClosed,
        Self::GrantOpened,
        Self::GrantRevoked,
        Self::HostCloned,
        Self::HostSetBack,
        Self::Locked,
        Self::Noise,
        Self::Operator,
        Self::PolicyApplied,
        Self::PolicyRejected,
        Self::Quota,
        Self::Read,
        Self::Refused,
        Self::Removed,
        Self::Replay,
        Self::ReplayElsewhere,
        Self::Retention,
        Self::SignIn,
        Self::Sink,
        Self::Unlocked,
    ];

    /// Kebab-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::AgentStarted => "agent-started",
            Self::AgentStopped => "agent-stopped",
            Self::AuditConflict => "audit-conflict",
            Self::AuditGap => "audit-gap",
            Self::Banned => "banned",
            Self::Clock => "clock",
            Self::CommandRun => "command-run",
            Self::ConnectionsCut => "connections-cut",
            Self::ControllerSetBack => "controller-set-back",
            Self::Drift => "drift",
            Self::Enrolled => "enrolled",
            Self::FloorChanged => "floor-changed",
            Self::GrantBlocked => "grant-blocked",
            Self::GrantClosed => "grant-closed",
            Self::GrantOpened => "grant-opened",
            Self::GrantRevoked => "grant-revoked",
            Self::HostCloned => "host-cloned",
            Self::HostSetBack => "host-set-back",
            Self::Locked => "locked",
            Self::Noise => "noise",
            Self::Operator => "operator",
            Self::PolicyApplied => "policy-applied",
            Self::PolicyRejected => "policy-rejected",
            Self::Quota => "quota",
            Self::Read => "read",
            Self::Refused => "refused",
            Self::Removed => "removed",
            Self::Replay => "replay",
            Self::ReplayElsewhere => "replay-elsewhere",
            Self::Retention => "retention",
            Self::SignIn => "sign-in",
            Self::Sink => "sink",
            Self::Unlocked => "unlocked",
        }
    }

    /// What is only of interest for a while: what strangers and mistakes cause, and what programs say of
    /// themselves.
    pub const fn is_noise(self) -> bool {
        match self {
            Self::AgentStarted
            | Self::AgentStopped
            | Self::Clock
            | Self::Drift
            | Self::FloorChanged
            | Self::Noise
            | Self::Quota
            | Self::Refused
            | Self::Replay
            | Self::Sink => true,
            Self::Unspecified
            | Self::AuditConflict
            | Self::AuditGap
            | Self::Banned
            | Self::CommandRun
            | Self::ConnectionsCut
            | Self::ControllerSetBack
            | Self::Enrolled
            | Self::GrantBlocked
            | Self::GrantClosed
            | Self::GrantOpened
            | Self::GrantRevoked
            | Self::HostCloned
            | Self::HostSetBack
            | Self::Locked
            | Self::Operator
            | Self::PolicyApplied
            | Self::PolicyRejected
            | Self::Read
            | Self::Removed
            | Self::ReplayElsewhere
            | Self::Retention
            | Self::SignIn
            | Self::Unlocked => false,
        }
    }

    /// The name of kind `number` of the contract: `kind-N` for one of a later version.
    pub fn name_of(number: i32) -> Cow<'static, str> {
        match Self::try_from(number) {
            Ok(kind) => Cow::Borrowed(kind.as_str()),
            Err(_) => Cow::Owned(format!("kind-{number}")),
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for EventKind {
    type Err = UnknownEventKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownEventKind(text.to_owned()))
    }
}

// === impl Outcome ===

impl Outcome {
    /// Lower-case name; empty for an event that has none.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Denied => "denied",
        }
    }
}

// === impl UserIdentity ===

impl UserIdentity {
    /// Lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Proven => "proven",
            Self::Asserted => "asserted",
        }
    }
}

// === impl Event ===

impl Event {
    /// The name of its kind, also of one that this version does not know.
    pub fn kind_name(&self) -> Cow<'static, str> {
        EventKind::name_of(self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_the_contract_has_a_name_of_its_own() {
        for kind in EventKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(EventKind::name_of(kind.into()), kind.as_str());
        }
        let known = (1..=99).filter(|number| EventKind::try_from(*number).is_ok());
        assert_eq!(known.count(), EventKind::ALL.len());
    }

    #[test]
    fn a_kind_of_a_later_version_is_named_by_its_number() {
        let mut event = Event::new(EventKind::Drift, 5);
        event.kind = 99;

        assert_eq!(event.kind_name(), "kind-99");
        assert!("unspecified".parse::<EventKind>().is_err());
    }
}
