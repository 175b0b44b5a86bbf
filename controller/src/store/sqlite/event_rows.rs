//! The rows of one event: itself, and what it is found by.

use std::collections::BTreeSet;
use std::net::IpAddr;

use fleet::event::{Event, EventRecord};
use ipnet::IpNet;
use policy::PortSet;
use spa::Service;

use super::columns::{
    Columns, address_key, hex_key, network_block, port_key, range_blocks, searched_key, text_key,
};
use super::number::signed;
use crate::store::sql::{Connection, Error, Set, params};

/// Where in the log a record stands.
#[derive(Debug)]
pub(super) struct Place {
    /// One more than that of the record before it: there are no gaps.
    pub(super) id: i64,
    pub(super) journal: i64,
    pub(super) host: i64,
    pub(super) stored_at_ms: u64,
    pub(super) log_chain: [u8; 32],
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

/// Rows that are still to be written.
#[derive(Debug, Default)]
pub(super) struct EventRows {
    events: Set,
    ports: Set,
    blocks: Set,
}

/// What emptied events are found by of their ports and of more than one address or port: it is to be removed.
#[derive(Debug, Default)]
pub(super) struct Removed {
    ports: Set,
    blocks: Set,
}

// === impl EventRows ===

impl EventRows {
    /// Events among them.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Adds those of one event. `place` says where, `columns` what is searched.
    pub(super) fn push(
        &mut self,
        place: &Place,
        record: &EventRecord,
        columns: &Columns,
    ) -> Result<(), Error> {
        push_event(&mut self.events, place, record, columns)?;
        push_ports(&mut self.ports, place.host, &columns.event, place.id)?;
        push_blocks(&mut self.blocks, &columns.event, place.id)
    }

    /// Writes them, and is empty.
    pub(super) fn write(&mut self, connection: &Connection) -> Result<(), Error> {
        let Self {
            events,
            ports,
            blocks,
        } = std::mem::take(self);
        connection.prepare_cached(INSERT)?.execute_each(&events)?;
        write_ports(connection, &ports)?;
        write_blocks(connection, &blocks)
    }
}

/// Writes the row of an event of before, while the schema has no column for the version of its link.
pub(super) fn insert_v1(
    connection: &Connection,
    place: &Place,
    record: &EventRecord,
    columns: &Columns,
) -> Result<(), Error> {
    let mut rows = Set::default();
    push_event(&mut rows, place, record, columns)?;
    connection.prepare_cached(INSERT_V1)?.execute_each(&rows)
}

fn push_event(
    set: &mut Set,
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
    } = place;
    let Columns { event, flaws } = columns;
    set.push(params![
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
    ])
}

// === impl Removed ===

impl Removed {
    /// Adds those of one event.
    pub(super) fn push(&mut self, host: i64, event: &Event, id: i64) -> Result<(), Error> {
        for port in port_keys(event) {
            self.ports
                .push(params![host, port, signed(event.at_ms), id])?;
        }
        self.blocks.push(params![id])
    }

    /// Removes them, and is empty.
    pub(super) fn write(&mut self, connection: &Connection) -> Result<(), Error> {
        let Self { ports, blocks } = std::mem::take(self);
        connection
            .prepare_cached(
                "DELETE FROM event_ports WHERE host = ?1 AND port = ?2 AND at_ms = ?3 AND event = ?4",
            )?
            .execute_each(&ports)?;
        connection
            .prepare_cached("DELETE FROM event_blocks WHERE event = ?1")?
            .execute_each(&blocks)
    }
}

/// Writes what an event is found by.
pub(super) fn insert_found(
    connection: &Connection,
    host: i64,
    event: &Event,
    id: i64,
) -> Result<(), Error> {
    let (mut ports, mut blocks) = (Set::default(), Set::default());
    push_ports(&mut ports, host, event, id)?;
    push_blocks(&mut blocks, event, id)?;
    write_ports(connection, &ports)?;
    write_blocks(connection, &blocks)
}

/// One row for each port, so that the auditor's usual question is one look-up.
pub(super) fn push_ports(set: &mut Set, host: i64, event: &Event, id: i64) -> Result<(), Error> {
    let at_ms = signed(event.at_ms);
    for port in port_keys(event) {
        set.push(params![host, port, at_ms, id, event.kind])?;
    }
    Ok(())
}

/// Its single ports as they are kept: those of a long range are found by its blocks.
fn port_keys(event: &Event) -> Vec<i64> {
    let each = ports(event);
    let each = each.spelled_out().map(|port| port.to_string());
    each.filter_map(|port| port.parse().ok().map(port_key))
        .collect()
}

fn write_ports(connection: &Connection, ports: &Set) -> Result<(), Error> {
    connection
        .prepare_cached(
            "INSERT INTO event_ports (host, port, at_ms, event, kind)
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
        )?
        .execute_each(ports)
}

/// One row for each block of what is more than one address or port.
pub(super) fn push_blocks(set: &mut Set, event: &Event, id: i64) -> Result<(), Error> {
    for block in blocks(event) {
        set.push(params![block, signed(event.at_ms), id])?;
    }
    Ok(())
}

fn write_blocks(connection: &Connection, blocks: &Set) -> Result<(), Error> {
    connection
        .prepare_cached(
            "INSERT INTO event_blocks (block, at_ms, event) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        )?
        .execute_each(blocks)
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
