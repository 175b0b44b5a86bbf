//! What version 1 of the schema left: events as rows of texts, chained field by field.

use std::net::IpAddr;

use fleet::{Event, EventRecord};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::columns::Columns;
use super::event_rows::{Place, insert_v1};
use crate::store::sql::Error;

/// Moves every event of `events_1` into the table of today. Its place, chain values and ports
/// stay.
pub(super) fn move_events(connection: &Connection) -> Result<(), Error> {
    let mut statement = connection.prepare("SELECT * FROM events_1 ORDER BY id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let record = EventRecord::of_version_1(event_of_row(row)?);
        let stored_at_ms = row.get::<_, i64>("stored_at_ms")?.cast_unsigned();
        let columns = Columns::of(&record, stored_at_ms);
        let place = Place {
            id: row.get("id")?,
            journal: row.get("journal")?,
            host: row.get("host")?,
            stored_at_ms,
            log_chain: row.get("log_chain")?,
        };
        insert_v1(connection, &place, &record, &columns)?;
    }
    Ok(())
}

fn event_of_row(row: &Row<'_>) -> rusqlite::Result<Event> {
    let number = |column: &str| row.get::<_, i64>(column).map(i64::cast_unsigned);
    let text = |column: &str| {
        let text: Option<String> = row.get(column)?;
        Ok::<_, rusqlite::Error>(text.unwrap_or_default())
    };
    let ports = text("ports")?;
    Ok(Event {
        seq: number("seq")?,
        at_ms: number("at_ms")?,
        kind: row.get("kind")?,
        user: text("user")?,
        key: text("key")?,
        stanza: text("stanza")?,
        generation: number("generation")?,
        source: address_text(row.get_ref("source")?),
        opened: address_text(row.get_ref("opened")?),
        ports: ports.split_terminator(',').map(str::to_owned).collect(),
        until_ms: number("until_ms")?,
        replay_digest: digest_text(row.get_ref("replay_digest")?),
        reason: text("reason")?,
        count: number("count")?,
        chain: row.get("chain")?,
        ..Event::default()
    })
}

fn address_text(value: ValueRef<'_>) -> String {
    let address = match value {
        ValueRef::Blob([4, octets @ ..]) => <[u8; 4]>::try_from(octets).map(IpAddr::from).ok(),
        ValueRef::Blob([6, octets @ ..]) => <[u8; 16]>::try_from(octets).map(IpAddr::from).ok(),
        ValueRef::Null
        | ValueRef::Integer(_)
        | ValueRef::Real(_)
        | ValueRef::Text(_)
        | ValueRef::Blob(_) => None,
    };
    address.map_or_else(|| plain_text(value), |address| address.to_string())
}

fn digest_text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Blob(bytes) => hex::encode(bytes),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Text(_) => {
            plain_text(value)
        }
    }
}

/// The text that was sent, when it had not the usual form.
fn plain_text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Null | ValueRef::Blob(_) | ValueRef::Integer(_) | ValueRef::Real(_) => {
            String::new()
        }
    }
}

#[cfg(test)]
mod migrated;

#[cfg(test)]
mod tests {
    use super::super::columns::{Compact, address_key, hex_key};
    use super::*;

    #[test]
    fn addresses_and_digests_come_back_as_they_were_sent() {
        for text in [
            "",
            "192.0.2.1",
            "2001:db8::7",
            "::ffff:192.0.2.1",
            "192.0.2.01",
            "2001:DB8::7",
            "somewhere",
        ] {
            let stored = address_key(text);
            assert_eq!(address_text(reference(&stored)), text);
        }
        for text in ["", "00ff", "00FF", "0", "xyz", &"ab".repeat(32)] {
            let stored = hex_key(text);
            assert_eq!(digest_text(reference(&stored)), text);
        }
    }

    fn reference<'a>(stored: &'a Compact<'_>) -> ValueRef<'a> {
        match stored {
            Compact::Empty => ValueRef::Null,
            Compact::Bytes(bytes) => ValueRef::Blob(bytes),
            Compact::Text(text) => ValueRef::Text(text.as_bytes()),
        }
    }
}
