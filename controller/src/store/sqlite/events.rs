//! The fleet's log: every host's journal, in the order in which it arrived, chained once more.
//!
//! Two chains. A host's own chain (`events.chain`) shows a change inside one journal; the fleet's
//! (`events.log_chain`) covers every stored event with its place, host and time of arrival, so
//! that nothing can be changed, taken out or put in without all that follows being recomputed.

use fleet::event::{Continuity, Event, EventRecord};
use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};

use super::columns::{Columns, address_key, hex_key, port_key, text_key};
use super::meta;
use super::number::signed;
use crate::store::error::StoreError;
use crate::store::model::{CONTROLLER, Origin, Pushed};

/// The end of one host's journal as far as it is stored.
#[derive(Clone, Copy, Debug)]
struct JournalEnd {
    id: i64,
    host: i64,
    last_seq: u64,
    chain: [u8; 32],
}

/// Where in the log a record stands.
#[derive(Debug)]
pub(super) struct Place {
    /// `None` for the next.
    pub(super) id: Option<i64>,
    pub(super) journal: i64,
    pub(super) host: i64,
    pub(super) stored_at_ms: u64,
    pub(super) log_chain: [u8; 32],
}

/// Stores the events of one host's journal that are not stored yet.
///
/// Idempotent: what is at or below the journal's last number is there already. `records` must be
/// in rising order of `seq`. Whatever is wrong with one (a gap before it, a broken chain, a body
/// that cannot be read) is stored with it and reported, because an event that is refused here
/// would be lost to the auditor.
pub(super) fn append(
    connection: &Connection,
    host: &str,
    epoch: &str,
    records: &[EventRecord],
    now_ms: u64,
) -> Result<Pushed, StoreError> {
    let mut journal = journal(connection, host, epoch)?;
    let mut log_chain = head(connection)?;
    let mut pushed = Pushed::default();
    for record in records {
        if record.seq <= journal.last_seq {
            continue;
        }
        let mut columns = Columns::of(record, now_ms);
        let chain = record.chain.as_slice().try_into().unwrap_or([0; 32]);
        if record.seq != journal.last_seq + 1 {
            pushed.gap_before = pushed.gap_before.or(Some(record.seq));
            columns
                .flaws
                .push("events before it are missing".to_owned());
        } else {
            match record.follows(&journal.chain) {
                Continuity::Follows => {}
                Continuity::Broken => {
                    pushed.broken_at = pushed.broken_at.or(Some(record.seq));
                    columns.flaws.push("the chain is broken here".to_owned());
                }
                Continuity::Unknown => {
                    let version = record.chain_version;
                    let flaw = format!("chained by version {version}, not checked");
                    columns.flaws.push(flaw);
                }
            }
        }
        log_chain = link(&log_chain, host, epoch, &chain, now_ms);
        let place = Place {
            id: None,
            journal: journal.id,
            host: journal.host,
            stored_at_ms: now_ms,
            log_chain,
        };
        let id = insert(connection, &place, record, &columns)?;
        insert_ports(connection, journal.host, &columns.event, id)?;
        journal.last_seq = record.seq;
        journal.chain = chain;
    }
    connection
        .prepare_cached("UPDATE journals SET last_seq = ?2, chain = ?3 WHERE id = ?1")?
        .execute(params![journal.id, signed(journal.last_seq), journal.chain])?;
    pushed.acknowledged_seq = journal.last_seq;
    Ok(pushed)
}

/// See `Store::push_events`: stores a push, and what is wrong with it as events of our own.
pub(in crate::store) fn push(
    connection: &Connection,
    (host, epoch): (&str, &str),
    records: &[EventRecord],
    found: &Origin,
    now_ms: u64,
) -> Result<Pushed, StoreError> {
    let pushed = append(connection, host, epoch, records, now_ms)?;
    for event in pushed.faults((host, epoch), found, now_ms) {
        append_own(connection, event)?;
    }
    Ok(pushed)
}

/// Stores one of the controller's own events; its `seq` is given here.
pub(in crate::store) fn append_own(
    connection: &Connection,
    event: Event,
) -> Result<(), StoreError> {
    let epoch = meta::journal_epoch(connection)?;
    let journal = journal(connection, CONTROLLER, &epoch)?;
    let now_ms = event.at_ms;
    let record = EventRecord::after(journal.last_seq, &journal.chain, event);
    append(connection, CONTROLLER, &epoch, &[record], now_ms)?;
    Ok(())
}

