//! What several controllers over one database tell each other: who runs, where hosts are and what they have heard, what
//! was claimed. Whoever follows asks for the newest numbers in one small statement, and reads what is higher than what it
//! has read before.
//!
//! Only over PostgreSQL: with SQLite there is one controller.

use super::claims;
use super::number::signed;
use crate::store::error::StoreError;
use crate::store::model::{
    Claim, ControllerFacts, ControllerSaid, HostAt, HostPushed as Pushed, HostSaid, Look,
};
use crate::store::sql::{Connection, Dialect, OptionalExtension as _, params};

/// Hosts in one statement at most.
const TOGETHER: usize = 10_000;

/// See `Store::whats_new`.
pub(in crate::store) fn look(connection: &Connection) -> Result<Look, StoreError> {
    let sql = match connection.dialect() {
        Dialect::Sqlite => {
            "SELECT coalesce((SELECT max(id) FROM events), 0), 0, 0, '',
                    coalesce((SELECT max(number) FROM member_changes), 0), 0"
        }
        Dialect::Postgres => {
            "SELECT coalesce((SELECT max(id) FROM events), 0),
                    coalesce((SELECT max(number) FROM host_sessions), 0),
                    coalesce((SELECT max(position) FROM claims WHERE position IS NOT NULL), 0),
                    coalesce((SELECT string_agg(concat(id, ' ', beat), ',') FROM controllers), ''),
                    coalesce((SELECT max(number) FROM member_changes), 0),
                    coalesce((SELECT CAST(CAST(xmin AS text) AS bigint) FROM meta
                              WHERE key = 'authority_states'), 0)"
        }
    };
    let look = connection.prepare_cached(sql)?.query_row([], |row| {
        let controllers: String = row.get(3)?;
        Ok(Look {
            record: row.get(0)?,
            hosts: row.get(1)?,
            claims: row.get(2)?,
            members: row.get(4)?,
            authority: row.get(5)?,
            controllers: controllers.split(',').filter_map(pair).collect(),
        })
    })?;
    Ok(look)
}

fn pair(text: &str) -> Option<(u64, u64)> {
    let (id, beat) = text.split_once(' ')?;
    Some((id.parse().ok()?, beat.parse().ok()?))
}

/// See `Store::begin_among_others`. A run of before under the same name is none of those that run any more.
pub(in crate::store) fn begin(
    connection: &Connection,
    name: &str,
    facts: &ControllerFacts,
) -> Result<u64, StoreError> {
    let ControllerFacts {
        address,
        version,
        since_ms,
    } = facts;
    connection
        .prepare_cached("DELETE FROM controllers WHERE name = ?1")?
        .execute([name])?;
    let id = connection
        .prepare_cached(
            "INSERT INTO controllers (name, beat, address, version, since_ms)
             VALUES (?1, 0, ?2, ?3, ?4) RETURNING id",
        )?
        .query_row(params![name, address, version, signed(*since_ms)], |row| {
            row.get(0)
        })?;
    Ok(id)
}

/// See `Store::say_alive`. Whoever was thought dead meanwhile is there again.
pub(in crate::store) fn beat(
    connection: &Connection,
    (id, name): (u64, &str),
    facts: &ControllerFacts,
) -> Result<(), StoreError> {
    let ControllerFacts {
        address,
        version,
        since_ms,
    } = facts;
    connection
        .prepare_cached(
            "INSERT INTO controllers (id, name, beat, address, version, since_ms)
             VALUES (?1, ?2, 1, ?3, ?4, ?5)
             ON CONFLICT (id) DO UPDATE SET beat = controllers.beat + 1",
        )?
        .execute(params![
            signed(id),
            name,
            address,
            version,
            signed(*since_ms)
        ])?;
    Ok(())
}

/// See `Store::controllers`.
pub(in crate::store) fn all(connection: &Connection) -> Result<Vec<ControllerSaid>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, address, version, since_ms FROM controllers ORDER BY address, id",
    )?;
    let controllers = statement.query_map([], |row| {
        Ok(ControllerSaid {
            id: row.get(0)?,
            facts: ControllerFacts {
                address: row.get(1)?,
                version: row.get(2)?,
                since_ms: row.get(3)?,
            },
        })
    })?;
    Ok(controllers.collect::<Result<_, _>>()?)
}

/// See `Store::end_among_others`.
pub(in crate::store) fn end(connection: &Connection, id: u64) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM controllers WHERE id = ?1")?
        .execute([signed(id)])?;
    Ok(())
}

