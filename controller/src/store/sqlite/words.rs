//! The younger indexes of the log: stanza, key, reason, generation, actor, request, digest and grant.
//!
//! They are filled beside the log and not with it, some thousand events at a time in the order of
//! their numbers: a sorted lot costs a fraction of what its events would cost one by one, and what
//! is pushed need not wait for it. A question that needs them has them brought up to date first.

use fleet::EventRecord;

use super::columns::{Columns, Compact, hex_key, searched_key};
use super::expected::Expected;
use super::number::signed;
use super::reasons::Numbers;
use crate::store::error::StoreError;
use crate::store::sql::{Connection, Error, Row, Set, Value, params};

/// Events indexed in one transaction: some tens of milliseconds.
pub(in crate::store) const LOT: u32 = 2_000;
/// Of a digest or a grant, bytes that are indexed.
const ID_BYTES: usize = 8;
/// Bytes of the id of a request: the first half of a digest, where a message is one.
pub(super) const REQUEST_BYTES: usize = 16;

/// What `event_words` knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Word {
    Stanza = 1,
    Key = 2,
    Reason = 3,
    Generation = 4,
    Actor = 5,
    /// What caused it, where that is not the message whose digest it has.
    Request = 6,
    /// It has a word [`Word::Request`], and a digest too; the value is 1.
    OwnRequest = 7,
}

/// What `event_ids` knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Id {
    Digest = 1,
    Grant = 2,
}

/// What of one event is indexed.
struct Event {
    id: i64,
    at_ms: i64,
    words: [(Word, Value); 7],
    ids: [(Id, Value); 2],
}

/// What emptied events are found by here: it is to be removed.
#[derive(Debug, Default)]
pub(super) struct Removed {
    words: Set,
    ids: Set,
    reasons: Numbers,
}

/// What of a row of `events` says what it is found by.
pub(super) const COLUMNS: &str =
    "id, at_ms, stanza, key, replay_digest, grant_id, seq, body, stored_at_ms, generation";

/// The newest event of the log; 0 for none.
pub(in crate::store) fn newest(connection: &Connection) -> Result<i64, StoreError> {
    let newest = connection
        .prepare_cached("SELECT coalesce(max(id), 0) FROM events")?
        .query_row([], |row| row.get(0))?;
    Ok(newest)
}

/// The newest event that is indexed; 0 for none.
pub(in crate::store) fn end(connection: &Connection) -> Result<i64, StoreError> {
    let (rows, end): (u32, Option<i64>) = connection
        .prepare_cached("SELECT count(*), max(event) FROM event_words_end")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    match end {
        Some(end) if rows == 1 => Ok(end),
        Some(_) | None => Err(StoreError::Damaged {
            what: "event_words_end; `postern-controller check --rebuild` makes it anew",
        }),
    }
}

/// The same for who only compares: where it is not known, nothing is said to be indexed.
pub(super) fn known_end(connection: &Connection) -> Result<i64, StoreError> {
    let end = connection
        .prepare_cached("SELECT coalesce(max(event), 0) FROM event_words_end")?
        .query_row([], |row| row.get(0))?;
    Ok(end)
}

/// Indexes the next at most `limit` events, and says up to which all are.
pub(in crate::store) fn index(connection: &Connection, limit: u32) -> Result<i64, StoreError> {
    let begin = end(connection)?;
    let mut statement = connection.prepare_cached(
        "SELECT id, at_ms, stanza, key, replay_digest, grant_id, seq,
                CASE WHEN pruned_by IS NULL THEN body END, stored_at_ms, generation
         FROM events WHERE id > ?1 ORDER BY id LIMIT ?2",
    )?;
    let mut rows = statement.query(params![begin, limit])?;
    let (mut events, mut reasons) = (Vec::new(), Numbers::default());
    while let Some(row) = rows.next()? {
        events.push(Event::read(connection, &row, &mut reasons)?);
    }
    let Some(last) = events.last() else {
        return Ok(begin);
    };
    let end = last.id;
    insert_words(connection, &events)?;
    insert_ids(connection, &events)?;
    connection
        .prepare_cached("UPDATE event_words_end SET event = ?1")?
        .execute([end])?;
    Ok(end)
}

