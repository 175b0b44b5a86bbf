//! What was found wrong with hosts: an event of the controller's own, and a count that is shown with
//! the host.

use std::collections::BTreeMap;

use fleet::EventKind;

use super::events;
use super::number::signed;
use crate::store::error::StoreError;
use crate::store::model::{Alarm, Origin};
use crate::store::sql::{Connection, Error, Row, params};

/// Records an alarm about a member.
pub(in crate::store) fn raise(
    connection: &Connection,
    member: u64,
    (kind, reason): (EventKind, &str),
    found: &Origin,
    now_ms: u64,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO host_alarms (member, kind, count, last_ms, reason)
             VALUES (?1, ?2, 1, ?3, ?4)
             ON CONFLICT (member, kind) DO UPDATE SET
                count = host_alarms.count + 1, last_ms = excluded.last_ms, reason = excluded.reason",
        )?
        .execute(params![
            signed(member),
            i32::from(kind),
            signed(now_ms),
            reason
        ])?;
    let mut event = found.clone().done(kind, now_ms);
    reason.clone_into(&mut event.reason);
    events::append_own(connection, event)
}

/// When an alarm of this kind was last raised about a member; 0 for never.
pub(super) fn last_ms(
    connection: &Connection,
    member: u64,
    kind: EventKind,
) -> Result<u64, StoreError> {
    let last: Option<u64> = connection
        .prepare_cached("SELECT max(last_ms) FROM host_alarms WHERE member = ?1 AND kind = ?2")?
        .query_row(params![signed(member), i32::from(kind)], |row| row.get(0))?;
    Ok(last.unwrap_or(0))
}

/// All alarms of one member since `since_ms`.
pub(in crate::store) fn of_since(
    connection: &Connection,
    member: u64,
    since_ms: u64,
) -> Result<Vec<Alarm>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT member, count, last_ms, reason FROM host_alarms
         WHERE member = ?1 AND last_ms >= ?2 ORDER BY kind",
    )?;
    let alarms = statement.query_map([signed(member), signed(since_ms)], read)?;
    Ok(alarms.collect::<Result<_, _>>()?)
}

fn read(row: &Row<'_>) -> Result<Alarm, Error> {
    Ok(Alarm {
        count: row.get(1)?,
        last_ms: row.get(2)?,
        reason: row.get(3)?,
    })
}

/// All alarms since `since_ms`, by member.
pub(in crate::store) fn since(
    connection: &Connection,
    since_ms: u64,
) -> Result<BTreeMap<u64, Vec<Alarm>>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT member, count, last_ms, reason FROM host_alarms
         WHERE last_ms >= ?1 ORDER BY member, kind",
    )?;
    let mut alarms: BTreeMap<u64, Vec<Alarm>> = BTreeMap::new();
    let mut rows = statement.query([signed(since_ms)])?;
    while let Some(row) = rows.next()? {
        alarms.entry(row.get(0)?).or_default().push(read(&row)?);
    }
    Ok(alarms)
}