/// See `Store::forget_dead`.
pub(in crate::store) fn forget_dead(
    connection: &Connection,
    (id, beat): (u64, u64),
) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM controllers WHERE id = ?1 AND beat = ?2")?
        .execute([signed(id), signed(beat)])?;
    Ok(())
}

/// See `Store::say_hosts`. Who is here is here, whoever had it before; who has gone is only said to be nowhere where no
/// other has it since. Members that were removed meanwhile are left out.
pub(in crate::store) fn say_hosts(
    connection: &Connection,
    id: u64,
    said: &[HostSaid],
) -> Result<(), StoreError> {
    let mut come = connection.prepare_cached(
        "INSERT INTO host_sessions (member, controller, heard)
         SELECT s.member, CAST(?1 AS bigint), s.heard
         FROM unnest(CAST(string_to_array(?2, ',') AS bigint[]),
                     CAST(string_to_array(?3, ',') AS bigint[])) AS s (member, heard)
         JOIN members m ON m.id = s.member
         ON CONFLICT (member) DO UPDATE SET controller = excluded.controller,
             heard = excluded.heard, number = excluded.number",
    )?;
    let mut gone = connection.prepare_cached(
        "UPDATE host_sessions SET controller = 0, number = nextval('host_numbers')
         WHERE controller = ?1 AND member = ANY (CAST(string_to_array(?2, ',') AS bigint[]))",
    )?;
    for said in said.chunks(TOGETHER) {
        let (here, away): (Vec<&HostSaid>, Vec<&HostSaid>) =
            said.iter().partition(|host| host.is_here);
        if !here.is_empty() {
            let members = list(here.iter().map(|host| host.member));
            let heard = list(here.iter().map(|host| host.heard));
            come.execute(params![signed(id), members, heard])?;
        }
        if !away.is_empty() {
            let members = list(away.iter().map(|host| host.member));
            gone.execute(params![signed(id), members])?;
        }
    }
    Ok(())
}

fn list(numbers: impl Iterator<Item = u64>) -> String {
    let numbers: Vec<_> = numbers.map(|number| number.to_string()).collect();
    numbers.join(",")
}

/// See `Store::hosts_said_after`.
pub(in crate::store) fn hosts_after(
    connection: &Connection,
    number: u64,
) -> Result<Vec<HostAt>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT member, controller, heard, number FROM host_sessions WHERE number > ?1
         ORDER BY number",
    )?;
    let hosts = statement.query_map([signed(number)], |row| {
        Ok(HostAt {
            member: row.get(0)?,
            controller: row.get(1)?,
            heard: row.get(2)?,
            number: row.get(3)?,
        })
    })?;
    Ok(hosts.collect::<Result<_, _>>()?)
}

/// See `Store::claims_won_after`.
pub(in crate::store) fn claims_after(
    connection: &Connection,
    (after, through): (u64, u64),
    limit: u32,
) -> Result<Vec<Claim>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT domain, digest, host, seq, coalesce(forget_after_secs, 0) FROM claims
         WHERE position > ?1 AND position <= ?2 ORDER BY position DESC LIMIT ?3",
    )?;
    let claims =
        statement.query_map(params![signed(after), signed(through), limit], claims::read)?;
    Ok(claims.collect::<Result<_, _>>()?)
}

/// See `Store::pushed_between`.
pub(in crate::store) fn pushed_between(
    connection: &Connection,
    (after, through): (u64, u64),
) -> Result<Vec<Pushed>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT j.member, count(*), CAST(sum(length(e.body)) AS bigint)
         FROM events e JOIN journals j ON j.id = e.journal
         WHERE e.id > ?1 AND e.id <= ?2 AND j.member IS NOT NULL GROUP BY j.member",
    )?;
    let pushed = statement.query_map([signed(after), signed(through)], |row| {
        Ok(Pushed {
            member: row.get(0)?,
            records: row.get(1)?,
            body_bytes: row.get(2)?,
        })
    })?;
    Ok(pushed.collect::<Result<_, _>>()?)
}

/// See `Store::last_of_other_kinds`.
pub(in crate::store) fn last_of_other_kinds(
    connection: &Connection,
    (after, through): (u64, u64),
    kinds: &[i32],
) -> Result<Option<u64>, StoreError> {
    let kinds: Vec<_> = kinds.iter().map(ToString::to_string).collect();
    let sql = format!(
        "SELECT id FROM events WHERE id > ?1 AND id <= ?2 AND kind NOT IN ({})
         ORDER BY id DESC LIMIT 1",
        kinds.join(", ")
    );
    let last = connection
        .prepare_cached(&sql)?
        .query_row([signed(after), signed(through)], |row| row.get(0))
        .optional()?;
    Ok(last)
}