/// Adds the rows by which an event that is indexed should be found; `reason` is the number of its own.
pub(super) fn push_expected(
    (by_word, by_id): (&mut Expected, &mut Expected),
    id: i64,
    event: &fleet::Event,
    reason: Option<i64>,
) {
    let (words, ids) = Event::said(id, event, reason).rows();
    words.for_each(|(what, row)| by_word.add_row((id, what.name()), row));
    ids.for_each(|(what, row)| by_id.add_row((id, what.name()), row));
}

/// What of a digest or a grant's id is indexed.
pub(super) fn beginning(value: Value) -> Value {
    match value {
        Value::Blob(mut bytes) => {
            bytes.truncate(ID_BYTES);
            Value::Blob(bytes)
        }
        other @ (Value::Null | Value::Integer(_) | Value::Real(_) | Value::Text(_)) => other,
    }
}

// === impl Word ===

impl Word {
    /// What an event is not found by without it, as auditors say it.
    fn name(self) -> &'static str {
        match self {
            Self::Stanza => "stanza",
            Self::Key => "key",
            Self::Reason => "reason",
            Self::Generation => "generation",
            Self::Actor => "actor",
            Self::Request | Self::OwnRequest => "request",
        }
    }
}

// === impl Id ===

impl Id {
    /// What an event is not found by without it, as auditors say it.
    fn name(self) -> &'static str {
        match self {
            Self::Digest => "replay digest",
            Self::Grant => "grant",
        }
    }
}

// === impl Removed ===

impl Removed {
    /// Adds what is found of one event, whose row begins with [`COLUMNS`] and has its body still.
    pub(super) fn push(&mut self, connection: &Connection, row: &Row<'_>) -> Result<(), Error> {
        let (words, ids) = Event::read(connection, row, &mut self.reasons)?.rows();
        words.for_each(|(_, row)| self.words.push_values(row));
        ids.for_each(|(_, row)| self.ids.push_values(row));
        Ok(())
    }

    /// Removes it, and is empty.
    pub(super) fn write(&mut self, connection: &Connection) -> Result<(), Error> {
        let Self { words, ids, .. } = std::mem::take(self);
        connection
            .prepare_cached(
                "DELETE FROM event_words WHERE what = ?1 AND value = ?2 AND at_ms = ?3 AND event = ?4",
            )?
            .execute_each(&words)?;
        connection
            .prepare_cached(
                "DELETE FROM event_ids WHERE part = ?1 AND what = ?2 AND value = ?3 AND event = ?4",
            )?
            .execute_each(&ids)
    }
}

// === impl Event ===

impl Event {
    fn read(connection: &Connection, row: &Row<'_>, reasons: &mut Numbers) -> Result<Self, Error> {
        let record = EventRecord {
            seq: row.get::<_, i64>(6)?.cast_unsigned(),
            // Of one that retention has emptied.
            body: row.get::<_, Option<Vec<u8>>>(7)?.unwrap_or_default(),
            ..EventRecord::default()
        };
        let columns = Columns::of(&record, row.get::<_, i64>(8)?.cast_unsigned());
        let event = &columns.event;
        let reason = reasons.of(connection, &event.reason)?;
        let mut read = Self::said(row.get(0)?, event, reason);
        read.at_ms = row.get(1)?;
        // A body that cannot be read says nothing, and the row may.
        for (word, value) in &mut read.words {
            match word {
                Word::Stanza if event.stanza.is_empty() => *value = searched_text(row.get(2)?),
                Word::Key if event.key.is_empty() => *value = searched_text(row.get(3)?),
                Word::Generation => *value = generation(row.get(9)?),
                Word::Stanza | Word::Key | Word::Reason | Word::Actor => {}
                Word::Request | Word::OwnRequest => {}
            }
        }
        read.ids = [
            (Id::Digest, beginning(row.get(4)?)),
            (Id::Grant, beginning(row.get(5)?)),
        ];
        Ok(read)
    }

    /// Its rows in `event_words` and in `event_ids`: their columns as both tables have them.
    fn rows(
        self,
    ) -> (
        impl Iterator<Item = (Word, [Value; 4])>,
        impl Iterator<Item = (Id, [Value; 4])>,
    ) {
        let Self {
            id,
            at_ms,
            words,
            ids,
        } = self;
        let is_there = |value: &Value| *value != Value::Null;
        let words = words.into_iter().filter(move |(_, value)| is_there(value));
        let ids = ids.into_iter().filter(move |(_, value)| is_there(value));
        (
            words.map(move |(what, value)| {
                (what, [(what as i64).into(), value, at_ms.into(), id.into()])
            }),
            ids.map(move |(what, value)| {
                let part = id >> 16;
                (what, [part.into(), (what as i64).into(), value, id.into()])
            }),
        )
    }

