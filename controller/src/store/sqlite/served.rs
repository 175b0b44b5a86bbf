//! What a start reads, read by the functions that a start uses, and what the log says must be there. A database
//! that `check` calls sound is one that `serve` can serve, and of which nothing has gone that can be told.

use fleet::EventKind;

use super::number::signed;
use super::{checkpoints, claims, hosts, members, meta, policies, recorded, rows, sessions};
use crate::store::error::StoreError;
use crate::store::model::{CONTROLLER, Member};
use crate::store::seal::SealKey;
use crate::store::sql::{Connection, params};

/// What is wrong, by what it is of.
pub(super) type Faults = Vec<(&'static str, String)>;

/// Looks at everything.
pub(super) fn look(connection: &Connection, seal: &SealKey) -> Result<Faults, StoreError> {
    let mut faults = of_rows(connection)?;
    let mut say = |what, found: Result<(), StoreError>| {
        // That a row is not ours is said by its name already.
        let is_said = matches!(found, Err(StoreError::Altered { .. }));
        if let Err(error) = found
            && !is_said
        {
            faults.push((what, program::one_line(&error).to_string()));
        }
    };
    say("fleet", meta::fleet_state(connection).map(drop));
    say("fleet", meta::journal_epoch(connection).map(drop));
    say("fleet", meta::known_since(connection));
    let all = members::all(connection);
    say("members", members::highest_key(connection).map(drop));
    say("members", members::all_departed(connection).map(drop));
    say("claims", claims::by_host(connection).map(drop));
    say("hosts", hosts::states(connection).map(drop));
    say("policies", policies_open(connection, seal));
    match all {
        Ok(all) => faults.extend(of_members(connection, &all)?),
        Err(error) => faults.push(("members", program::one_line(&error).to_string())),
    }
    faults.extend(of_log(connection)?);
    Ok(faults)
}

/// Rows that something else than the controller has written, or put back to what they once were.
fn of_rows(connection: &Connection) -> Result<Faults, StoreError> {
    let mut faults = Faults::new();
    for (table, row) in rows::altered(connection)? {
        let to_do = match table {
            "members" | "member_keys" | "former_names" => {
                "it is refused as a locked one is; remove that member and let it join again"
            }
            "tokens" => "nobody joins by it; make another",
            "departed_users" | "policies" => {
                "it decides nothing; `postern audit list` says what was so"
            }
            _ => "the controller does not use it; restore a backup of before",
        };
        faults.push((
            "rows",
            format!("{table} {row}: changed by something else than the controller; {to_do}"),
        ));
    }
    for words in recorded::disagreements(connection)? {
        faults.push((
            "rows",
            format!(
                "{words}: the database was put back in part; do again what the log says, or restore a \
                 backup whole"
            ),
        ));
    }
    Ok(faults)
}

/// Whether every text of before can be read.
fn policies_open(connection: &Connection, seal: &SealKey) -> Result<(), StoreError> {
    // The one in force is looked at by itself.
    let mut statement = connection.prepare(
        "SELECT generation FROM policies WHERE generation < (SELECT max(generation) FROM policies)",
    )?;
    let generations: Result<Vec<i64>, _> = statement.query_map([], |row| row.get(0))?.collect();
    for generation in generations? {
        policies::text(connection, seal, generation.cast_unsigned())?;
    }
    Ok(())
}

/// Members whose role is not that of the token by which they joined, and hosts whose pass is gone.
fn of_members(connection: &Connection, all: &[Member]) -> Result<Faults, StoreError> {
    let mut faults = Faults::new();
    // Operators of before are owners since the schema that knows owners. By the member and not by the key:
    // keys are rotated, and the member stays.
    let sql = format!(
        "SELECT m.name, m.role, t.role, {}, {} FROM members m JOIN tokens t ON t.member = m.id
         WHERE t.redeemed_at_ms IS NOT NULL AND t.role <> m.role
             AND NOT (t.role = 'operator' AND m.role = 'owner' AND t.scope = '{{}}')",
        rows::MEMBERS.good(connection, "m"),
        rows::TOKENS.good(connection, "t")
    );
    let mut statement = connection.prepare(&sql)?;
    let edited = statement.query_map([], |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, String>(2)?,
            row.get::<_, bool>(3)? && row.get::<_, bool>(4)?,
        ))
    })?;
    for row in edited {
        let (name, is, was, is_ours) = row?;
        let words = format!("{name} is {is}, and joined by a token for {was}");
        if is_ours && !faults.contains(&("members", words.clone())) {
            faults.push(("members", words));
        }
    }
    for member in all {
        if let Err(error) = sessions::lineage(connection, member.id) {
            faults.push((
                "passes",
                format!("{}: {}", member.name, program::one_line(&error)),
            ));
        }
    }
    let mut statement = connection.prepare(
        "SELECT m.name FROM members m JOIN host_states s ON s.member = m.id
         WHERE s.contract LIKE '%session-pass%' AND s.last_seen_ms > 0
             AND NOT EXISTS (SELECT 1 FROM host_passes p WHERE p.member = m.id)
         ORDER BY m.name",
    )?;
    let names: Result<Vec<String>, _> = statement.query_map([], |row| row.get(0))?.collect();
    let names = names?;
    if !names.is_empty() {
        let words = format!(
            "{} had a session and has no pass: a copy of it would not be noticed",
            program::few::names(&names)
        );
        faults.push(("passes", words));
    }
    Ok(faults)
}

/// What the log says that there was, and what was signed.
fn of_log(connection: &Connection) -> Result<Faults, StoreError> {
    let mut faults = Faults::new();
    let own = "FROM events e JOIN event_hosts h ON h.id = e.host WHERE h.name = ?1 AND e.kind = ?2";
    let missing: Option<i64> = connection
        .prepare(&format!(
            "SELECT max(e.generation) {own} AND e.generation > 0
             AND NOT EXISTS (SELECT 1 FROM policies p WHERE p.generation = e.generation)"
        ))?
        .query_row(
            params![CONTROLLER, i32::from(EventKind::PolicyApplied)],
            |row| row.get(0),
        )?;
    if let Some(generation) = missing {
        let words =
            format!("generation {generation} was applied, as the log says, and is not there");
        faults.push(("policies", words));
    }
    let recorded: i64 = connection
        .prepare(&format!("SELECT count(*) {own}"))?
        .query_row(
            params![CONTROLLER, i32::from(EventKind::AuditConflict)],
            |row| row.get(0),
        )?;
    if recorded > 0 && checkpoints::conflicts(connection)?.0 == 0 {
        let words = format!("the log has {recorded} conflicts, and their evidence is not there");
        faults.push(("audit conflicts", words));
    }
    let signed_size = rows::unless_altered(meta::signed_size(connection))?.unwrap_or(0);
    let (count, newest): (i64, Option<i64>) = connection
        .prepare("SELECT count(*), max(size) FROM checkpoints")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if newest.unwrap_or(0) < signed(signed_size) {
        let words =
            format!("record {signed_size} was signed, and the newest checkpoints are not there");
        faults.push(("checkpoints", words));
    }
    if count > 0 && checkpoints::newest_key(connection)?.is_none() {
        let words = format!("{count} checkpoints were signed, and the key that signs is not there");
        faults.push(("audit key", words));
    }
    Ok(faults)
}
