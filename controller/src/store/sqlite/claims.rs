//! The shared replay list: for every message and replay domain, the one host that may grant it.

use std::collections::{BTreeMap, BTreeSet};

use fleet::claims::{self, Verdict, kept_date};

use super::meta;
use super::number::signed;
use crate::store::error::StoreError;
use crate::store::jobs::{Lot, Sets, Together};
use crate::store::model::{Claim, ClaimOutcome};
use crate::store::sql::{Asked, Connection, Error, OptionalExtension as _, Row, Set, params};

const DATE_WON: &str = "SELECT through_secs FROM claim_dates_won WHERE host = ?1";

/// Domain and digest.
type Message<'c> = (&'c [u8; 32], &'c [u8; 32]);
/// What holds a message: its host, and the number that has it there.
type Holder = (String, u64);

/// Claims that wait at one time are judged one after another, and those that win are stored at once.
impl Together for Claim {
    type Outcome = ClaimOutcome;

    fn among(sets: &mut Sets) -> &mut Lot<Self> {
        &mut sets.claims
    }

    /// See `Store::claim`. Insert-if-absent. The dangerous error is to say `Won` twice for one digest, which
    /// the primary key forbids whatever this code does.
    fn all(connection: &Connection, several: &[Self]) -> Result<Vec<ClaimOutcome>, StoreError> {
        // Asked first and taken then: where there are journeys they are one.
        let (messages, held) = ask_holders(connection, several)?;
        let (domains, spent) = ask_spent(connection, several)?;
        let floor_secs = meta::replay_floor_secs(connection)?;
        let mut held = holders(&messages, held)?;
        let spent = spent_secs(&domains, spent, floor_secs)?;
        // In the order of keys, so that whoever else writes meets them in the same.
        let mut won = BTreeMap::new();
        let mut dates_won = BTreeMap::new();
        let mut outcomes = Vec::with_capacity(several.len());
        for claim in several {
            let message = (&claim.domain, &claim.digest);
            let holder = held.get(&message);
            let holds = holder.map(|(host, seq)| (host.as_str(), *seq));
            let spent_secs = spent.get(&claim.domain).copied().unwrap_or(0);
            let claimant = (claim.host.as_str(), claim.seq);
            outcomes.push(
                match claims::judge(holds, claimant, claim.dated_secs, spent_secs) {
                    Verdict::Won => {
                        // As it is read.
                        let seq = signed(claim.seq).cast_unsigned();
                        held.insert(message, (claim.host.clone(), seq));
                        won.insert(message, claim);
                        let newest = dates_won.entry(claim.host.as_str()).or_default();
                        *newest = claim.dated_secs.max(*newest);
                        ClaimOutcome::Won
                    }
                    Verdict::WonBefore => ClaimOutcome::WonBefore,
                    Verdict::Spent => ClaimOutcome::Spent,
                    Verdict::Held => ClaimOutcome::Lost {
                        held_by: holder.map_or_else(String::new, |(host, _)| host.clone()),
                    },
                },
            );
        }
        insert(connection, &won.into_values().collect::<Vec<_>>())?;
        note_dates_won(connection, dates_won)?;
        Ok(outcomes)
    }
}

/// The messages that are claimed, and who holds them.
fn ask_holders<'c, 'm>(
    connection: &'c Connection,
    claims: &'m [Claim],
) -> Result<(Vec<Message<'m>>, Asked<'c>), StoreError> {
    let messages = claims.iter().map(|claim| (&claim.domain, &claim.digest));
    let messages: Vec<_> = messages.collect::<BTreeSet<_>>().into_iter().collect();
    let mut keys = Set::default();
    for (domain, digest) in &messages {
        keys.push(params![domain, digest])?;
    }
    let sql = "SELECT host, seq FROM claims WHERE domain = ?1 AND digest = ?2";
    Ok((messages, connection.ask_each(sql, keys)?))
}

