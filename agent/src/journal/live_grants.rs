//! Grants that are open, as rows: what a start needs to take over or to close what an earlier run
//! left, without reading it out of what was written for auditors.

use engine::{CycleStage, Rule};
use fleet::event::ChainVersion;
use fleet::{Event, EventRecord, GrantId};
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};

/// A grant whose closing has not been recorded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LiveGrant {
    pub id: GrantId,
    /// When its hole closes, in milliseconds since the Unix epoch.
    pub until_ms: u64,
    /// What it opens.
    pub rules: Vec<Rule>,
}

/// A grant that an earlier run opened, with the event that says so.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundGrant {
    pub grant: LiveGrant,
    pub opened: Event,
    /// Whether the closing of its hole has been recorded: it lives on in connections, or did.
    pub is_closed: bool,
    /// Whether its user wants its connections ended, of which some may be somebody else's.
    pub is_given_up: bool,
    /// Of a command cycle: what closes it, and how far it is.
    pub cycle: Option<(String, CycleStage)>,
}

/// Bits of the column `is_closed`, which a version before takes for closed when it is not 0.
const CLOSED: i64 = 1;
const GIVEN_UP: i64 = 2;

/// What an event says that is open.
#[derive(Debug)]
pub(super) enum Opened {
    /// A grant from now on.
    New(LiveGrant),
    /// A grant that was open before.
    Again { id: GrantId, until_ms: u64 },
}

pub(super) fn insert(
    connection: &Connection,
    grant: &LiveGrant,
    opened: &[u8],
) -> rusqlite::Result<()> {
    let LiveGrant {
        id,
        until_ms,
        rules,
    } = grant;
    let rules: Vec<String> = rules.iter().map(ToString::to_string).collect();
    connection
        .prepare_cached(
            "INSERT INTO live_grant (grant_id, until_ms, rules, opened) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            id.0.as_slice(),
            until_ms.cast_signed(),
            rules.join("\n"),
            opened
        ])?;
    Ok(())
}

/// It is open until another moment, as this event says.
pub(super) fn extend(
    connection: &Connection,
    id: GrantId,
    until_ms: u64,
    opened: &[u8],
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE live_grant SET until_ms = ?2, opened = ?3 WHERE grant_id = ?1")?
        .execute(params![id.0.as_slice(), until_ms.cast_signed(), opened])?;
    Ok(())
}

/// The closing of its hole is recorded, and it stays.
pub(super) fn close(connection: &Connection, id: GrantId) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE live_grant SET is_closed = is_closed | ?2 WHERE grant_id = ?1")?
        .execute(params![id.0.as_slice(), CLOSED])?;
    Ok(())
}

/// Its user wants its connections ended.
pub(super) fn give_up(connection: &Connection, id: GrantId) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE live_grant SET is_closed = is_closed | ?2 WHERE grant_id = ?1")?
        .execute(params![id.0.as_slice(), GIVEN_UP])?;
    Ok(())
}

/// This grant is a command cycle, which opens.
pub(super) fn insert_cycle(
    connection: &Connection,
    id: GrantId,
    close: &str,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO cycle (grant_id, close, stage) VALUES (?1, ?2, 0)")?
        .execute(params![id.0.as_slice(), close])?;
    Ok(())
}

/// Takes a command cycle over from another journal.
pub(super) fn restore_cycle(connection: &Connection, found: &FoundGrant) -> rusqlite::Result<()> {
    let Some((close, stage)) = &found.cycle else {
        return Ok(());
    };
    let opened = EventRecord::chained(ChainVersion::V2, 0, &[0; 32], found.opened.clone());
    insert(connection, &found.grant, &opened.body)?;
    insert_cycle(connection, found.grant.id, close)?;
    note_cycle_stage(connection, found.grant.id, *stage)
}

pub(super) fn note_cycle_stage(
    connection: &Connection,
    id: GrantId,
    stage: CycleStage,
) -> rusqlite::Result<()> {
    let stage = match stage {
        CycleStage::Opening => 0,
        CycleStage::Open => 1,
        CycleStage::Closing => 2,
    };
    connection
        .prepare_cached("UPDATE cycle SET stage = ?2 WHERE grant_id = ?1")?
        .execute(params![id.0.as_slice(), stage])?;
    Ok(())
}

pub(super) fn remove(connection: &Connection, id: GrantId) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM cycle WHERE grant_id = ?1")?
        .execute([id.0.as_slice()])?;
    connection
        .prepare_cached("DELETE FROM live_grant WHERE grant_id = ?1")?
        .execute([id.0.as_slice()])?;
    Ok(())
}

/// All of them; those of one run of the agent in the order in which they were given.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<FoundGrant>> {
    connection
        .prepare("SELECT * FROM live_grant LEFT JOIN cycle USING (grant_id) ORDER BY grant_id")?
        .query_map([], of_row)?
        .collect()
}

fn of_row(row: &Row<'_>) -> rusqlite::Result<FoundGrant> {
    let rules: String = row.get("rules")?;
    let opened: Vec<u8> = row.get("opened")?;
    let grant = LiveGrant {
        id: GrantId(row.get("grant_id")?),
        until_ms: row.get::<_, i64>("until_ms")?.cast_unsigned(),
        rules: rules
            .lines()
            .map(|rule| rule.parse().map_err(damaged))
            .collect::<rusqlite::Result<_>>()?,
    };
    let opened = Event::from_body(&opened).map_err(damaged)?;
    let bits: i64 = row.get("is_closed")?;
    let close: Option<String> = row.get("close")?;
    let stage = match row.get::<_, Option<i64>>("stage")? {
        Some(0) => CycleStage::Opening,
        Some(1) | None => CycleStage::Open,
        // Whatever else stands there: it may not have closed.
        Some(_) => CycleStage::Closing,
    };
    Ok(FoundGrant {
        grant,
        opened,
        cycle: close.map(|close| (close, stage)),
        is_closed: bits & CLOSED != 0,
        is_given_up: bits & GIVEN_UP != 0,
    })
}

/// What stands in a row is not what was written there.
pub(super) fn damaged(cause: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(cause))
}
