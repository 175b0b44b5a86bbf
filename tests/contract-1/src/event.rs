//! What happened on a host, as the journal, the wire and the fleet's log all know it.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::wire;

/// One thing that happened, as an auditor asks about it.
///
/// Text fields are empty where they do not apply.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// Position in the host's journal, from 1, without gaps within one epoch.
    pub seq: u64,
    /// Milliseconds since the Unix epoch, by the host's clock.
    pub at_ms: u64,
    pub kind: EventKind,
    pub user: String,
    /// Fingerprint of the key that verified.
    pub key: String,
    pub stanza: String,
    /// Policy generation in force.
    pub generation: u64,
    /// Address the packet came from.
    pub source: String,
    /// Address that was opened.
    pub opened: String,
    /// What was opened, each as `tcp/22`.
    pub ports: Vec<String>,
    /// When the grant closes, milliseconds since the Unix epoch; 0 where it does not apply.
    pub until_ms: u64,
    /// Lower-case hexadecimal; empty where it does not apply.
    pub replay_digest: String,
    pub reason: String,
    /// How many times; more than 1 only for folded noise.
    pub count: u64,
}

/// What kind of thing happened. `Display` and `FromStr` use kebab case, as `postern audit list --kind`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum EventKind {
    AgentStarted,
    AgentStopped,
    Banned,
    CommandRun,
    Drift,
    Enrolled,
    GrantClosed,
    GrantOpened,
    GrantRevoked,
    /// Strangers' packets, folded into counts per source and minute.
    Noise,
    /// An operator's action.
    Operator,
    PolicyApplied,
    PolicyRejected,
    /// An authentic packet that was turned away.
    Refused,
    /// An authentic packet seen before on this host.
    Replay,
    /// An authentic packet that another host of its replay domain had claimed.
    ReplayElsewhere,
}

/// A kind that is none of ours.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is not a kind of event")]
pub struct UnknownEventKind(pub String);

/// Why a wire event is not an event.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidEvent {
    #[error("kind {0}")]
    Kind(i32),
    #[error("chain value of {0} bytes instead of 32")]
    Chain(usize),
}

// === impl Event ===

impl Event {
    /// An event of `kind` at `at_ms` with nothing else filled in; `seq` is given by the journal.
    pub fn new(kind: EventKind, at_ms: u64) -> Self {
        Self {
            seq: 0,
            at_ms,
            kind,
            user: String::new(),
            key: String::new(),
            stanza: String::new(),
            generation: 0,
            source: String::new(),
            opened: String::new(),
            ports: Vec::new(),
            until_ms: 0,
            replay_digest: String::new(),
            reason: String::new(),
            count: 1,
        }
    }

    /// The chain value of this event after one whose chain value is `previous`.
    ///
    /// SHA-256 over `previous` and every field, each preceded by its length, so that changing,
    /// removing or inserting an event changes all chain values after it. The first event of an
    /// epoch follows 32 zero bytes.
    pub fn chain(&self, previous: &[u8; 32]) -> [u8; 32] {
        // Named in full, so that a new field cannot be left out of the chain.
        let Self {
            seq,
            at_ms,
            kind,
            user,
            key,
            stanza,
            generation,
            source,
            opened,
            ports,
            until_ms,
            replay_digest,
            reason,
            count,
        } = self;
        let mut hash = Sha256::new();
        hash.update(b"postern event v1\0");
        hash.update(previous);
        for number in [seq, at_ms, generation, until_ms, count] {
            hash.update(number.to_be_bytes());
        }
        let texts = [
            kind.as_str(),
            user,
            key,
            stanza,
            source,
            opened,
            replay_digest,
            reason,
        ];
        for text in texts.into_iter().chain(ports.iter().map(String::as_str)) {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        hash.finalize().into()
    }

    /// The wire form, with its chain value.
    pub fn into_wire(self, chain: [u8; 32]) -> wire::Event {
        let Self {
            seq,
            at_ms,
            kind,
            user,
            key,
            stanza,
            generation,
            source,
            opened,
            ports,
            until_ms,
            replay_digest,
            reason,
            count,
        } = self;
        wire::Event {
            seq,
            at_ms,
            kind: wire::EventKind::from(kind).into(),
            user,
            key,
            stanza,
            generation,
            source,
            opened,
            ports,
            until_ms,
            replay_digest,
            reason,
            count,
            chain: chain.to_vec(),
        }
    }

    /// Reads the wire form back: the event and its chain value.
    ///
    /// # Errors
    ///
    /// [`InvalidEvent`] names the field that cannot be read. The chain value is not checked here.
    pub fn from_wire(event: wire::Event) -> Result<(Self, [u8; 32]), InvalidEvent> {
        let wire::Event {
            seq,
            at_ms,
            kind,
            user,
            key,
            stanza,
            generation,
            source,
            opened,
            ports,
            until_ms,
            replay_digest,
            reason,
            count,
            chain,
        } = event;
        let chain = chain
            .try_into()
            .map_err(|chain: Vec<u8>| InvalidEvent::Chain(chain.len()))?;
        let kind = EventKind::try_from(kind)?;
        let event = Self {
            seq,
            at_ms,
            kind,
            user,
            key,
            stanza,
            generation,
            source,
            opened,
            ports,
            until_ms,
            replay_digest,
            reason,
            count,
        };
        Ok((event, chain))
    }
}

// === impl EventKind ===

impl EventKind {
    /// Every kind, in alphabetical order.
    pub const ALL: [Self; 16] = [
        Self::AgentStarted,
        Self::AgentStopped,
        Self::Banned,
        Self::CommandRun,
        Self::Drift,
        Self::Enrolled,
        Self::GrantClosed,
        Self::GrantOpened,
        Self::GrantRevoked,
        Self::Noise,
        Self::Operator,
        Self::PolicyApplied,
        Self::PolicyRejected,
        Self::Refused,
        Self::Replay,
        Self::ReplayElsewhere,
    ];

