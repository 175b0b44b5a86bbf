//! Events as rows: bytes, with what is asked of them beside.

use fleet::EventRecord;
use rusqlite::{Connection, Row, params};

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
