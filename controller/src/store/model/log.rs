//! The fleet's log: what is pushed into it, and how it is searched.

use std::str::FromStr;

use fleet::{Event, EventKind, EventRecord};
use ipnet::IpNet;

use super::Origin;

/// What became of a push of events.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Pushed {
    /// All events up to this one are stored.
    pub(crate) acknowledged_seq: u64,
    /// The first event before which some are missing.
    pub(crate) gap_before: Option<u64>,
    /// The first event whose chain value does not follow from the one before it.
    pub(crate) broken_at: Option<u64>,
}

/// What an auditor asks. Everything that is `Some` must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventFilter {
    pub(crate) user: Option<String>,
    pub(crate) host: Option<String>,
    /// The number in the contract, which may be of a later version.
    pub(crate) kind: Option<i32>,
    /// Source of the packet or address opened.
    pub(crate) address: Option<IpNet>,
    /// Inclusive.
    pub(crate) since_ms: Option<u64>,
    /// Exclusive.
    pub(crate) until_ms: Option<u64>,
    pub(crate) port: Option<Port>,
    pub(crate) stanza: Option<String>,
    /// Fingerprint.
    pub(crate) key: Option<String>,
    /// Lower-case hexadecimal.
    pub(crate) replay_digest: Option<String>,
    /// Lower-case hexadecimal.
    pub(crate) grant_id: Option<String>,
    /// How the reason begins.
    pub(crate) reason: Option<String>,
}

/// A port as events name it, `tcp/22`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Port {
    pub(crate) protocol: PortProtocol,
    pub(crate) number: u16,
}

/// What has ports.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PortProtocol {
    Tcp,
    Udp,
}

/// A text that names no port.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is not a port such as tcp/22")]
pub(crate) struct InvalidPort(String);

/// A place between two rows of an answer, in the order of the hosts' own time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Cursor {
    pub(crate) at_ms: u64,
    /// [`LogRow::id`].
    pub(crate) id: u64,
}

/// One row of the fleet's log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct LogRow {
    /// In the order of arrival.
    pub(crate) id: u64,
    pub(crate) host: String,
    pub(crate) epoch: String,
    /// Milliseconds since the Unix epoch, by the host's clock.
    pub(crate) at_ms: u64,
    pub(crate) event: EventRecord,
    pub(crate) stored_at_ms: u64,
    /// What is wrong with it; empty for nothing.
    pub(crate) flaw: String,
}

/// The next rows of an answer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Page {
    pub(crate) rows: Vec<LogRow>,
    /// The search cost more than one may and was given up: there may be more rows.
    pub(crate) cut: bool,
}

// === impl EventFilter ===

impl EventFilter {
    /// Whether it asks for something that is indexed beside the log and not with it.
    pub(crate) fn asks_for_words(&self) -> bool {
        let Self {
            stanza,
            key,
            replay_digest,
            grant_id,
            reason,
            user: _,
            host: _,
            kind: _,
            address: _,
            since_ms: _,
            until_ms: _,
            port: _,
        } = self;
        [stanza, key, replay_digest, grant_id, reason]
            .iter()
            .any(|asked| asked.is_some())
    }
}

// === impl Pushed ===

impl Pushed {
    /// What is to be recorded of a journal that does not hold together, oldest first: what the
    /// controller found in the push that `found` names.
    pub(crate) fn faults(
        self,
        (host, epoch): (&str, &str),
        found: &Origin,
        now_ms: u64,
    ) -> Vec<Event> {
        let faults = [
            (self.gap_before, "events are missing before"),
            (self.broken_at, "the chain is broken at"),
        ];
        let event = |(seq, fault): (Option<u64>, &str)| {
            let seq = seq?;
            let mut event = found.clone().done(EventKind::Drift, now_ms);
            event.reason = format!("journal {epoch} of host {host}: {fault} event {seq}");
            Some(event)
        };
        faults.into_iter().filter_map(event).collect()
    }
}

// === impl Port ===

impl FromStr for Port {
    type Err = InvalidPort;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidPort(text.to_owned());
        let (protocol, number) = text.split_once('/').ok_or_else(invalid)?;
        let protocol = match protocol {
            "tcp" => PortProtocol::Tcp,
            "udp" => PortProtocol::Udp,
            _ => return Err(invalid()),
        };
        let number = number.parse().map_err(|_| invalid())?;
        Ok(Self { protocol, number })
    }
}

// === impl Cursor ===

impl Cursor {
    /// Before the newest row.
    pub(crate) const NEWEST: Self = Self {
        at_ms: u64::MAX,
        id: u64::MAX,
    };

    /// After `record`.
    pub(crate) fn after(record: &LogRow) -> Self {
        Self {
            at_ms: record.at_ms,
            id: record.id,
        }
    }
}
