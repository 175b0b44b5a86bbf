//! What hosts last said of themselves.

use std::collections::{BTreeMap, BTreeSet};

use fleet::Contract;

use super::leases;
use super::number::signed;
use crate::store::error::StoreError;
use crate::store::jobs::{Lot, Sets, Together};
use crate::store::model::{Acknowledged, Acknowledgement, HostSeen, HostState, HostWord, Opening};
use crate::store::sql::{Connection, Error, OptionalExtension as _, Row, Set, params};

const STATES: &str = "\
    SELECT member, applied_generation, applied_digest, rejected, drift, agent_version,
           last_seen_ms, audit_fault, protected_ports, own_protected_ports, warnings,
           floor_secs, clock_offset_ms, commands, backend, grants_open, contract
    FROM host_states";
const SEEN: &str = "UPDATE host_states SET last_seen_ms = ?2 WHERE member = ?1";
const SEEN_MEANWHILE: &str =
    "UPDATE host_states SET last_seen_ms = ?2 WHERE member = ?1 AND last_seen_ms < ?2";

/// A host that has joined and said nothing yet.
pub(super) fn insert(connection: &Connection, members: &[u64]) -> Result<(), StoreError> {
    let mut inserted = Set::default();
    for member in members {
        inserted.push([signed(*member)])?;
    }
    connection
        .prepare_cached("INSERT INTO host_states (member) VALUES (?1)")?
        .execute_each(&inserted)?;
    Ok(())
}

/// What hosts acknowledge at one time is noted in one go. A rejected policy is not an applied one: the last
/// applied stays.
impl Together for Acknowledged {
    type Outcome = ();

    fn among(sets: &mut Sets) -> &mut Lot<Self> {
        &mut sets.acknowledged
    }

    fn all(connection: &Connection, several: &[Self]) -> Result<Vec<()>, StoreError> {
        let mut rest = several;
        while !rest.is_empty() {
            // What a host says twice is noted twice: the second may leave something of the first.
            let mut hosts = BTreeSet::new();
            let once = rest.iter().take_while(|it| hosts.insert(it.host)).count();
            let (now, later) = rest.split_at(once);
            note(connection, now)?;
            rest = later;
        }
        Ok(vec![(); several.len()])
    }
}

/// Notes what several hosts acknowledge, each once.
fn note(connection: &Connection, several: &[Acknowledged]) -> Result<(), StoreError> {
    let mut rows = Set::default();
    for acknowledged in several {
        push(&mut rows, acknowledged)?;
    }
    connection
        .prepare_cached(
            "UPDATE host_states SET
                applied_generation = CASE WHEN ?4 = '' THEN ?2 ELSE applied_generation END,
                applied_digest = CASE WHEN ?4 = '' THEN ?3 ELSE applied_digest END,
                rejected = ?4, drift = ?5, last_seen_ms = ?6, audit_fault = ?7,
                protected_ports = ?8, own_protected_ports = ?9, warnings = ?10, floor_secs = ?11,
                clock_offset_ms = ?12, commands = ?13, backend = ?14, grants_open = ?15
             WHERE member = ?1",
        )?
        .execute_each(&rows)?;
    leases::set_all(connection, several)
}

/// The row of one acknowledgement.
fn push(rows: &mut Set, acknowledged: &Acknowledged) -> Result<(), StoreError> {
    let Acknowledgement {
        generation,
        digest,
        rejected,
        drift,
        audit_fault,
        word,
    } = acknowledged.acknowledgement.as_ref();
    let HostWord {
        protected_ports,
        own_protected_ports,
        warnings,
        floor_secs,
        clock_offset_ms,
        commands,
        backend,
        grants_open,
    } = word;
    rows.push(params![
        signed(acknowledged.host),
        signed(*generation),
        digest,
        rejected.join("\n"),
        drift,
        signed(acknowledged.now_ms),
        audit_fault,
        protected_ports.join("\n"),
        own_protected_ports.join("\n"),
        warnings.join("\n"),
        signed(*floor_secs),
        clock_offset_ms,
        commands,
        backend,
        grants_open,
    ])?;
    Ok(())
}