/// The fleet's chain value after one more event.
///
/// SHA-256 over the previous value, the host and epoch (each preceded by its length), the event's
/// own chain value (which covers all of its fields) and its time of arrival.
fn link(
    previous: &[u8; 32],
    host: &str,
    epoch: &str,
    chain: &[u8; 32],
    stored_at_ms: u64,
) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"postern fleet log v1\0");
    hash.update(previous);
    for text in [host, epoch] {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.update(chain);
    hash.update(signed(stored_at_ms).to_be_bytes());
    hash.finalize().into()
}

/// The chain value of the newest event; 32 zero bytes before the first.
fn head(connection: &Connection) -> Result<[u8; 32], StoreError> {
    let head = connection
        .prepare_cached("SELECT log_chain FROM events ORDER BY id DESC LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(head.unwrap_or([0; 32]))
}

fn journal(connection: &Connection, host: &str, epoch: &str) -> Result<JournalEnd, StoreError> {
    let found = find_journal(connection, host, epoch)?;
    if let Some(journal) = found {
        return Ok(journal);
    }
    connection
        .prepare_cached("INSERT INTO event_hosts (name) VALUES (?1) ON CONFLICT (name) DO NOTHING")?
        .execute([host])?;
    connection
        .prepare_cached(
            "INSERT INTO journals (host, epoch, last_seq, chain)
             SELECT id, ?2, 0, zeroblob(32) FROM event_hosts WHERE name = ?1",
        )?
        .execute([host, epoch])?;
    find_journal(connection, host, epoch)?.ok_or(StoreError::Damaged { what: "journals" })
}

fn find_journal(
    connection: &Connection,
    host: &str,
    epoch: &str,
) -> Result<Option<JournalEnd>, StoreError> {
    let journal = connection
        .prepare_cached(
            "SELECT j.id, j.host, j.last_seq, j.chain
             FROM event_hosts h JOIN journals j ON j.host = h.id
             WHERE h.name = ?1 AND j.epoch = ?2",
        )?
        .query_row([host, epoch], |row| {
            Ok(JournalEnd {
                id: row.get(0)?,
                host: row.get(1)?,
                last_seq: row.get(2)?,
                chain: row.get(3)?,
            })
        })
        .optional()?;
    Ok(journal)
}

/// Writes one row. `place` says where, `columns` what is searched.
pub(super) fn insert(
    connection: &Connection,
    place: &Place,
    record: &EventRecord,
    columns: &Columns,
) -> Result<i64, rusqlite::Error> {
    let Place {
        id,
        journal,
        host,
        stored_at_ms,
        log_chain,
    } = place;
    let Columns { event, flaws } = columns;
    connection
        .prepare_cached(
            "INSERT INTO events (id, journal, host, seq, body, chain, chain_version, stored_at_ms,
                                 log_chain, flaw, at_ms, kind, user, key, stanza, generation,
                                 source, opened, replay_digest, grant_id)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                     ?18, ?19, ?20)",
        )?
        .insert(params![
            id,
            journal,
            host,
            signed(record.seq),
            record.body,
            record.chain,
            record.chain_version,
            signed(*stored_at_ms),
            log_chain,
            text_key(&flaws.join("; ")),
            signed(event.at_ms),
            event.kind,
            text_key(&event.user),
            text_key(&event.key),
            text_key(&event.stanza),
            signed(event.generation),
            address_key(&event.source),
            address_key(&event.opened),
            hex_key(&event.replay_digest),
            hex_key(&event.grant_id),
        ])
}

/// One row for each port, so that the auditor's usual question is one look-up.
fn insert_ports(
    connection: &Connection,
    host: i64,
    event: &Event,
    id: i64,
) -> Result<(), rusqlite::Error> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO event_ports (host, port, at_ms, event, kind)
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
    )?;
    let at_ms = signed(event.at_ms);
    for port in event.ports.iter().filter_map(|port| port.parse().ok()) {
        insert.execute(params![host, port_key(port), at_ms, id, event.kind])?;
    }
    Ok(())
}
