//! Events as rows: bytes, with what is asked of them beside.

use fleet::EventRecord;
use fleet::event::Continuity;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

pub(super) fn insert(
    connection: &Connection,
    record: &EventRecord,
    at_ms: u64,
    kind: i32,
) -> rusqlite::Result<()> {
    let EventRecord {
        seq,
        body,
        chain,
        chain_version,
    } = record;
    connection
        .prepare_cached("INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![
            seq.cast_signed(),
            at_ms.cast_signed(),
            kind,
            body,
            chain,
            chain_version
        ])?;
    Ok(())
}

pub(super) fn of_row(row: &Row<'_>) -> rusqlite::Result<EventRecord> {
    Ok(EventRecord {
        seq: row.get::<_, i64>("seq")?.cast_unsigned(),
        body: row.get("body")?,
        chain: row.get("chain")?,
        chain_version: row.get("chain_version")?,
    })
}

/// Whether there is an event after `seq` that follows from one with this chain value.
pub(super) fn follows(
    connection: &Connection,
    seq: u64,
    chain: &[u8; 32],
) -> rusqlite::Result<bool> {
    let next = connection
        .query_row(
            "SELECT * FROM event WHERE seq = ?1",
            [seq.saturating_add(1).cast_signed()],
            of_row,
        )
        .optional()?;
    Ok(next.is_some_and(|next| next.follows(chain) == Continuity::Follows))
}
