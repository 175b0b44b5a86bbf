//! The fleet's log: every host's journal, in the order in which it arrived, chained once more.
//!
//! Two chains. A host's own chain (`events.chain`) shows a change inside one journal; the fleet's
//! (`events.log_chain`, `fleet::audit`) covers all that is stored of every event, so that nothing can
//! be changed, taken out or put in without all that follows being recomputed. What is signed of it
//! (`checkpoints`) cannot be recomputed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use fleet::audit::{Linked, LogVersion, body_digest};
use fleet::event::{Continuity, Event, EventRecord};
use ipnet::IpNet;
use policy::PortSet;
use spa::Service;

use super::columns::{
    Columns, address_key, hex_key, network_block, port_key, range_blocks, searched_key, text_key,
};
use super::journals::{self, Journal, Placed};
use super::meta;
use super::number::signed;
use crate::store::error::StoreError;
use crate::store::model::{CONTROLLER, Fork, Pushed};
use crate::store::sql::{Connection, Error, OptionalExtension as _, params};

/// Where in the log a record stands.
#[derive(Debug)]
pub(super) struct Place {
    /// One more than that of the record before it: there are no gaps.
    pub(super) id: i64,
    pub(super) journal: i64,
    pub(super) host: i64,
    pub(super) stored_at_ms: u64,
    pub(super) log_chain: [u8; 32],
    pub(super) log_version: LogVersion,
}

/// Stores the events of one host's journal that are not stored yet.
///
/// Idempotent: what is there already, under the same number and with the same chain value, is left.
/// Another event under a number that is taken begins a journal beside the first. `records` must be in
/// rising order of `seq`. Whatever is wrong with one (a gap before it, a broken chain, a body that
/// cannot be read) is stored with it and reported, because an event that is refused here would be lost
/// to the auditor.
pub(super) fn append(
    connection: &Connection,
    (host, epoch): (&str, &str),
    member: Option<u64>,
    records: &[EventRecord],
    now_ms: u64,
) -> Result<Pushed, StoreError> {
    let mut journal = journals::find_or_make(connection, (host, epoch), member)?;
    let mut pushed = Pushed {
        acknowledged_seq: journal.last_seq,
        acknowledged_chain: journal.chain.to_vec(),
        ..Pushed::default()
    };
    let (last_id, head) = head(connection)?;
    let mut log = Log {
        connection,
        host,
        now_ms,
        last_id,
        head,
    };
    for record in records {
        let placed = journals::place(connection, &journal, record)?;
        if placed.journal().id != journal.id {
            journals::note_end(connection, &journal)?;
        }
        journal = match placed {
            Placed::Known(journal) => journal,
            Placed::Next(journal) => log.append(journal, record, &mut pushed)?,
            Placed::Late(journal) => {
                let flaw = "arrived after events that come after it".to_owned();
                log.store(&journal, record, vec![flaw])?;
                journal
            }
            Placed::Forks(journal) => {
                let fork = journals::fork(connection, &journal, record)?;
                pushed.fork.get_or_insert_with(|| Fork {
                    seq: record.seq,
                    epoch: fork.epoch.clone(),
                });
                log.append(fork, record, &mut pushed)?
            }
        };
        pushed.acknowledged_seq = record.seq;
        pushed.acknowledged_chain.clone_from(&record.chain);
    }
    journals::note_end(connection, &journal)?;
    if pushed.fork.is_some() {
        journals::retire(connection, &journal)?;
    }
    if pushed.fork.is_some() || journal.retired {
        let words = "this journal is not the continuation of what the controller has of it";
        pushed.new_journal = Some(words.to_owned());
    }
    Ok(pushed)
}

/// The fleet's log while a push is appended to it.
struct Log<'a> {
    connection: &'a Connection,
    host: &'a str,
    now_ms: u64,
    /// Of the newest event, as its chain value is.
    last_id: i64,
    head: [u8; 32],
}

// === impl Log ===

