//! What is looked at at every start: little tables whole, and the end of the log. Milliseconds, however
//! long the log is; all of it is read in the background after a run that did not end in order.

use fleet::audit::{Linked, LogVersion};

use super::{checkpoints, proof, recorded, rows};
use crate::store::error::StoreError;
use crate::store::model::AtStart;
use crate::store::sql::Connection;

/// Tables that grow with the log or with claims.
const LARGE: [&str; 8] = [
    "events",
    "event_words",
    "event_ids",
    "event_ports",
    "event_blocks",
    "event_reasons",
    "claims",
    "checkpoints",
];
/// Rows of the log, and bytes of these, that are linked anew.
const ROWS: (u32, usize) = (1_000, 8 << 20);

/// Looks at them.
pub(in crate::store) fn look(connection: &Connection) -> Result<AtStart, StoreError> {
    let mut tables = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    let tables: Result<Vec<String>, _> = tables.query_map([], |row| row.get(0))?.collect();
    let mut found = AtStart::default();
    for table in tables? {
        if LARGE.contains(&table.as_str()) || table.contains('\'') {
            continue;
        }
        let says = connection.query_row(&format!("PRAGMA quick_check('{table}')"), [], |row| {
            row.get::<_, String>(0)
        });
        let says = says.unwrap_or_else(|error| error.to_string());
        if says != "ok" {
            found.damaged.push(format!("{table}: {says}"));
        }
    }
    found.broken_at = broken_at(connection)?;
    found.altered = rows::altered(connection)?;
    found.disagreements = recorded::disagreements(connection)?;
    Ok(found)
}

/// The first of the newest records that does not follow from the one before it.
pub(in crate::store) fn broken_at(connection: &Connection) -> Result<Option<u64>, StoreError> {
    let newest = checkpoints::end(connection)?.size;
    let (rows, _) = ROWS;
    let begin = newest.saturating_sub(u64::from(rows));
    let mut before = checkpoints::root_at(connection, begin)?.map(|root| (begin, root));
    for row in proof::after(connection, (begin, newest), ROWS)? {
        let stored: Option<[u8; 32]> = row.log_chain.as_slice().try_into().ok();
        let linked = row
            .record
            .as_ref()
            .and_then(|record| Linked::of_row(&row, record));
        let version = LogVersion::of_number(row.log_version);
        let (Some(stored), Some(linked), Some(version)) = (stored, linked, version) else {
            return Ok(Some(row.id));
        };
        let follows = before
            .is_some_and(|(id, root)| row.id == id + 1 && version.link(&root, &linked) == stored);
        if !follows {
            return Ok(Some(row.id));
        }
        before = Some((row.id, stored));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use fleet::EventKind;
    use tempfile::TempDir;

    use super::*;
    use crate::store::fixture::{self, event};
    use crate::store::seal::SealKey;

    #[tokio::test]
    async fn every_start_sees_that_the_end_of_the_log_was_changed_or_a_little_table_is_damaged() {
        let dir = TempDir::new().unwrap();
        let store = fixture::open(dir.path()).await;
        for number in 0..1_200 {
            let event = event(EventKind::Refused, &format!("{number}"));
            store.record(event).await.unwrap();
        }
        store.close().await;
        let open = || {
            let database = rusqlite::Connection::open(dir.path().join("controller.db")).unwrap();
            rows::reading(&database, &SealKey::new(&[7; 32]).row_key()).unwrap();
            database
        };
        let database = open();
        assert_eq!(look(&database).unwrap(), AtStart::default());

        let newest = checkpoints::end(&database).unwrap().size;
        for (edit, expected) in [
            (
                "UPDATE events SET stored_at_ms = 1 WHERE id = ?1",
                newest - 500,
            ),
            ("DELETE FROM events WHERE id = ?1", newest - 500),
        ] {
            database.execute_batch("BEGIN").unwrap();
            database.execute(edit, [expected.cast_signed()]).unwrap();
            let broken = look(&database).unwrap().broken_at.unwrap();
            assert!(
                (expected..=expected + 1).contains(&broken),
                "{edit}: {broken}"
            );
            database.execute_batch("ROLLBACK").unwrap();
        }
        // An index of a little table that does not know one of its rows.
        database
            .execute_batch(
                "CREATE TABLE little (number INTEGER NOT NULL); INSERT INTO little VALUES (1);
                 PRAGMA writable_schema = ON;
                 UPDATE sqlite_schema SET sql = 'CREATE TABLE little (number TEXT NOT NULL) STRICT'
                     WHERE name = 'little';
                 PRAGMA writable_schema = OFF;",
            )
            .unwrap();
        drop(database);
        let database = open();
        let damaged = look(&database).unwrap().damaged;
        assert!(
            damaged.iter().any(|said| said.starts_with("little: ")),
            "{damaged:?}"
        );
    }
}