/// Hosts that open their sessions, each once, say their versions, and what they can do.
pub(super) fn connected(
    connection: &Connection,
    several: &[(u64, &Opening, u64)],
) -> Result<(), StoreError> {
    let mut rows = Set::default();
    for (member, opening, now_ms) in several {
        let contract = opening.contract.as_ref().map(Contract::to_string);
        let version = &opening.agent_version;
        rows.push(params![signed(*member), version, signed(*now_ms), contract])?;
    }
    connection
        .prepare_cached(
            "UPDATE host_states SET agent_version = ?2, last_seen_ms = ?3, contract = ?4
             WHERE member = ?1",
        )?
        .execute_each(&rows)?;
    Ok(())
}

/// Hosts that were heard.
impl Together for HostSeen {
    type Outcome = ();

    fn among(sets: &mut Sets) -> &mut Lot<Self> {
        &mut sets.seen
    }

    fn all(connection: &Connection, several: &[Self]) -> Result<Vec<()>, StoreError> {
        let seen = several.iter().map(|seen| (seen.host, seen.now_ms));
        all_seen(connection, seen.collect())?;
        Ok(vec![(); several.len()])
    }
}

/// Hosts were heard; one that is there twice was seen when it says so last.
pub(super) fn all_seen(
    connection: &Connection,
    seen: BTreeMap<u64, u64>,
) -> Result<(), StoreError> {
    note_seen(connection, SEEN, seen)
}

/// Hosts were heard a while ago: what was written of them since is newer.
pub(in crate::store) fn seen_meanwhile(
    connection: &Connection,
    seen: BTreeMap<u64, u64>,
) -> Result<(), StoreError> {
    note_seen(connection, SEEN_MEANWHILE, seen)
}

fn note_seen(
    connection: &Connection,
    statement: &str,
    seen: BTreeMap<u64, u64>,
) -> Result<(), StoreError> {
    let mut rows = Set::default();
    for (member, at_ms) in seen {
        rows.push(params![signed(member), signed(at_ms)])?;
    }
    connection.prepare_cached(statement)?.execute_each(&rows)?;
    Ok(())
}

/// One host's state.
pub(in crate::store) fn state(
    connection: &Connection,
    member: u64,
) -> Result<Option<HostState>, StoreError> {
    let state = connection
        .prepare_cached(&format!("{STATES} WHERE member = ?1"))?
        .query_row([signed(member)], read)
        .optional()?;
    Ok(state)
}

/// Every host's state by member id.
pub(in crate::store) fn states(
    connection: &Connection,
) -> Result<BTreeMap<u64, HostState>, StoreError> {
    let mut statement = connection.prepare_cached(STATES)?;
    let states = statement.query_map([], |row| Ok((row.get(0)?, read(row)?)))?;
    Ok(states.collect::<Result<_, _>>()?)
}

fn read(row: &Row<'_>) -> Result<HostState, Error> {
    let lines = |column| -> Result<Vec<String>, Error> {
        let text: String = row.get(column)?;
        Ok(text.lines().map(str::to_owned).collect())
    };
    let contract: Option<String> = row.get(16)?;
    Ok(HostState {
        applied_generation: row.get(1)?,
        applied_digest: row.get(2)?,
        rejected: lines(3)?,
        drift: row.get(4)?,
        agent_version: row.get(5)?,
        contract: contract.map(|said| Contract::of_header(Some(&said))),
        last_seen_ms: row.get(6)?,
        audit_fault: row.get(7)?,
        word: HostWord {
            protected_ports: lines(8)?,
            own_protected_ports: lines(9)?,
            warnings: lines(10)?,
            floor_secs: row.get::<_, i64>(11)?.cast_unsigned(),
            clock_offset_ms: row.get(12)?,
            commands: row.get(13)?,
            backend: row.get(14)?,
            grants_open: row.get(15)?,
        },
    })
}