impl Log<'_> {
    /// Stores a record at the end of its journal, with what is wrong with it, and gives the new end.
    fn append(
        &mut self,
        mut journal: Journal,
        record: &EventRecord,
        pushed: &mut Pushed,
    ) -> Result<Journal, StoreError> {
        let mut flaws = Vec::new();
        if record.seq != journal.last_seq + 1 {
            pushed.gap_before = pushed.gap_before.or(Some(record.seq));
            flaws.push("events before it are missing".to_owned());
        } else {
            match record.follows(&journal.chain) {
                Continuity::Follows => {}
                Continuity::Broken => {
                    pushed.broken_at = pushed.broken_at.or(Some(record.seq));
                    flaws.push("the chain is broken here".to_owned());
                }
                Continuity::Unknown => {
                    let version = record.chain_version;
                    flaws.push(format!("chained by version {version}, not checked"));
                }
            }
        }
        if record.seq == journal.last_seq + 1 && journal.retired {
            flaws.push("the host was set back before".to_owned());
        }
        self.store(&journal, record, flaws)?;
        journal.last_seq = record.seq;
        journal.chain = record.chain.as_slice().try_into().unwrap_or([0; 32]);
        Ok(journal)
    }

    fn store(
        &mut self,
        journal: &Journal,
        record: &EventRecord,
        flaws: Vec<String>,
    ) -> Result<(), StoreError> {
        let mut columns = Columns::of(record, self.now_ms);
        columns.flaws.extend(flaws);
        let version = LogVersion::default();
        let flaw = columns.flaws.join("; ");
        let linked = Linked {
            host: self.host,
            epoch: &journal.epoch,
            seq: record.seq,
            chain: &record.chain,
            chain_version: record.chain_version,
            body_digest: body_digest(&record.body),
            stored_at_ms: self.now_ms,
            flaw: &flaw,
        };
        self.head = version.link(&self.head, &linked);
        self.last_id += 1;
        let id = self.last_id;
        let place = Place {
            id,
            journal: journal.id,
            host: journal.host,
            stored_at_ms: self.now_ms,
            log_chain: self.head,
            log_version: version,
        };
        insert(self.connection, &place, record, &columns)?;
        insert_ports(self.connection, journal.host, &columns.event, id)?;
        insert_blocks(self.connection, &columns.event, id)?;
        Ok(())
    }
}

/// When the newest record was stored, milliseconds since the Unix epoch; `None` of an empty log.
pub(in crate::store) fn newest_ms(connection: &Connection) -> Result<Option<u64>, StoreError> {
    let newest = connection
        .prepare_cached("SELECT stored_at_ms FROM events ORDER BY id DESC LIMIT 1")?
        .query_row([], |row| row.get::<_, i64>(0))
        .optional()?;
    Ok(newest.map(i64::cast_unsigned))
}

/// Stores one of the controller's own events; its `seq` is given here.
pub(in crate::store) fn append_own(
    connection: &Connection,
    event: Event,
) -> Result<(), StoreError> {
    let epoch = meta::journal_epoch(connection)?;
    let own = (CONTROLLER, epoch.as_str());
    let journal = journals::find_or_make(connection, own, None)?;
    let now_ms = event.at_ms;
    let record = EventRecord::after(journal.last_seq, &journal.chain, event);
    append(connection, own, None, &[record], now_ms)?;
    Ok(())
}

/// The id and the chain value of the newest event; 0 and 32 zero bytes before the first. Whoever asks
/// is the only one who writes.
fn head(connection: &Connection) -> Result<(i64, [u8; 32]), StoreError> {
    let head = connection
        .prepare_cached("SELECT id, log_chain FROM events ORDER BY id DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(head.unwrap_or((0, [0; 32])))
}

const INSERT_V1: &str = "\
    INSERT INTO events (id, journal, host, seq, body, chain, chain_version, stored_at_ms, log_chain,
                        flaw, at_ms, kind, user, key, stanza, generation, source, opened,
                        replay_digest, grant_id)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)";
const INSERT: &str = "\
    INSERT INTO events (id, journal, host, seq, body, chain, chain_version, stored_at_ms, log_chain,
                        flaw, at_ms, kind, user, key, stanza, generation, source, opened,
                        replay_digest, grant_id, log_version)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20,
            2)";

/// Writes one row. `place` says where, `columns` what is searched.
pub(super) fn insert(
    connection: &Connection,
    place: &Place,
    record: &EventRecord,
    columns: &Columns,
) -> Result<(), Error> {
    let Place {
        id,
        journal,
        host,
        stored_at_ms,
        log_chain,
        log_version,
    } = place;
    let Columns { event, flaws } = columns;
    connection
        .prepare_cached(match log_version {
            // What is moved while the schema has no such column yet.
            LogVersion::V1 => INSERT_V1,
            LogVersion::V2 => INSERT,
        })?
        .execute(params![
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
            searched_key(&event.user),
            searched_key(&event.key),
            searched_key(&event.stanza),
            signed(event.generation),
            address_key(&event.source),
            address_key(&event.opened),
            hex_key(&event.replay_digest),
            hex_key(&event.grant_id),
        ])?;
    Ok(())
}