fn holders<'m>(
    messages: &[Message<'m>],
    asked: Asked<'_>,
) -> Result<BTreeMap<Message<'m>, Holder>, StoreError> {
    let mut held = BTreeMap::new();
    asked.each(|number, row| {
        if let Some(message) = messages.get(number) {
            held.insert(
                *message,
                (row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned()),
            );
        }
        Ok(())
    })?;
    Ok(held)
}

/// The domains of these, and up to which date nothing can be won in each: of what was forgotten.
fn ask_spent<'c, 'm>(
    connection: &'c Connection,
    claims: &'m [Claim],
) -> Result<(Vec<&'m [u8; 32]>, Asked<'c>), StoreError> {
    let domains = claims.iter().map(|claim| &claim.domain);
    let domains: Vec<_> = domains.collect::<BTreeSet<_>>().into_iter().collect();
    let mut keys = Set::default();
    for domain in &domains {
        keys.push(params![domain])?;
    }
    let sql = "SELECT through_secs FROM claim_dates_spent WHERE domain = ?1";
    Ok((domains, connection.ask_each(sql, keys)?))
}

/// The same, and of a lost list.
fn spent_secs<'m>(
    domains: &[&'m [u8; 32]],
    asked: Asked<'_>,
    floor_secs: u64,
) -> Result<BTreeMap<&'m [u8; 32], u64>, StoreError> {
    let mut spent: BTreeMap<_, _> = domains.iter().map(|it| (*it, floor_secs)).collect();
    asked.each(|number, row| {
        let through_secs: u64 = row.get(0)?;
        if let Some(domain) = domains.get(number) {
            spent.insert(domain, through_secs.max(floor_secs));
        }
        Ok(())
    })?;
    Ok(spent)
}

fn insert(connection: &Connection, won: &[&Claim]) -> Result<(), StoreError> {
    let mut rows = Set::default();
    for claim in won {
        let until_secs = claim.forget_after_secs;
        rows.push(params![
            claim.domain,
            claim.digest,
            claim.host,
            signed(claim.seq),
            (until_secs != 0).then(|| signed(until_secs)),
            signed(kept_date(claim.dated_secs, until_secs)),
            claim.capped,
        ])?;
    }
    connection
        .prepare_cached(
            "INSERT INTO claims (domain, digest, host, seq, forget_after_secs, dated_secs, capped)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute_each(&rows)?;
    Ok(())
}

/// Notes the newest date of what each host has won.
fn note_dates_won(connection: &Connection, dates: BTreeMap<&str, u64>) -> Result<(), StoreError> {
    let mut rows = Set::default();
    for (host, newest_secs) in dates {
        rows.push(params![host, signed(newest_secs)])?;
    }
    connection
        .prepare_cached(
            "INSERT INTO claim_dates_won (host, through_secs) VALUES (?1, ?2)
             ON CONFLICT (host) DO UPDATE SET through_secs = excluded.through_secs
             WHERE excluded.through_secs > claim_dates_won.through_secs",
        )?
        .execute_each(&rows)?;
    Ok(())
}

/// Asks for the newest dates of what these hosts have won.
pub(super) fn ask_dates_won<'c>(
    connection: &'c Connection,
    hosts: &[String],
) -> Result<Asked<'c>, StoreError> {
    let asked = Set::of(hosts.iter().map(|host| [host]))?;
    Ok(connection.ask_each(DATE_WON, asked)?)
}

/// The newest date of what this host has won, as far as it is known here.
pub(super) fn newest_known_secs(connection: &Connection, host: &str) -> Result<u64, StoreError> {
    let known: Option<u64> = connection
        .prepare_cached(DATE_WON)?
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
        let found = statement.query_map(params![signed(now_secs), left], read)?;
        for claim in found {
            claims.push(claim?);
        }
    }
    Ok(claims)
}

/// A claim as hosts are told of it: what is asked for are its domain, its digest, its host, the number there, and until
/// when it is remembered.
pub(super) fn read(row: &Row<'_>) -> Result<Claim, Error> {
    Ok(Claim {
        domain: row.get(0)?,
        digest: row.get(1)?,
        host: row.get(2)?,
        seq: row.get(3)?,
        forget_after_secs: row.get(4)?,
        dated_secs: 0,
        capped: false,
    })
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
