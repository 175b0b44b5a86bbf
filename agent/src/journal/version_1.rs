//! What version 1 of the journal's schema left: events as rows of texts, chained field by field.
//!
//! They keep their places and chain values; the chain goes on after them in the version of today.

use fleet::{Event, EventKind, EventRecord, GrantId};
use rusqlite::{Connection, Row, params};

use super::live_grants::damaged;
use super::records;

/// Moves every event of `event_1` into the tables of today, and drops it.
pub(super) fn move_events(connection: &Connection) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT * FROM event_1 ORDER BY seq")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let event = event_of_row(row)?;
        let opened = row.get::<_, bool>("is_open")?.then(|| event.clone());
        let (at_ms, kind) = (event.at_ms, event.kind);
        let record = EventRecord::of_version_1(event);
        records::insert(connection, &record, at_ms, kind)?;
        if let Some(opened) = opened {
            insert_grant(connection, &opened, &record.body)?;
        }
    }
    drop(rows);
    drop(statement);
    connection.execute_batch("DROP TABLE event_1")
}

/// Enters a grant that is open, in the table as version 2 has it. Grants had no names in version 1; the
/// message that was granted names it just as well.
fn insert_grant(connection: &Connection, opened: &Event, body: &[u8]) -> rusqlite::Result<()> {
    let digest = opened.replay_digest.get(..32).unwrap_or_default();
    let id: GrantId = digest.parse().map_err(damaged)?;
    connection
        .prepare_cached(
            "INSERT INTO live_grant (grant_id, until_ms, address, ports, opened)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            id.0.as_slice(),
            opened.until_ms.cast_signed(),
            opened.opened,
            opened.ports.join(" "),
            body
        ])?;
    Ok(())
}

fn event_of_row(row: &Row<'_>) -> rusqlite::Result<Event> {
    let number = |column: &str| row.get::<_, i64>(column).map(i64::cast_unsigned);
    let kind: String = row.get("kind")?;
    let kind: EventKind = kind.parse().map_err(damaged)?;
    let ports: String = row.get("ports")?;
    Ok(Event {
        seq: number("seq")?,
        at_ms: number("at_ms")?,
        kind: kind.into(),
        user: row.get("user")?,
        key: row.get("key")?,
        stanza: row.get("stanza")?,
        generation: number("generation")?,
        source: row.get("source")?,
        opened: row.get("opened")?,
        ports: ports.split_whitespace().map(str::to_owned).collect(),
        until_ms: number("until_ms")?,
        replay_digest: row.get("replay_digest")?,
        reason: row.get("reason")?,
        count: number("count")?,
        chain: row.get("chain")?,
        ..Event::default()
    })
}
