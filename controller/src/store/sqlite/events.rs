//! The fleet's log: every host's journal, in the order in which it arrived, chained once more.
//!
//! Two chains. A host's own chain (`events.chain`) shows a change inside one journal; the fleet's
//! (`events.log_chain`) covers every stored event with its place, host and time of arrival, so that
//! nothing can be changed, taken out or put in without all that follows being recomputed.

use fleet::{Event, EventKind};
use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};

use super::meta;
use super::number::signed;
use super::search::{address_key, digest_key, port_key, text_key};
use crate::store::error::{StoreError, StoreError as Error};

/// Whose journal the controller's own events are in.
pub(crate) const CONTROLLER: &str = "controller";

/// What became of a push.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Pushed {
    /// All events up to this one are stored.
    pub(crate) acknowledged_seq: u64,
    /// The first event before which some are missing.
    pub(crate) gap_before: Option<u64>,
    /// The first event whose chain value does not follow from the one before it.
    pub(crate) broken_at: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Journal {
    id: i64,
    host: i64,
    last_seq: u64,
    chain: [u8; 32],
}

/// Stores the events of one host's journal that are not stored yet.
///
/// Idempotent: what is at or below the journal's last number is there already. `events` must be in
/// rising order of `seq`. Gaps and broken chains are stored as they are and reported, because an
/// event that is refused here would be lost to the auditor.
pub(super) fn append(
    connection: &Connection,
    host: &str,
    epoch: &str,
    events: &[(Event, [u8; 32])],
    now_ms: u64,
) -> Result<Pushed, Error> {
    let mut journal = journal(connection, host, epoch)?;
    let mut log_chain = head(connection)?;
    let mut pushed = Pushed::default();
    for (event, chain) in events {
        if event.seq <= journal.last_seq {
            continue;
        }
        if event.seq != journal.last_seq + 1 {
            pushed.gap_before = pushed.gap_before.or(Some(event.seq));
        } else if event.chain(&journal.chain) != *chain {
            pushed.broken_at = pushed.broken_at.or(Some(event.seq));
        }
        log_chain = link(&log_chain, host, epoch, chain, now_ms);
        insert(connection, journal, event, chain, &log_chain, now_ms)?;
        journal.last_seq = event.seq;
        journal.chain = *chain;
    }
    connection
        .prepare_cached("UPDATE journals SET last_seq = ?2, chain = ?3 WHERE id = ?1")?
        .execute(params![journal.id, signed(journal.last_seq), journal.chain])?;
    pushed.acknowledged_seq = journal.last_seq;
    Ok(pushed)
}

/// Stores a push, and what is wrong with it as an event of our own.
pub(in crate::store) fn push(
    connection: &Connection,
    host: &str,
    epoch: &str,
    pushed_events: &[(Event, [u8; 32])],
    now_ms: u64,
) -> Result<Pushed, Error> {
    let pushed = append(connection, host, epoch, pushed_events, now_ms)?;
    let faults = [
        (pushed.gap_before, "events are missing before"),
        (pushed.broken_at, "the chain is broken at"),
    ];
    for (seq, fault) in faults {
        let Some(seq) = seq else { continue };
        let mut event = Event::new(EventKind::Drift, now_ms);
        event.reason = format!("journal {epoch} of host {host}: {fault} event {seq}");
        append_own(connection, event)?;
    }
    Ok(pushed)
}

/// Stores one of the controller's own events; its `seq` is given here.
pub(super) fn append_own(connection: &Connection, mut event: Event) -> Result<(), Error> {
    let epoch = meta::journal_epoch(connection)?;
    let journal = journal(connection, CONTROLLER, &epoch)?;
    event.seq = journal.last_seq + 1;
    let chain = event.chain(&journal.chain);
    let now_ms = event.at_ms;
    append(connection, CONTROLLER, &epoch, &[(event, chain)], now_ms)?;
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
fn head(connection: &Connection) -> Result<[u8; 32], Error> {
    let head = connection
        .prepare_cached("SELECT log_chain FROM events ORDER BY id DESC LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(head.unwrap_or([0; 32]))
}

fn journal(connection: &Connection, host: &str, epoch: &str) -> Result<Journal, Error> {
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
) -> Result<Option<Journal>, Error> {
    let journal = connection
        .prepare_cached(
            "SELECT j.id, j.host, j.last_seq, j.chain
             FROM event_hosts h JOIN journals j ON j.host = h.id
             WHERE h.name = ?1 AND j.epoch = ?2",
        )?
        .query_row([host, epoch], |row| {
            Ok(Journal {
                id: row.get(0)?,
                host: row.get(1)?,
                last_seq: row.get(2)?,
                chain: row.get(3)?,
            })
        })
        .optional()?;
    Ok(journal)
}

fn insert(
    connection: &Connection,
    journal: Journal,
    event: &Event,
    chain: &[u8; 32],
    log_chain: &[u8; 32],
    now_ms: u64,
) -> Result<(), Error> {
    // Named in full, so that a new field cannot be left out of the log.
    let Event {
        seq,
        at_ms,
        kind,
        user,
        key,
        stanza,
        generation,
        source,
        opened,
        ports,
        until_ms,
        replay_digest,
        reason,
        count,
    } = event;
    let id = connection
        .prepare_cached(
            "INSERT INTO events (journal, host, seq, at_ms, kind, user, key, stanza, generation,
                                 source, opened, ports, until_ms, replay_digest, reason, count,
                                 chain, stored_at_ms, log_chain)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                     ?18, ?19)",
        )?
        .insert(params![
            journal.id,
            journal.host,
            signed(*seq),
            signed(*at_ms),
            kind_number(*kind),
            text_key(user),
            text_key(key),
            text_key(stanza),
            signed(*generation),
            address_key(source),
            address_key(opened),
            text_key(&ports.join(",")),
            signed(*until_ms),
            digest_key(replay_digest),
            text_key(reason),
            signed(*count),
            chain,
            signed(now_ms),
            log_chain,
        ])?;
    insert_ports(connection, journal, event, id)
}

/// One row for each port, so that the auditor's usual question is one look-up.
fn insert_ports(
    connection: &Connection,
    journal: Journal,
    event: &Event,
    id: i64,
) -> Result<(), Error> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO event_ports (host, port, at_ms, event, kind)
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
    )?;
    let (at_ms, kind) = (signed(event.at_ms), kind_number(event.kind));
    for port in event.ports.iter().filter_map(|port| port_key(port)) {
        insert.execute(params![journal.host, port, at_ms, id, kind])?;
    }
    Ok(())
}

pub(super) fn kind_number(kind: EventKind) -> i32 {
    fleet::wire::EventKind::from(kind).into()
}
