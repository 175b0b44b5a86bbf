//! What hosts last said of themselves.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};

use super::signed;
use crate::error::Error;

/// A host's own word, and when it was last heard.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct HostState {
    pub(crate) applied_generation: u64,
    pub(crate) applied_digest: Vec<u8>,
    /// Why the last policy was not applied; empty when it was.
    pub(crate) rejected: Vec<String>,
    /// How the firewall differs from what it should be; empty when it does not.
    pub(crate) drift: String,
    pub(crate) agent_version: String,
    pub(crate) last_seen_ms: u64,
}

/// A host that has joined and said nothing yet.
pub(crate) fn insert(connection: &Connection, member: u64) -> Result<(), Error> {
    connection
        .prepare_cached("INSERT INTO host_states (member) VALUES (?1)")?
        .execute([signed(member)])?;
    Ok(())
}

/// A host's acknowledgement. A rejected policy is not an applied one: the last applied stays.
pub(crate) fn acknowledge(
    connection: &Connection,
    member: u64,
    state: &HostState,
) -> Result<(), Error> {
    connection
        .prepare_cached(
            "UPDATE host_states SET
                applied_generation = iif(?4 = '', ?2, applied_generation),
                applied_digest = iif(?4 = '', ?3, applied_digest),
                rejected = ?4, drift = ?5, last_seen_ms = ?6
             WHERE member = ?1",
        )?
        .execute(params![
            signed(member),
            signed(state.applied_generation),
            state.applied_digest,
            state.rejected.join("\n"),
            state.drift,
            signed(state.last_seen_ms),
        ])?;
    Ok(())
}

/// A host that opens its session says its version.
pub(crate) fn connected(
    connection: &Connection,
    member: u64,
    agent_version: &str,
    now_ms: u64,
) -> Result<(), Error> {
    connection
        .prepare_cached(
            "UPDATE host_states SET agent_version = ?2, last_seen_ms = ?3 WHERE member = ?1",
        )?
        .execute(params![signed(member), agent_version, signed(now_ms)])?;
    Ok(())
}

pub(crate) fn seen(connection: &Connection, member: u64, now_ms: u64) -> Result<(), Error> {
    connection
        .prepare_cached("UPDATE host_states SET last_seen_ms = ?2 WHERE member = ?1")?
        .execute(params![signed(member), signed(now_ms)])?;
    Ok(())
}

/// Every host's state by member id.
pub(crate) fn states(connection: &Connection) -> Result<BTreeMap<u64, HostState>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT member, applied_generation, applied_digest, rejected, drift, agent_version,
                last_seen_ms
         FROM host_states",
    )?;
    let states = statement.query_map([], |row| Ok((row.get(0)?, read(row)?)))?;
    Ok(states.collect::<Result<_, _>>()?)
}

fn read(row: &Row<'_>) -> Result<HostState, rusqlite::Error> {
    let rejected: String = row.get(3)?;
    Ok(HostState {
        applied_generation: row.get(1)?,
        applied_digest: row.get(2)?,
        rejected: rejected.lines().map(str::to_owned).collect(),
        drift: row.get(4)?,
        agent_version: row.get(5)?,
        last_seen_ms: row.get(6)?,
    })
}
