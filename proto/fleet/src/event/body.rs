//! An event and its bytes.

use prost::Message as _;

use crate::wire::{Event, EventKind, EventRecord};

/// Why the body of a record is no event.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unreadable {
    #[error("the body is not a serialized event")]
    Body(#[source] prost::DecodeError),
    /// The body was made for another place in the journal.
    #[error("the body is of event {body}, the record of event {record}")]
    Seq { record: u64, body: u64 },
}

// === impl Event ===

impl Event {
    /// An event of `kind` at `at_ms` (milliseconds since the Unix epoch) with nothing else filled
    /// in; its `seq` is given by [`EventRecord::after`].
    pub fn new(kind: EventKind, at_ms: u64) -> Self {
        Self {
            at_ms,
            kind: kind.into(),
            count: 1,
            ..Self::default()
        }
    }

    /// Reads the body of a record whose place is not asked.
    ///
    /// # Errors
    ///
    /// [`Unreadable::Body`]
    pub fn from_body(body: &[u8]) -> Result<Self, Unreadable> {
        Self::decode(body).map_err(Unreadable::Body)
    }

    /// Sets the kind.
    pub fn with_kind(mut self, kind: EventKind) -> Self {
        self.set_kind(kind);
        self
    }
}

// === impl EventRecord ===

impl EventRecord {
    /// The event in the body. Fields that this version does not know stay behind in the bytes.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] when the body is none, or belongs to another record. The chain value is not
    /// checked here; see [`Self::follows`].
    pub fn event(&self) -> Result<Event, Unreadable> {
        let event = Event::from_body(&self.body)?;
        if event.seq == self.seq {
            Ok(event)
        } else {
            Err(Unreadable::Seq {
                record: self.seq,
                body: event.seq,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_comes_out_of_its_record_as_it_went_in() {
        let mut event = Event::new(EventKind::GrantOpened, 5);
        event.ports = vec!["tcp/22".to_owned()];
        event.clock_offset_ms = Some(-3);

        let record = EventRecord::after(8, &[0; 32], event.clone());

        event.seq = 9;
        assert_eq!((record.seq, record.event()), (9, Ok(event)));
    }

    #[test]
    fn fields_and_kinds_that_nobody_here_knows_survive_in_the_bytes() {
        let mut record = EventRecord::after(0, &[0; 32], Event::new(EventKind::Drift, 5));
        // Field 3 (kind) again with 77, and field 1000 with the number 1.
        record.body.extend([3 << 3, 77, 0xc0, 0x3e, 1]);

        let event = record.event().unwrap();

        assert_eq!(event.kind, 77);
        assert!(record.body.ends_with(&[0xc0, 0x3e, 1]));
    }

    #[test]
    fn a_body_of_another_record_or_of_no_event_is_told() {
        let mut record = EventRecord::after(0, &[0; 32], Event::new(EventKind::Drift, 5));
        record.seq = 2;
        assert_eq!(record.event(), Err(Unreadable::Seq { record: 2, body: 1 }));

        record.body = vec![0xff; 9];
        assert!(matches!(record.event(), Err(Unreadable::Body(_))));
    }
}