    /// Kebab-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AgentStarted => "agent-started",
            Self::AgentStopped => "agent-stopped",
            Self::Banned => "banned",
            Self::CommandRun => "command-run",
            Self::Drift => "drift",
            Self::Enrolled => "enrolled",
            Self::GrantClosed => "grant-closed",
            Self::GrantOpened => "grant-opened",
            Self::GrantRevoked => "grant-revoked",
            Self::Noise => "noise",
            Self::Operator => "operator",
            Self::PolicyApplied => "policy-applied",
            Self::PolicyRejected => "policy-rejected",
            Self::Refused => "refused",
            Self::Replay => "replay",
            Self::ReplayElsewhere => "replay-elsewhere",
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

impl From<EventKind> for wire::EventKind {
    fn from(kind: EventKind) -> Self {
        match kind {
            EventKind::AgentStarted => Self::AgentStarted,
            EventKind::AgentStopped => Self::AgentStopped,
            EventKind::Banned => Self::Banned,
            EventKind::CommandRun => Self::CommandRun,
            EventKind::Drift => Self::Drift,
            EventKind::Enrolled => Self::Enrolled,
            EventKind::GrantClosed => Self::GrantClosed,
            EventKind::GrantOpened => Self::GrantOpened,
            EventKind::GrantRevoked => Self::GrantRevoked,
            EventKind::Noise => Self::Noise,
            EventKind::Operator => Self::Operator,
            EventKind::PolicyApplied => Self::PolicyApplied,
            EventKind::PolicyRejected => Self::PolicyRejected,
            EventKind::Refused => Self::Refused,
            EventKind::Replay => Self::Replay,
            EventKind::ReplayElsewhere => Self::ReplayElsewhere,
        }
    }
}

impl TryFrom<i32> for EventKind {
    type Error = InvalidEvent;

    /// From the number in a protobuf field.
    fn try_from(number: i32) -> Result<Self, Self::Error> {
        Self::ALL
            .into_iter()
            .find(|kind| i32::from(wire::EventKind::from(*kind)) == number)
            .ok_or(InvalidEvent::Kind(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_text_and_wire() {
        for kind in EventKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            let number: i32 = wire::EventKind::from(kind).into();
            assert_eq!(EventKind::try_from(number), Ok(kind));
        }
        assert_eq!(EventKind::try_from(0), Err(InvalidEvent::Kind(0)));
    }

    #[test]
    fn moving_a_byte_between_fields_changes_the_chain() {
        let mut one = Event::new(EventKind::Refused, 5);
        one.user = "ab".to_owned();
        let mut other = one.clone();
        other.user = "a".to_owned();
        other.key = "b".to_owned();

        assert_ne!(one.chain(&[0; 32]), other.chain(&[0; 32]));
        assert_ne!(one.chain(&[0; 32]), one.chain(&[1; 32]));
    }

    #[test]
    fn an_event_survives_the_wire() {
        let mut event = Event::new(EventKind::GrantOpened, 5);
        event.seq = 9;
        event.ports = vec!["tcp/22".to_owned()];
        let chain = event.chain(&[0; 32]);

        let back = Event::from_wire(event.clone().into_wire(chain));

        assert_eq!(back, Ok((event, chain)));
    }
}
