//! A new epoch in the old file: for a journal that is not the continuation of what others have of it.

use fleet::EventRecord;
use fleet::event::ChainVersion;
use rusqlite::Connection;

use super::records;

/// A journal that begins anew.
pub(super) struct Begun {
    pub(super) epoch: String,
    pub(super) last_seq: u64,
    pub(super) chain: [u8; 32],
}

/// Gives the journal a new name, and answers it.
pub(super) fn rename(connection: &Connection) -> rusqlite::Result<String> {
    connection.query_row(
        "UPDATE meta SET epoch = lower(hex(randomblob(16))) RETURNING epoch",
        [],
        |row| row.get(0),
    )
}

/// Gives the journal a new name. Events that nobody has acknowledged are carried over, numbered from
/// 1 and chained anew, so that none of them is taken for one that is known already.
pub(super) fn begin(connection: &Connection, version: ChainVersion) -> rusqlite::Result<Begun> {
    let mut begun = Begun {
        epoch: rename(connection)?,
        last_seq: 0,
        chain: [0; 32],
    };
    let records = connection
        .prepare(
            "SELECT * FROM event WHERE seq > (SELECT acknowledged_seq FROM meta) ORDER BY seq",
        )?
        .query_map([], |row| {
            let (at_ms, kind): (i64, i32) = (row.get("at_ms")?, row.get("kind")?);
            Ok((records::of_row(row)?, at_ms.cast_unsigned(), kind))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    connection.execute("DELETE FROM event", [])?;
    connection.execute("UPDATE meta SET acknowledged_seq = 0", [])?;
    for (record, at_ms, kind) in records {
        // One that cannot be read is no event any more; the epoch before has it.
        let Ok(event) = record.event() else { continue };
        let record = EventRecord::chained(version, begun.last_seq, &begun.chain, event);
        records::insert(connection, &record, at_ms, kind)?;
        begun.last_seq = record.seq;
        begun.chain = record.chain.as_slice().try_into().unwrap_or_default();
    }
    Ok(begun)
}
