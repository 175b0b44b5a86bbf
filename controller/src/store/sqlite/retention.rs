//! Retention: bodies of records that are old enough go, and all that is searched of them; their chain
//! values stay, so that the rest can be proven, and the log says which bodies are gone.
//!
//! In small steps, each an event of its own, so that nobody who writes waits long.

use fleet::audit::{StepDigest, body_digest};
use fleet::{EventKind, EventRecord};

use super::columns::Columns;
use super::number::signed;
use super::{event_rows, events, meta, words};
use crate::store::error::StoreError;
use crate::store::model::{Expired, Origin};
use crate::store::sql::{Connection, Error, Row, Set, params};

/// Records that one step looks at, and those that it empties at most.
const LOOKED_MAX: u32 = 2_000;
const EMPTIED_MAX: u64 = 200;

/// A record that may be old enough.
struct Old {
    id: i64,
    host: i64,
    record: EventRecord,
    stored_at_ms: u64,
    is_emptied: bool,
}

/// Records that one step empties: in a few statements for all of them.
#[derive(Debug, Default)]
struct Emptied {
    found: event_rows::Removed,
    words: words::Removed,
    rows: Set,
}

/// One step: how many records were looked at, 0 when none is left that is old enough. Records after
/// `to` are left alone: somebody has not taken them yet.
pub(in crate::store) fn step(
    connection: &Connection,
    expired: Expired,
    to: u64,
    found: &Origin,
    now_ms: u64,
) -> Result<u64, StoreError> {
    let Expired {
        before_ms,
        is_noise,
    } = expired;
    let begin = meta::retained_after(connection, is_noise)?;
    let number = meta::next_retention_step(connection)?;
    let (mut digest, mut emptied) = (StepDigest::default(), Emptied::default());
    let (mut looked, mut last) = (0, begin);
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {}, host, pruned_by IS NOT NULL FROM events
         WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3",
        words::COLUMNS
    ))?;
    let mut rows = statement.query(params![signed(begin), signed(to), LOOKED_MAX])?;
    while let Some(row) = rows.next()? {
        let old = Old::read(&row)?;
        if old.stored_at_ms >= before_ms || digest.records() == EMPTIED_MAX {
            break;
        }
        looked += 1;
        last = old.id.cast_unsigned();
        if old.is_due(is_noise) {
            digest.add(last, &body_digest(&old.record.body));
            emptied.push(connection, (&old, &row), number)?;
        }
    }
    drop(rows);
    emptied.write(connection)?;
    meta::set_retained_after(connection, is_noise, last)?;
    if digest.records() > 0 {
        meta::set_retention_step(connection, number)?;
        let pruned = digest.pruned(number, before_ms);
        let mut event = found.clone().done(EventKind::Retention, now_ms);
        event.count = pruned.records;
        event.reason = format!(
            "the bodies of {} records between {} and {} are removed: {}",
            pruned.records,
            pruned.first_id,
            pruned.last_id,
            if is_noise {
                "noise that is kept no longer"
            } else {
                "nothing is kept so long"
            }
        );
        event.pruned = Some(pruned);
        events::append_own(connection, event)?;
    }
    Ok(looked)
}

/// See `Store::emptied_until`.
pub(in crate::store) fn emptied_until(
    connection: &Connection,
    is_noise: bool,
) -> Result<Option<u64>, StoreError> {
    let last = meta::retained_after(connection, is_noise)?;
    let mut statement =
        connection.prepare_cached("SELECT max(stored_at_ms) FROM events WHERE id = ?1")?;
    let stored: Option<i64> = statement.query_row([signed(last)], |row| row.get(0))?;
    Ok(stored.map(i64::cast_unsigned))
}

// === impl Old ===

impl Old {
    fn read(row: &Row<'_>) -> Result<Self, Error> {
        Ok(Self {
            id: row.get(0)?,
            host: row.get(10)?,
            record: EventRecord {
                seq: row.get::<_, i64>(6)?.cast_unsigned(),
                body: row.get(7)?,
                ..EventRecord::default()
            },
            stored_at_ms: row.get::<_, i64>(8)?.cast_unsigned(),
            is_emptied: row.get(11)?,
        })
    }

    /// What a record is stands in its body, and not beside it. What the log says of retention proves
    /// the rest, and stays.
    fn is_due(&self, is_noise: bool) -> bool {
        if self.is_emptied {
            return false;
        }
        let kind = self.record.event().ok().and_then(|event| {
            let kind = EventKind::try_from(event.kind);
            kind.ok()
        });
        match kind {
            Some(EventKind::Retention) => false,
            Some(kind) => !is_noise || kind.is_noise(),
            None => !is_noise,
        }
    }
}

// === impl Emptied ===

impl Emptied {
    /// Adds one, which this step empties.
    fn push(
        &mut self,
        connection: &Connection,
        (old, row): (&Old, &Row<'_>),
        step: u64,
    ) -> Result<(), StoreError> {
        let event = Columns::of(&old.record, old.stored_at_ms).event;
        self.found.push(old.host, &event, old.id)?;
        self.words.push(connection, row)?;
        self.rows
            .push(params![old.id, body_digest(&old.record.body), signed(step)])?;
        Ok(())
    }

    /// Empties them, and removes all that they are found by.
    fn write(&mut self, connection: &Connection) -> Result<(), StoreError> {
        self.found.write(connection)?;
        self.words.write(connection)?;
        connection
            .prepare_cached(
                "UPDATE events SET body = ?2, pruned_by = ?3, kind = 0, user = NULL, key = NULL,
                        stanza = NULL, generation = 0, source = NULL, opened = NULL,
                        replay_digest = NULL, grant_id = NULL WHERE id = ?1",
            )?
            .execute_each(&self.rows)?;
        Ok(())
    }
}
