//! The shared replay list: for every message and replay domain, the one host that may grant it.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::meta;
use super::number::signed;
use crate::store::error::StoreError;
use crate::store::model::{Claim, ClaimOutcome};

/// See `Store::claim`. Insert-if-absent. The dangerous error is to say `Won` twice for one digest,
/// which the primary key forbids whatever this code does.
pub(in crate::store) fn claim(
    connection: &Connection,
    claim: &Claim,
) -> Result<ClaimOutcome, StoreError> {
    let forget_after_secs = (claim.forget_after_secs != 0).then(|| signed(claim.forget_after_secs));
    let inserted = connection
        .prepare_cached(
            "INSERT INTO claims (domain, digest, host, seq, forget_after_secs, capped)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (domain, digest) DO NOTHING",
        )?
        .execute(params![
            claim.domain,
            claim.digest,
            claim.host,
            signed(claim.seq),
            forget_after_secs,
            claim.capped,
        ])?;
    if inserted == 1 {
        return Ok(ClaimOutcome::Won);
    }
    let (held_by, seq): (String, i64) = connection
        .prepare_cached("SELECT host, seq FROM claims WHERE domain = ?1 AND digest = ?2")?
        .query_row(params![claim.domain, claim.digest], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    if held_by == claim.host && seq == signed(claim.seq) {
        Ok(ClaimOutcome::WonBefore)
    } else {
        Ok(ClaimOutcome::Lost { held_by })
    }
}

/// What others than `host` have claimed in a domain and what is still to be remembered, at most
/// `limit`.
pub(in crate::store) fn of_domain(
    connection: &Connection,
    domain: &[u8; 32],
    host: &str,
    now_secs: u64,
    limit: usize,
) -> Result<Vec<Claim>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT digest, host, seq, ifnull(forget_after_secs, 0) FROM claims
         WHERE domain = ?1 AND host <> ?2 AND ifnull(forget_after_secs >= ?3, TRUE) LIMIT ?4",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let claims = statement.query_map(params![domain, host, signed(now_secs), limit], |row| {
        Ok(Claim {
            domain: *domain,
            digest: row.get(0)?,
            host: row.get(1)?,
            seq: row.get(2)?,
            forget_after_secs: row.get(3)?,
            capped: false,
        })
    })?;
    Ok(claims.collect::<Result<_, _>>()?)
}

/// How many claims each host has.
pub(in crate::store) fn by_host(
    connection: &Connection,
) -> Result<BTreeMap<String, u64>, StoreError> {
    let mut statement = connection.prepare("SELECT host, count(*) FROM claims GROUP BY host")?;
    let counts = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(counts.collect::<Result<_, _>>()?)
}

/// Forgets what is old enough to be refused by its age; at most `limit`, and says whose it was. With
/// what was to be remembered for longer, the floor rises to `floor_secs`.
pub(in crate::store) fn prune(
    connection: &Connection,
    now_secs: u64,
    limit: u32,
    floor_secs: u64,
) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached(
        "DELETE FROM claims WHERE (domain, digest) IN (
            SELECT domain, digest FROM claims
            WHERE forget_after_secs IS NOT NULL AND forget_after_secs < ?1 LIMIT ?2)
         RETURNING host, capped",
    )?;
    let mut rows = statement.query(params![signed(now_secs), limit])?;
    let (mut hosts, mut any_capped) = (Vec::new(), false);
    while let Some(row) = rows.next()? {
        hosts.push(row.get(0)?);
        any_capped |= row.get::<_, bool>(1)?;
    }
    if any_capped {
        meta::raise_floor(connection, floor_secs)?;
    }
    Ok(hosts)
}
