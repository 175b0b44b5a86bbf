//! The shared replay list: for every message and replay domain, the one host that may grant it.

use std::collections::BTreeMap;

use fleet::claims::{self, Verdict, kept_date};

use super::meta;
use super::number::signed;
use crate::store::error::StoreError;
use crate::store::model::{Claim, ClaimOutcome};
use crate::store::sql::{Connection, OptionalExtension as _, params};

/// See `Store::claim`. Insert-if-absent. The dangerous error is to say `Won` twice for one digest,
/// which the primary key forbids whatever this code does.
pub(in crate::store) fn claim(
    connection: &Connection,
    claim: &Claim,
) -> Result<ClaimOutcome, StoreError> {
    let forget_after_secs = (claim.forget_after_secs != 0).then(|| signed(claim.forget_after_secs));
    let holder = holder(connection, claim)?;
    let held = holder.as_ref().map(|(host, seq)| (host.as_str(), *seq));
    let spent_secs = spent_secs(connection, &claim.domain)?;
    let claimant = (claim.host.as_str(), claim.seq);
    match claims::judge(held, claimant, claim.dated_secs, spent_secs) {
        Verdict::Won => {}
        Verdict::WonBefore => return Ok(ClaimOutcome::WonBefore),
        Verdict::Spent => return Ok(ClaimOutcome::Spent),
        Verdict::Held => {
            let held_by = holder.map_or_else(String::new, |(host, _)| host);
            return Ok(ClaimOutcome::Lost { held_by });
        }
    }
    connection
        .prepare_cached(
            "INSERT INTO claims (domain, digest, host, seq, forget_after_secs, dated_secs, capped)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            claim.domain,
            claim.digest,
            claim.host,
            signed(claim.seq),
            forget_after_secs,
            signed(kept_date(claim.dated_secs, claim.forget_after_secs)),
            claim.capped,
        ])?;
    connection
        .prepare_cached(
            "INSERT INTO claim_dates_won (host, through_secs) VALUES (?1, ?2)
             ON CONFLICT (host) DO UPDATE SET through_secs = excluded.through_secs
             WHERE excluded.through_secs > claim_dates_won.through_secs",
        )?
        .execute(params![claim.host, signed(claim.dated_secs)])?;
    Ok(ClaimOutcome::Won)
}

/// Who holds the message: a host, and its number for the packet.
fn holder(connection: &Connection, claim: &Claim) -> Result<Option<(String, u64)>, StoreError> {
    let holder = connection
        .prepare_cached("SELECT host, seq FROM claims WHERE domain = ?1 AND digest = ?2")?
        .query_row(params![claim.domain, claim.digest], |row| {
            Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned()))
        })
        .optional()?;
    Ok(holder)
}

/// Up to which date nothing can be won in this domain: of what was forgotten, or of a lost list.
fn spent_secs(connection: &Connection, domain: &[u8; 32]) -> Result<u64, StoreError> {
    let forgotten: Option<u64> = connection
        .prepare_cached("SELECT through_secs FROM claim_dates_spent WHERE domain = ?1")?
        .query_row([domain], |row| row.get(0))
        .optional()?;
    let floor_secs = meta::replay_floor_secs(connection)?;
    Ok(forgotten.unwrap_or(0).max(floor_secs))
}

/// The newest date of what this host has won, as far as it is known here.
pub(super) fn newest_known_secs(connection: &Connection, host: &str) -> Result<u64, StoreError> {
    let known: Option<u64> = connection
        .prepare_cached("SELECT through_secs FROM claim_dates_won WHERE host = ?1")?
        .query_row([host], |row| row.get(0))
        .optional()?;
    let since_secs = meta::claim_dates_since_secs(connection)?;
    let floor_secs = meta::replay_floor_secs(connection)?;
    Ok(known.unwrap_or(0).max(since_secs).max(floor_secs))
}

/// See `Store::recent_claims`. What is to be remembered for longest is newest; what is to be
/// remembered for ever is of a version of before, and last.
pub(in crate::store) fn recent(
    connection: &Connection,
    now_secs: u64,
    limit: usize,
) -> Result<Vec<Claim>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut claims = Vec::new();
    // Two statements, so that each has its index.
    let dated = "SELECT domain, digest, host, seq, forget_after_secs FROM claims
         WHERE forget_after_secs >= ?1 ORDER BY forget_after_secs DESC LIMIT ?2";
    let for_ever = "SELECT domain, digest, host, seq, 0 FROM claims
         WHERE forget_after_secs IS NULL AND CAST(?1 AS bigint) IS NOT NULL LIMIT ?2";
    for sql in [dated, for_ever] {
        let left = limit.saturating_sub(i64::try_from(claims.len()).unwrap_or(i64::MAX));
        let mut statement = connection.prepare_cached(sql)?;
        let read = statement.query_map(params![signed(now_secs), left], |row| {
            Ok(Claim {
                domain: row.get(0)?,
                digest: row.get(1)?,
                host: row.get(2)?,
                seq: row.get(3)?,
                forget_after_secs: row.get(4)?,
                dated_secs: 0,
                capped: false,
            })
        })?;
        for claim in read {
            claims.push(claim?);
        }
    }
    Ok(claims)
}

/// How many claims each host has.
pub(in crate::store) fn by_host(
    connection: &Connection,
) -> Result<BTreeMap<String, u64>, StoreError> {
    let mut statement = connection.prepare("SELECT host, count(*) FROM claims GROUP BY host")?;
    let counts = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(counts.collect::<Result<_, _>>()?)
}

/// Forgets what was to be remembered until before `before_secs`; at most `limit`, and says whose it
/// was. The dates of it are spent, in case the clock was wrong by which it is old. With what was to
/// be remembered for longer, the floor rises to `floor_secs`.
pub(in crate::store) fn prune(
    connection: &Connection,
    before_secs: u64,
    limit: u32,
    floor_secs: u64,
) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached(
        "DELETE FROM claims WHERE (domain, digest) IN (
            SELECT domain, digest FROM claims
            WHERE forget_after_secs IS NOT NULL AND forget_after_secs < ?1 LIMIT ?2)
         RETURNING host, capped, domain, dated_secs",
    )?;
    let mut rows = statement.query(params![signed(before_secs), limit])?;
    let (mut hosts, mut any_capped) = (Vec::new(), false);
    let mut spent = BTreeMap::<[u8; 32], i64>::new();
    while let Some(row) = rows.next()? {
        hosts.push(row.get(0)?);
        any_capped |= row.get::<_, bool>(1)?;
        let through_secs = spent.entry(row.get(2)?).or_default();
        *through_secs = row.get::<_, i64>(3)?.max(*through_secs);
    }
    let mut spend = connection.prepare_cached(
        "INSERT INTO claim_dates_spent (domain, through_secs) VALUES (?1, ?2)
         ON CONFLICT (domain) DO UPDATE SET through_secs = excluded.through_secs
         WHERE excluded.through_secs > claim_dates_spent.through_secs",
    )?;
    for (domain, through_secs) in spent.into_iter().filter(|(_, secs)| *secs > 0) {
        spend.execute(params![domain, through_secs])?;
    }
    if any_capped {
        meta::raise_floor(connection, floor_secs)?;
    }
    Ok(hosts)
}
