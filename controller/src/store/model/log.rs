//! The fleet's log: what is pushed into it, and how it is searched.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use fleet::{Event, EventKind, EventRecord};

use super::Origin;

/// Where a journal ends.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct JournalEnd {
    pub(crate) epoch: String,
    /// 0 before the first event.
    pub(crate) seq: u64,
    /// The chain value there; empty before the first event.
    pub(crate) chain: Vec<u8>,
    /// The oldest event that the host still has; 0 for none.
    pub(crate) oldest_seq: u64,
}

/// What goes into the fleet's log.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// What a host has in its journal.
    Push(Push),
    /// An event of the controller's own.
    Own(Box<Event>),
}

/// Records of one host's journal, in rising order of `seq`.
#[derive(Clone, Debug)]
pub(crate) struct Push {
    /// Of the member.
    pub(crate) host: u64,
    /// As the host was called when it called.
    pub(crate) name: String,
    pub(crate) epoch: String,
    pub(crate) records: Vec<EventRecord>,
    /// What is wrong with it was found by whom.
    pub(crate) found: Origin,
    pub(crate) now_ms: u64,
}

/// What became of a push of events.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Pushed {
    /// All events up to this one are stored.
    pub(crate) acknowledged_seq: u64,
    /// The chain value there.
    pub(crate) acknowledged_chain: Vec<u8>,
    /// The first event before which some are missing.
    pub(crate) gap_before: Option<u64>,
    /// The first event whose chain value does not follow from the one before it.
    pub(crate) broken_at: Option<u64>,
    /// The journal is not the continuation of what was stored: found now for the first time.
    pub(crate) fork: Option<Fork>,
    /// Why the host is to begin a new journal.
    pub(crate) new_journal: Option<String>,
}

/// Where a journal parts from what was stored of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Fork {
    /// The first event that is another than the stored one.
    pub(crate) seq: u64,
    /// The journal in which the others are kept.
    pub(crate) epoch: String,
}

/// A port as events name it, `tcp/22`; or `icmp/echo`, which has the number 0.
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
    Icmp,
}

/// A text that names no port.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{}` is not a port such as tcp/22{}", .0, policy::port_meant(.0))]
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
    /// What the host was called when this was stored.
    pub(crate) host: String,
    /// What it is called now.
    pub(crate) called_now: String,
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
    /// Where to go on when there may be more rows; `None` when these are the last. There may be fewer
    /// rows than were asked for, or none, and more further on: a page looks at so many events only.
    pub(crate) next: Option<Cursor>,
    /// The search cost more than one may and was given up there.
    pub(crate) cut: bool,
    /// How it goes on there.
    pub(crate) course: Course,
}

/// What is asked for is of many events where it is found in one of so many.
const OF_MANY: usize = 64;

/// How a search goes on where it stopped, so that nothing of that is found out again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Course {
    /// What drives it; `None` at the beginning.
    pub(crate) chosen: Option<Chosen>,
    /// Rows of that which are looked at next; `None` at the beginning.
    pub(crate) rows: Option<usize>,
    /// Events that were found so far, and rows in the order of time that were looked at for them.
    pub(crate) found: usize,
    pub(crate) looked_at: usize,
    /// How long it had a place so far.
    pub(crate) served: Duration,
}

/// Which index drives the search for an answer, and how far back it is known to be the best.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Chosen {
    /// Among those that may, from 0.
    pub(crate) driver: usize,
    /// Milliseconds since the Unix epoch; `None` for as far back as the log goes.
    pub(crate) until_ms: Option<u64>,
}

/// Where an answer goes on, and how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Onward {
    pub(crate) after: Cursor,
    pub(crate) course: Course,
}

// === impl Entry ===

impl Entry {
    /// The push that it is.
    pub(crate) const fn as_push(&self) -> Option<&Push> {
        match self {
            Self::Push(push) => Some(push),
            Self::Own(_) => None,
        }
    }
}

// === impl LogRow ===

impl LogRow {
    /// What the host is called now, where that is another name than the one of then; else empty.
    pub(crate) fn other_name_now(&self) -> String {
        if self.called_now == self.host {
            return String::new();
        }
        self.called_now.clone()
    }

    /// What the body says; of one that cannot be read, when it came.
    pub(crate) fn event(&self) -> Event {
        self.event.event().unwrap_or_else(|_| Event {
            seq: self.event.seq,
            at_ms: self.at_ms,
            ..Event::default()
        })
    }
}

// === impl Pushed ===

impl Pushed {
    /// What is wrong with the journal that was pushed, oldest first, each in words.
    pub(crate) fn faults(&self, (host, epoch): (&str, &str)) -> Vec<(EventKind, String)> {
        let of = format!("journal {epoch} of host {host}");
        let mut faults = Vec::new();
        if let Some(Fork { seq, epoch }) = &self.fork {
            let words = format!(
                "{of}: event {seq} is another than the one that is stored: the host was set back, \
                 and what it granted before may be missing; what it sends now is kept as {epoch}"
            );
            faults.push((EventKind::HostSetBack, words));
        }
        if let Some(seq) = self.gap_before {
            let words = format!("{of}: events are missing before event {seq}");
            faults.push((EventKind::AuditGap, words));
        }
        if let Some(seq) = self.broken_at {
            let words = format!("{of}: the chain is broken at event {seq}");
            faults.push((EventKind::AuditGap, words));
        }
        faults
    }
}

// === impl Port ===

impl FromStr for Port {
    type Err = InvalidPort;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidPort(text.to_owned());
        let (protocol, number) = text.split_once('/').ok_or_else(invalid)?;
        if text == "icmp/echo" {
            return Ok(Self {
                protocol: PortProtocol::Icmp,
                number: 0,
            });
        }
        let protocol = match protocol {
            "tcp" => PortProtocol::Tcp,
            "udp" => PortProtocol::Udp,
            _ => return Err(invalid()),
        };
        let number = number.parse().map_err(|_| invalid())?;
        Ok(Self { protocol, number })
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, number } = self;
        match protocol {
            PortProtocol::Tcp => write!(f, "tcp/{number}"),
            PortProtocol::Udp => write!(f, "udp/{number}"),
            PortProtocol::Icmp => f.write_str("icmp/echo"),
        }
    }
}

// === impl Page ===

impl Page {
    /// Where the next page of the answer begins; `None` when this is the last.
    pub(crate) fn onward(&self) -> Option<Onward> {
        let course = self.course;
        self.next.map(|after| Onward { after, course })
    }
}

// === impl Chosen ===

impl Chosen {
    /// Whether it was counted for what follows this place, too.
    pub(crate) fn holds_after(self, after: Cursor) -> bool {
        self.until_ms.is_none_or(|until_ms| after.at_ms > until_ms)
    }
}

// === impl Course ===

impl Course {
    /// Whether a page of what is asked for is found among the next some thousand events; at the beginning it may be.
    pub(crate) const fn is_of_many(self) -> bool {
        self.looked_at <= self.found.saturating_mul(OF_MANY)
    }
}

// === impl Onward ===

impl From<Cursor> for Onward {
    fn from(after: Cursor) -> Self {
        let course = Course::default();
        Self { after, course }
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

    /// Before everything that happened then or later.
    pub(crate) const fn before(at_ms: u64) -> Self {
        Self { at_ms, id: 0 }
    }
}
