//! Rows of the log with all that proves them.

use fleet::audit::LogRow;
use fleet::{Event, EventRecord};

use super::columns::{Columns, address_key, hex_key, is_searched, searched_key};
use super::found_by::{self, Named};
use super::number::signed;
use super::words;
use crate::store::error::StoreError;
use crate::store::sql::{Connection, Row, Value, params};

/// The columns that searches use, in the order in which they are written.
const SEARCHED: [&str; 10] = [
    "at_ms",
    "kind",
    "user",
    "key",
    "stanza",
    "generation",
    "source",
    "opened",
    "replay_digest",
    "grant_id",
];

/// At most `limit` rows after `id` and up to `to`, in the order of the log; fewer when they hold more than `bytes`.
pub(in crate::store) fn after(
    connection: &Connection,
    (id, to): (u64, u64),
    (limit, bytes): (u32, usize),
) -> Result<Vec<LogRow>, StoreError> {
    let (mut found, mut named) = (Vec::new(), Vec::new());
    let mut size = 0;
    let indexed_to = words::known_end(connection)?;
    let mut statement = connection.prepare_cached(
        "SELECT e.id, h.name, j.epoch, e.journal, e.seq, e.body, e.chain, e.chain_version,
                e.stored_at_ms, coalesce(e.flaw, ''), e.log_chain, e.log_version,
                coalesce(e.pruned_by, 0), e.host, e.at_ms, e.kind, e.user, e.key, e.stanza,
                e.generation, e.source, e.opened, e.replay_digest, e.grant_id
         FROM events e CROSS JOIN journals j ON j.id = e.journal
         CROSS JOIN event_hosts h ON h.id = e.host
         WHERE e.id > ?1 AND e.id <= ?3 ORDER BY e.id LIMIT ?2",
    )?;
    let mut rows = statement.query(params![signed(id), limit, signed(to)])?;
    while let Some(row) = rows.next()? {
        let (mut read, record) = read(&row)?;
        if read.pruned_by == 0 {
            let event = Columns::of(&record, read.stored_at_ms).event;
            match column_fault(&row, &event)? {
                Some(fault) => read.index_fault = fault,
                None => named.push(Named {
                    id: row.get(0)?,
                    host: row.get(13)?,
                    event,
                }),
            }
        }
        size += record.body.len();
        read.record = Some(record);
        found.push(read);
        if size > bytes {
            break;
        }
    }
    let mut faults = found_by::faults(connection, &named, indexed_to)?;
    for row in &mut found {
        if let Some(fault) = faults.remove(&signed(row.id)) {
            row.index_fault = fault;
        }
    }
    Ok(found)
}

/// A row as it is chained, and the record that it holds.
fn read(row: &Row<'_>) -> Result<(LogRow, EventRecord), StoreError> {
    let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    let record = EventRecord {
        seq: number(4)?,
        body: row.get(5)?,
        chain: row.get(6)?,
        chain_version: row.get(7)?,
    };
    let read = LogRow {
        id: number(0)?,
        host: row.get(1)?,
        epoch: row.get(2)?,
        journal: number(3)?,
        stored_at_ms: number(8)?,
        flaw: row.get(9)?,
        log_chain: row.get(10)?,
        log_version: row.get(11)?,
        pruned_by: number(12)?,
        ..LogRow::default()
    };
    Ok((read, record))
}

/// Which of its own columns says something else than the event.
fn column_fault(row: &Row<'_>, event: &Event) -> Result<Option<String>, StoreError> {
    let text = |text: &str| Value::from(searched_key(text).map(str::to_owned));
    let expected: [Value; 10] = [
        signed(event.at_ms).into(),
        i64::from(event.kind).into(),
        text(&event.user),
        text(&event.key),
        text(&event.stanza),
        signed(event.generation).into(),
        address_key(&event.source).into(),
        address_key(&event.opened).into(),
        hex_key(&event.replay_digest).into(),
        hex_key(&event.grant_id).into(),
    ];
    for ((name, expected), column) in SEARCHED.iter().zip(expected).zip(14..) {
        if !is_searched(&row.get::<_, Value>(column)?, &expected) {
            return Ok(Some(format!(
                "what it is searched by as `{name}` is not what it says"
            )));
        }
    }
    Ok(None)
}
