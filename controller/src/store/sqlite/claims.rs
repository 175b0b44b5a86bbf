//! The shared replay list: for every message and replay domain, the one host that may grant it.

use rusqlite::{Connection, params};

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
            "INSERT INTO claims (domain, digest, host, seq, forget_after_secs)
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (domain, digest) DO NOTHING",
        )?
        .execute(params![
            claim.domain,
            claim.digest,
            claim.host,
            signed(claim.seq),
            forget_after_secs,
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
        })
    })?;
    Ok(claims.collect::<Result<_, _>>()?)
}

/// Forgets what is old enough to be refused by its age; at most `limit`, and says how many.
pub(in crate::store) fn prune(
    connection: &Connection,
    now_secs: u64,
    limit: u32,
) -> Result<usize, StoreError> {
    let pruned = connection
        .prepare_cached(
            "DELETE FROM claims WHERE (domain, digest) IN (
                SELECT domain, digest FROM claims
                WHERE forget_after_secs IS NOT NULL AND forget_after_secs < ?1 LIMIT ?2)",
        )?
        .execute(params![signed(now_secs), limit])?;
    Ok(pruned)
}
