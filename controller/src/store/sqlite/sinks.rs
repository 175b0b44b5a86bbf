//! How far events have been sent on, and the next ones, in the order of the log.

use fleet::EventRecord;

use super::events;
use super::number::signed;
use crate::store::error::StoreError;
use crate::store::model::{LogRow, OfKind, SinkCursor};
use crate::store::sql::{Connection, OptionalExtension as _, params};

/// See `Store::sink`. A sink that is not there yet begins after `begin`, or after the newest record.
pub(in crate::store) fn find_or_make(
    connection: &Connection,
    name: &str,
    begin: Option<u64>,
) -> Result<SinkCursor, StoreError> {
    if let Some(cursor) = find(connection, name)? {
        return Ok(cursor);
    }
    let delivered_id = match begin {
        Some(id) => id,
        None => newest(connection)?,
    };
    connection
        .prepare_cached(
            "INSERT INTO sinks (name, delivered_id, delivered_at_ms) VALUES (?1, ?2, 0)",
        )?
        .execute(params![name, signed(delivered_id)])?;
    Ok(SinkCursor {
        delivered_id,
        ..SinkCursor::default()
    })
}

/// Where a sink stands, if it ever began.
pub(in crate::store) fn find(
    connection: &Connection,
    name: &str,
) -> Result<Option<SinkCursor>, StoreError> {
    let found = connection
        .prepare_cached(
            "SELECT delivered_id, delivered_at_ms, alarm_since_ms, sender FROM sinks
             WHERE name = ?1",
        )?
        .query_row([name], |row| {
            Ok(SinkCursor {
                delivered_id: row.get(0)?,
                delivered_at_ms: row.get(1)?,
                alarm_since_ms: row.get(2)?,
                sender: row.get(3)?,
            })
        })
        .optional()?;
    Ok(found)
}

/// Notes that all events up to this one are delivered, by `sender` where there are several. It never goes back.
pub(in crate::store) fn delivered(
    connection: &Connection,
    (name, sender): (&str, Option<u64>),
    id: u64,
    now_ms: u64,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE sinks SET delivered_id = ?2, delivered_at_ms = ?3
             WHERE name = ?1 AND delivered_id < ?2 AND coalesce(sender, 0) = ?4",
        )?
        .execute(params![
            name,
            signed(id),
            signed(now_ms),
            signed(sender.unwrap_or(0))
        ])?;
    Ok(())
}

/// See `Store::take_sink`.
pub(in crate::store) fn take(
    connection: &Connection,
    name: &str,
    (from, to): (Option<u64>, u64),
) -> Result<bool, StoreError> {
    let changed = connection
        .prepare_cached(
            "UPDATE sinks SET sender = ?3 WHERE name = ?1 AND coalesce(sender, 0) = ?2",
        )?
        .execute(params![name, signed(from.unwrap_or(0)), signed(to)])?;
    Ok(changed > 0)
}

/// Records that a sink that stands at `from` goes on after `to`. False, and nothing is recorded, when
/// it stands elsewhere.
pub(in crate::store) fn skipped(
    connection: &Connection,
    name: &str,
    (from, to): (u64, u64),
    event: fleet::Event,
) -> Result<bool, StoreError> {
    let changed = connection
        .prepare_cached("UPDATE sinks SET delivered_id = ?3 WHERE name = ?1 AND delivered_id = ?2")?
        .execute(params![name, signed(from), signed(to)])?;
    if changed == 0 {
        return Ok(false);
    }
    events::append_own(connection, event)?;
    Ok(true)
}

/// Records that it begins or ends to be an alarm that a sink lags. False, and nothing is recorded,
/// when that was so already.
pub(in crate::store) fn alarm(
    connection: &Connection,
    name: &str,
    since_ms: Option<u64>,
    event: fleet::Event,
) -> Result<bool, StoreError> {
    let changed = connection
        .prepare_cached(
            "UPDATE sinks SET alarm_since_ms = ?2
             WHERE name = ?1 AND (alarm_since_ms IS NULL) != (CAST(?2 AS bigint) IS NULL)",
        )?
        .execute(params![name, since_ms.map(signed)])?;
    if changed == 0 {
        return Ok(false);
    }
    events::append_own(connection, event)?;
    Ok(true)
}

/// The newest record's id; 0 before the first.
pub(in crate::store) fn newest(connection: &Connection) -> Result<u64, StoreError> {
    let newest: Option<u64> = connection
        .prepare_cached("SELECT max(id) FROM events")?
        .query_row([], |row| row.get(0))?;
    Ok(newest.unwrap_or(0))
}

/// At most `limit` rows after `id`, in the order of the log.
pub(in crate::store) fn after(
    connection: &Connection,
    id: u64,
    limit: u16,
) -> Result<Vec<LogRow>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT e.id, h.name, j.epoch, e.seq, e.at_ms, e.body, e.chain, e.chain_version,
                e.stored_at_ms, coalesce(e.flaw, ''),
                (SELECT n.name FROM event_hosts n WHERE n.id = j.host)
         FROM events e JOIN journals j ON j.id = e.journal JOIN event_hosts h ON h.id = e.host
         WHERE e.id > ?1 AND e.pruned_by IS NULL ORDER BY e.id LIMIT ?2",
    )?;
    let rows = statement.query_map(params![signed(id), limit], |row| {
        Ok(LogRow {
            id: row.get(0)?,
            host: row.get(1)?,
            epoch: row.get(2)?,
            at_ms: row.get(4)?,
            event: EventRecord {
                seq: row.get(3)?,
                body: row.get(5)?,
                chain: row.get(6)?,
                chain_version: row.get(7)?,
            },
            stored_at_ms: row.get(8)?,
            flaw: row.get(9)?,
            called_now: row.get(10)?,
        })
    })?;
    let rows: Result<Vec<_>, _> = rows.collect();
    Ok(rows?)
}

/// How many records of each kind there are after `from`, up to `to`.
pub(in crate::store) fn kinds_between(
    connection: &Connection,
    from: u64,
    to: u64,
) -> Result<Vec<(i32, u64)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT kind, count(*) FROM events WHERE id > ?1 AND id <= ?2 GROUP BY kind",
    )?;
    let rows = statement.query_map(params![signed(from), signed(to)], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    let rows: Result<Vec<_>, _> = rows.collect();
    Ok(rows?)
}

/// What there is of each kind after `from`, up to `to`.
pub(in crate::store) fn newest_of_kinds(
    connection: &Connection,
    from: u64,
    to: u64,
) -> Result<Vec<OfKind>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT kind, max(id), count(*) FROM events WHERE id > ?1 AND id <= ?2 GROUP BY kind",
    )?;
    let rows = statement.query_map(params![signed(from), signed(to)], |row| {
        Ok(OfKind {
            kind: row.get(0)?,
            newest: row.get(1)?,
            count: row.get(2)?,
        })
    })?;
    let rows: Result<Vec<_>, _> = rows.collect();
    Ok(rows?)
}
