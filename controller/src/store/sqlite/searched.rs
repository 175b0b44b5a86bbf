//! Whether an event is found by everything that it is searched by, and making that anew.
//!
//! What is searched stands beside the rows that are chained, and proves nothing; but whoever removes it
//! hides an event from every search, and no chain is broken. All of it is made of the bodies, so it can
//! be compared with them, row by row, and made again.

use fleet::EventRecord;

use super::columns::{Columns, address_key, hex_key, searched_key};
use super::number::signed;
use super::{event_rows, words};
use crate::store::error::StoreError;
use crate::store::sql::{Connection, params};

/// Rows made anew in one transaction.
const LOT: u32 = 2_000;

/// What the newest event is up to which words are indexed, where it is not one of the log.
pub(super) fn end_fault(connection: &Connection) -> Result<Option<String>, StoreError> {
    let end = match words::end(connection) {
        Ok(end) => end,
        Err(error) => return Ok(Some(program::one_line(&error).to_string())),
    };
    let newest = words::newest(connection)?;
    if end > newest {
        return Ok(Some(format!(
            "searches are said to know records up to {end}, and the log ends at {newest}: what comes \
             next would not be found"
        )));
    }
    let known: Option<i64> = connection
        .prepare("SELECT max(event) FROM event_words")?
        .query_row([], |row| row.get(0))?;
    let beyond = known.filter(|known| *known > end);
    Ok(beyond.map(|known| {
        format!("searches are said to know records up to {end}, and know record {known}")
    }))
}

/// Makes anew what the rows after `begin` are searched by, some at a time; answers the last of them, and
/// `None` when there is none.
pub(in crate::store) fn rebuild(
    connection: &Connection,
    begin: u64,
) -> Result<Option<u64>, StoreError> {
    if begin == 0 {
        connection.execute_batch(
            "DELETE FROM event_words; DELETE FROM event_ids; DELETE FROM event_reasons;
             DELETE FROM event_ports; DELETE FROM event_blocks;
             DELETE FROM event_words_end; INSERT INTO event_words_end (event) VALUES (0);",
        )?;
    }
    let mut statement = connection.prepare_cached(
        "SELECT id, host, seq, body, stored_at_ms, pruned_by IS NOT NULL FROM events
         WHERE id > ?1 ORDER BY id LIMIT ?2",
    )?;
    let mut rows = statement.query(params![signed(begin), LOT])?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        let (id, host): (i64, i64) = (row.get(0)?, row.get(1)?);
        last = Some(id.cast_unsigned());
        if row.get(5)? {
            continue;
        }
        let record = EventRecord {
            seq: row.get::<_, i64>(2)?.cast_unsigned(),
            body: row.get(3)?,
            ..EventRecord::default()
        };
        let event = Columns::of(&record, row.get::<_, i64>(4)?.cast_unsigned()).event;
        connection
            .prepare_cached(
                "UPDATE events SET at_ms = ?2, kind = ?3, user = ?4, key = ?5, stanza = ?6,
                        generation = ?7, source = ?8, opened = ?9, replay_digest = ?10,
                        grant_id = ?11 WHERE id = ?1",
            )?
            .execute(params![
                id,
                signed(event.at_ms),
                event.kind,
                searched_key(&event.user),
                searched_key(&event.key),
                searched_key(&event.stanza),
                signed(event.generation),
                address_key(&event.source),
                address_key(&event.opened),
                hex_key(&event.replay_digest),
                hex_key(&event.grant_id),
            ])?;
        event_rows::insert_found(connection, host, &event, id)?;
    }
    if last.is_some() {
        words::index(connection, LOT)?;
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use fleet::{Event, EventKind};
    use tempfile::TempDir;

    use crate::store::fixture::{self, NOW_MS};
    use crate::store::model::Examined;

    /// A log whose third record is searched by everything that there is.
    async fn log() -> (TempDir, i64) {
        let dir = TempDir::new().unwrap();
        let store = fixture::open(dir.path()).await;
        for _ in 0..3 {
            let event = Event {
                user: "alice".to_owned(),
                key: "a-key".to_owned(),
                stanza: "ssh".to_owned(),
                generation: 7,
                source: "192.0.2.7".to_owned(),
                opened: "192.0.2.0/24".to_owned(),
                ports: vec!["tcp/22".to_owned(), "tcp/1000-2000".to_owned()],
                reason: "because".to_owned(),
                actor: "operator/stan".to_owned(),
                request_id: "cd".repeat(16),
                replay_digest: "ab".repeat(32),
                grant_id: "ef".repeat(16),
                ..Event::new(EventKind::GrantOpened, NOW_MS)
            };
            store.record(event).await.unwrap();
        }
        while store.index_some().await.unwrap() {}
        let last = store.newest_record().await.unwrap();
        store.close().await;
        (dir, last.cast_signed())
    }

    fn examined(dir: &TempDir) -> Examined {
        fixture::examined(dir.path())
    }

    #[tokio::test]
    async fn whatever_is_removed_that_a_record_is_found_by_is_noticed_and_made_anew() {
        let (dir, last) = log().await;
        assert_eq!(examined(&dir).log.first(), None);
        let mut edits: Vec<String> = (1..=7)
            .map(|what| format!("DELETE FROM event_words WHERE what = {what} AND event = {last}"))
            .collect();
        edits.extend(
            (1..=2).map(|what| {
                format!("DELETE FROM event_ids WHERE what = {what} AND event = {last}")
            }),
        );
        edits.extend([
            format!("DELETE FROM event_blocks WHERE event = {last}"),
            format!("DELETE FROM event_ports WHERE event = {last}"),
            format!("UPDATE event_ports SET kind = kind + 1 WHERE event = {last}"),
            format!("UPDATE event_words SET at_ms = 1 WHERE event = {last}"),
            format!("UPDATE events SET \"user\" = 'bob' WHERE id = {last}"),
            "UPDATE event_reasons SET text = 'another' WHERE text = 'because'".to_owned(),
        ]);
        for edit in edits {
            assert!(fixture::edit(dir.path(), &edit) > 0, "{edit}");

            let found = examined(&dir).log;
            let first = found
                .first()
                .unwrap_or_else(|| panic!("not noticed: {edit}"));
            let is_named = first.record == last.cast_unsigned() || edit.contains("reasons");
            assert!(is_named, "{edit}: {first:?}");

            let told = fixture::rebuild_searches(dir.path());
            assert_eq!(told, last.cast_unsigned());
            assert_eq!(examined(&dir).log.first(), None, "{edit}");
        }
    }

    #[tokio::test]
    async fn an_index_that_claims_to_know_what_comes_next_is_noticed() {
        let (dir, _) = log().await;
        fixture::edit(dir.path(), "UPDATE event_words_end SET event = 1000");

        let fault = examined(&dir).search_fault;

        assert!(fault.contains("up to 1000"), "{fault}");
    }
}