/// Whether an event that is stored is found by each block of addresses and ports that it names.
pub(super) fn has_blocks(connection: &Connection, event: &Event, id: i64) -> Result<bool, Error> {
    let mut find = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM event_blocks
                        WHERE block = ?1 AND at_ms = ?2 AND event = ?3)",
    )?;
    for block in blocks(event) {
        let found: bool =
            find.query_row(params![block, signed(event.at_ms), id], |row| row.get(0))?;
        if !found {
            return Ok(false);
        }
    }
    Ok(true)
}

/// One row for each port, so that the auditor's usual question is one look-up.
pub(super) fn insert_ports(
    connection: &Connection,
    host: i64,
    event: &Event,
    id: i64,
) -> Result<(), Error> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO event_ports (host, port, at_ms, event, kind)
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
    )?;
    let at_ms = signed(event.at_ms);
    // Those of a long range are found by its blocks.
    let each = ports(event);
    let each = each.spelled_out().map(|port| port.to_string());
    for port in each.filter_map(|port| port.parse().ok()) {
        insert.execute(params![host, port_key(port), at_ms, id, event.kind])?;
    }
    Ok(())
}

/// Removes what [`insert_ports`] wrote.
pub(super) fn remove_ports(
    connection: &Connection,
    host: i64,
    event: &Event,
    id: i64,
) -> Result<(), Error> {
    let at_ms = signed(event.at_ms);
    let mut remove = connection.prepare_cached(
        "DELETE FROM event_ports WHERE host = ?1 AND port = ?2 AND at_ms = ?3 AND event = ?4",
    )?;
    let each = ports(event);
    let each = each.spelled_out().map(|port| port.to_string());
    for port in each.filter_map(|port| port.parse().ok()) {
        remove.execute(params![host, port_key(port), at_ms, id])?;
    }
    Ok(())
}

/// Whether an event that is stored is found by each of its ports.
pub(super) fn has_ports(
    connection: &Connection,
    host: i64,
    event: &Event,
    id: i64,
) -> Result<bool, Error> {
    let at_ms = signed(event.at_ms);
    let mut find = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM event_ports
                        WHERE host = ?1 AND port = ?2 AND at_ms = ?3 AND event = ?4)",
    )?;
    let each = ports(event);
    let each = each.spelled_out().map(|port| port.to_string());
    for port in each.filter_map(|port| port.parse().ok()) {
        let found: bool =
            find.query_row(params![host, port_key(port), at_ms, id], |row| row.get(0))?;
        if !found {
            return Ok(false);
        }
    }
    Ok(true)
}

/// One row for each block of what is more than one address or port.
pub(super) fn insert_blocks(connection: &Connection, event: &Event, id: i64) -> Result<(), Error> {
    let blocks = blocks(event);
    if blocks.is_empty() {
        return Ok(());
    }
    let mut insert = connection.prepare_cached(
        "INSERT INTO event_blocks (block, at_ms, event) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
    )?;
    for block in blocks {
        insert.execute(params![block, signed(event.at_ms), id])?;
    }
    Ok(())
}

fn blocks(event: &Event) -> BTreeSet<Vec<u8>> {
    let also = event.also_opened.iter();
    let also = also.filter_map(|text| network(text));
    // A single address is found by its own column.
    let opened = network(&event.opened).filter(|_| event.opened.contains('/'));
    let mut blocks: BTreeSet<Vec<u8>> = opened.into_iter().chain(also).map(network_block).collect();
    for long in ports(event).spelled_out() {
        if let Service::Ports(range) = long
            && range.count() > 1
        {
            blocks.extend(range_blocks(range));
        }
    }
    blocks
}

fn ports(event: &Event) -> PortSet {
    let services = event.ports.iter();
    let services = services.filter_map(|text| text.parse::<Service>().ok());
    services.collect()
}

/// An address or a network, as events name them.
fn network(text: &str) -> Option<IpNet> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address.ok().or_else(|| text.parse().ok())
}