    /// What is indexed of one as its body says it; `reason` is the number of its own.
    fn said(id: i64, event: &fleet::Event, reason: Option<i64>) -> Self {
        let request = own_request(event);
        let marks = request.is_some() && !event.replay_digest.is_empty();
        let text = |text: &str| searched_text(Some(text.to_owned()));
        Self {
            id,
            at_ms: signed(event.at_ms),
            words: [
                (Word::Stanza, text(&event.stanza)),
                (Word::Key, text(&event.key)),
                (Word::Reason, Value::from(reason)),
                (Word::Generation, generation(signed(event.generation))),
                (Word::Actor, text(&event.actor)),
                (Word::Request, Value::from(request)),
                (Word::OwnRequest, Value::from(marks.then_some(1_i64))),
            ],
            ids: [
                (Id::Digest, beginning(hex_key(&event.replay_digest).into())),
                (Id::Grant, beginning(hex_key(&event.grant_id).into())),
            ],
        }
    }
}

/// What of a text is indexed.
fn searched_text(text: Option<String>) -> Value {
    let text = text.as_deref().and_then(searched_key);
    Value::from(text.map(str::to_owned))
}

/// Nothing of the generation before the first.
fn generation(number: i64) -> Value {
    Value::from((number != 0).then_some(number))
}

/// The request that caused it; `None` where that is the message whose digest it has, or nothing.
fn own_request(event: &fleet::Event) -> Option<Value> {
    match (hex_key(&event.request_id), hex_key(&event.replay_digest)) {
        (Compact::Empty, _) => None,
        (Compact::Bytes(request), Compact::Bytes(digest))
            if request.len() == REQUEST_BYTES && digest.starts_with(&request) =>
        {
            None
        }
        (request, _) => Some(request.into()),
    }
}

fn insert_words(connection: &Connection, events: &[Event]) -> Result<(), Error> {
    let words = events.iter().flat_map(|event| {
        let words = event.words.iter();
        words.map(move |(what, value)| (*what as i64, value, event.at_ms, event.id))
    });
    let mut words: Vec<_> = words
        .filter(|(_, value, ..)| **value != Value::Null)
        .collect();
    words.sort_by(|one, other| {
        (one.0, order(one.1), one.2, one.3).cmp(&(other.0, order(other.1), other.2, other.3))
    });
    let mut set = Set::default();
    for (what, value, at_ms, event) in words {
        set.push(params![what, value, at_ms, event])?;
    }
    connection
        .prepare_cached(
            "INSERT INTO event_words (what, value, at_ms, event) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO NOTHING",
        )?
        .execute_each(&set)
}

fn insert_ids(connection: &Connection, events: &[Event]) -> Result<(), Error> {
    let ids = events.iter().flat_map(|event| {
        let ids = event.ids.iter();
        ids.map(move |(what, value)| (event.id >> 16, *what as i64, value, event.id))
    });
    let mut ids: Vec<_> = ids
        .filter(|(_, _, value, _)| **value != Value::Null)
        .collect();
    ids.sort_by(|one, other| {
        (one.0, one.1, order(one.2), one.3).cmp(&(other.0, other.1, order(other.2), other.3))
    });
    let mut set = Set::default();
    for (part, what, value, event) in ids {
        set.push(params![part, what, value, event])?;
    }
    connection
        .prepare_cached(
            "INSERT INTO event_ids (part, what, value, event) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO NOTHING",
        )?
        .execute_each(&set)
}

/// Some order that is the engine's for values of one type.
fn order(value: &Value) -> (i64, &[u8]) {
    match value {
        Value::Null | Value::Real(_) => (0, &[]),
        Value::Integer(number) => (*number, &[]),
        Value::Text(text) => (0, text.as_bytes()),
        Value::Blob(bytes) => (1, bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_indexed_by_its_beginning_and_a_text_whole() {
        let blob = |bytes: &[u8]| Value::Blob(bytes.to_vec());
        let text = Value::Text("not hexadecimal".to_owned());

        assert_eq!(beginning(blob(&[7; 32])), blob(&[7; 8]));
        assert_eq!(beginning(blob(&[7; 3])), blob(&[7; 3]));
        assert_eq!(beginning(text.clone()), text);
    }
}
