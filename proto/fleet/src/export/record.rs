//! A record, and what it is called.

use std::borrow::Cow;

use crate::event::{Event, EventKind, EventRecord, UserIdentity};
use crate::wire::AuditRecord;

/// One record of the fleet's log, read as far as it can be.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Position in the fleet's log; 0 where there is none.
    pub id: u64,
    /// The host, or `controller`: what it was called when this was stored.
    pub host: String,
    /// What the host is called now, where that is another name; else empty.
    pub called_now: String,
    /// Which of the host's journals.
    pub epoch: String,
    /// What the body says. Of a body that cannot be read only `seq` and `at_ms`, which is then that
    /// of its arrival.
    pub event: Event,
    /// Whether the body could be read.
    pub is_readable: bool,
    /// When the controller stored it, milliseconds since the Unix epoch.
    pub stored_at_ms: u64,
    /// What is wrong with it; empty for nothing.
    pub flaw: String,
    /// As it was chained: with these and the record before, the chain can be checked anywhere.
    pub chained: EventRecord,
}

// === impl Record ===

impl Record {
    /// The record of a controller that sends what was chained, or, before version 2 of the contract,
    /// only the event.
    pub fn new(record: AuditRecord) -> Self {
        let AuditRecord {
            id,
            host,
            epoch,
            event: of_version_1,
            stored_at_ms,
            record,
            flaw,
            is_position: _,
            called_now,
        } = record;
        let chained = record.unwrap_or_default();
        let event = chained.event().ok().filter(|_| !chained.body.is_empty());
        let event = event.or(of_version_1);
        Self {
            id,
            host,
            called_now,
            epoch,
            is_readable: event.is_some(),
            event: event.unwrap_or_else(|| Event {
                seq: chained.seq,
                at_ms: stored_at_ms,
                ..Event::default()
            }),
            stored_at_ms,
            flaw,
            chained,
        }
    }

    /// What no other record is called: host, journal and place in it.
    pub fn uid(&self) -> String {
        format!("{}/{}/{}", self.host, self.epoch, self.event.seq)
    }

    /// Where it happened, for people: a name that has become another machine's must not be taken for
    /// that one.
    pub fn place(&self) -> Cow<'_, str> {
        if self.called_now.is_empty() {
            Cow::Borrowed(&self.host)
        } else {
            Cow::Owned(format!("{} (now {})", self.host, self.called_now))
        }
    }

    /// What kind of event it is: `unreadable` where nobody knows.
    pub fn kind_name(&self) -> Cow<'static, str> {
        if self.is_readable {
            self.event.kind_name()
        } else {
            Cow::Borrowed("unreadable")
        }
    }

    /// The kind, where this version knows it.
    pub fn kind(&self) -> Option<EventKind> {
        let kind = EventKind::try_from(self.event.kind).ok();
        kind.filter(|kind| self.is_readable && *kind != EventKind::Unspecified)
    }

    /// Who did it: the user, or who acted where that was not the user; empty where nobody did.
    pub fn who(&self) -> &str {
        if self.event.user.is_empty() {
            &self.event.actor
        } else {
            &self.event.user
        }
    }

    /// The record in one sentence. Nothing in it is escaped.
    pub fn summary(&self) -> String {
        let event = &self.event;
        let mut words = vec![format!("{} on {}", self.kind_name(), self.place())];
        if !self.who().is_empty() {
            words.push(format!("by {}", self.who()));
        }
        if event.user_identity() == UserIdentity::Asserted {
            words.push("(asserted)".to_owned());
        }
        if !event.source.is_empty() {
            words.push(format!("from {}", event.source));
        }
        if !event.ports.is_empty() {
            words.push(format!("to {}", event.ports.join(",")));
        }
        if event.count > 1 {
            words.push(format!("({} times)", event.count));
        }
        let mut sentence = words.join(" ");
        for more in [&event.reason, &self.flaw] {
            if !more.is_empty() {
                sentence.push_str(": ");
                sentence.push_str(more);
            }
        }
        sentence
    }
}
