//! What is known once for the whole fleet.

use std::collections::BTreeMap;

use fleet::claims::floor_of_loss;

use super::number::signed;
use super::schema::SCHEMA;
use super::{leases, rows};
use crate::store::error::StoreError;
use crate::store::model::{AuthorityStates, FleetState, RunBegun};
use crate::store::sql::{Asked, Connection, FromSql, OptionalExtension as _, Set, ToSql, params};

const REPLAY_FLOOR: &str = "replay_floor_secs";
const RUN: &str = "run";
/// Before the name of a controller, of one among several.
const RUN_OF: &str = "run ";
const OLDEST_PROGRAM: &str = "oldest_program_schema";
const WRITTEN_BY: &str = "written_by";
/// What a fleet is known by.
pub(in crate::store) const JOURNAL_EPOCH: &str = "journal_epoch";
/// What is said not of the fleet but of this database, and does not go with it to another.
pub(in crate::store) const OF_PROGRAM: [&str; 4] =
    [OLDEST_PROGRAM, WRITTEN_BY, ROWS_PROVEN, SEAL_KEY_ID];
const CLAIM_EPOCH: &str = "claim_epoch";
const SET_BACK: &str = "set_back";
const THINNED_AFTER: [&str; 2] = ["thinned_hourly_after", "thinned_daily_after"];
const SEAL_PROOF: &str = "seal_proof";
/// That every row of a database at a server has its MAC.
const ROWS_PROVEN: &str = "rows_proven";
const SEAL_KEY_ID: &str = "seal_key_id";
const RETIRED_SEAL_KEYS: &str = "retired_seal_keys";
const RETENTION_STEP: &str = "retention_step";
const RETAINED_AFTER: [&str; 2] = ["retained_after", "retained_noise_after"];
const CLAIM_DATES_SINCE: &str = "claim_dates_since_secs";
/// See [`Numbers`].
const NUMBERS: [&str; 3] = [CLAIM_EPOCH, CLAIM_DATES_SINCE, REPLAY_FLOOR];
const SIGNED_SIZE: &str = "signed_size";
const AUTHORITY_STATES: &str = "authority_states";
const SHARED_AUTHORITY: &str = "shared_authority";
const AUTHORITY_BEGUN: &str = "authority_begun";
/// States of the authorities that are remembered: many rotations.
const AUTHORITY_STATES_MAX: usize = 1_000;

/// Where the runs of a controller are kept: of one among several, under its name.
pub(in crate::store) fn run_key(controller: Option<&str>) -> String {
    controller.map_or_else(|| RUN.to_owned(), |name| format!("{RUN_OF}{name}"))
}

/// Numbers that are asked for together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) claim_epoch: u64,
    pub(super) claim_dates_since_secs: u64,
    pub(super) replay_floor_secs: u64,
}

/// Facts that `init` writes: the controller's own journal, and the replay list's beginning.
pub(in crate::store) fn create(
    connection: &Connection,
    journal_epoch: &str,
    now_secs: u64,
) -> Result<(), StoreError> {
    set(connection, JOURNAL_EPOCH, journal_epoch)?;
    set(connection, REPLAY_FLOOR, signed(now_secs))
}

/// Names the controller's own journal in the fleet's log.
pub(super) fn journal_epoch(connection: &Connection) -> Result<String, StoreError> {
    value(connection, JOURNAL_EPOCH)?.ok_or_else(|| damaged(JOURNAL_EPOCH))
}

/// What holds for the whole fleet.
pub(in crate::store) fn fleet_state(connection: &Connection) -> Result<FleetState, StoreError> {
    Ok(FleetState {
        replay_floor_secs: replay_floor_secs(connection)?,
        claim_epoch: claim_epoch(connection)?,
        set_back: set_back(connection)?,
    })
}

/// Number of the replay list, from 1.
pub(in crate::store) fn claim_epoch(connection: &Connection) -> Result<u64, StoreError> {
    value(connection, CLAIM_EPOCH)?.ok_or_else(|| damaged(CLAIM_EPOCH))
}

pub(in crate::store) fn set_claim_epoch(
    connection: &Connection,
    epoch: u64,
) -> Result<(), StoreError> {
    set(connection, CLAIM_EPOCH, signed(epoch))
}

/// Of dates up to here nobody knows what was won.
pub(super) fn claim_dates_since_secs(connection: &Connection) -> Result<u64, StoreError> {
    value(connection, CLAIM_DATES_SINCE)?.ok_or_else(|| damaged(CLAIM_DATES_SINCE))
}

/// Asks for the number of the replay list alone.
pub(super) fn ask_claim_epoch(connection: &Connection) -> Result<Asked<'_>, StoreError> {
    ask_facts(connection, &[CLAIM_EPOCH])
}

/// What that has come to.
pub(super) fn asked_claim_epoch(asked: Asked<'_>) -> Result<u64, StoreError> {
    asked_fact(&asked_facts(asked, &[CLAIM_EPOCH])?, CLAIM_EPOCH)
}

/// Asks for all [`Numbers`].
pub(super) fn ask_numbers(connection: &Connection) -> Result<Asked<'_>, StoreError> {
    ask_facts(connection, &NUMBERS)
}

/// What that has come to.
pub(super) fn asked_numbers(asked: Asked<'_>) -> Result<Numbers, StoreError> {
    let facts = asked_facts(asked, &NUMBERS)?;
    Ok(Numbers {
        claim_epoch: asked_fact(&facts, CLAIM_EPOCH)?,
        claim_dates_since_secs: asked_fact(&facts, CLAIM_DATES_SINCE)?,
        replay_floor_secs: asked_fact(&facts, REPLAY_FLOOR)?,
    })
}

/// How it was found out that this database was restored from an older copy, until an operator has
/// dealt with it.
pub(super) fn set_back(connection: &Connection) -> Result<Option<String>, StoreError> {
    let reason: Option<String> = value(connection, SET_BACK)?;
    let reason = reason.ok_or_else(|| damaged(SET_BACK))?;
    Ok((!reason.is_empty()).then_some(reason))
}

pub(super) fn set_set_back(
    connection: &Connection,
    reason: Option<&str>,
) -> Result<(), StoreError> {
    // Never taken away: that it is not there is to say nothing.
    set(connection, SET_BACK, reason.unwrap_or_default())
}

/// Raises the floor of the replay list; it never falls.
pub(in crate::store) fn raise_floor(connection: &Connection, secs: u64) -> Result<u64, StoreError> {
    let floor = replay_floor_secs(connection)?.max(secs);
    set(connection, REPLAY_FLOOR, signed(floor))?;
    Ok(floor)
}

/// Packets dated before this cannot be claimed: the list does not know what was granted until
/// then.
pub(super) fn replay_floor_secs(connection: &Connection) -> Result<u64, StoreError> {
    value(connection, REPLAY_FLOOR)?.ok_or_else(|| damaged(REPLAY_FLOOR))
}

/// The name of the last run of the controller whose runs are kept under `key`, if there was one. In a
/// database of before, the one run is of the one controller.
pub(in crate::store) fn run(
    connection: &Connection,
    key: &str,
) -> Result<Option<String>, StoreError> {
    match value(connection, key)? {
        None if key != RUN => value(connection, RUN),
        known => Ok(known),
    }
}

/// Whether any controller among several has a run here.
fn has_named_runs(connection: &Connection) -> Result<bool, StoreError> {
    let runs: i64 = connection
        .prepare_cached("SELECT count(*) FROM meta WHERE key LIKE ?1")?
        .query_row([format!("{RUN_OF}%")], |row| row.get(0))?;
    Ok(runs > 0)
}

/// The same run, where any controller among several has it.
fn named_run(connection: &Connection, run: &str) -> Result<Option<String>, StoreError> {
    let found = connection
        .prepare_cached("SELECT value FROM meta WHERE key LIKE ?1 AND value = ?2")?
        .query_row(params![format!("{RUN_OF}%"), run], |row| row.get(0))
        .optional()?;
    Ok(found)
}

fn forget_named_runs(connection: &Connection) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM meta WHERE key LIKE ?1")?
        .execute([format!("{RUN_OF}%")])?;
    Ok(())
}

/// Makes of a database that several controllers have one as a single one has it: its run is that of the one whose
/// runs are kept under `key`. What the others had says nothing any more.
pub(in crate::store) fn become_single(
    connection: &Connection,
    key: &str,
) -> Result<(), StoreError> {
    let run = run(connection, key)?;
    forget_named_runs(connection)?;
    match run {
        Some(run) => set(connection, RUN, run),
        None => remove(connection, RUN),
    }
}

/// Notes the run that a directory was made with.
pub(in crate::store) fn name_run(
    connection: &Connection,
    key: &str,
    run: &str,
) -> Result<(), StoreError> {
    set(connection, key, run)
}

/// The schema that a program must know to use this database, and the version of the program that
/// brought it to its own.
pub(in crate::store) fn oldest_program(
    connection: &Connection,
) -> Result<Option<(u32, String)>, StoreError> {
    let Some(schema) = value(connection, OLDEST_PROGRAM)? else {
        return Ok(None);
    };
    let version: Option<String> = value(connection, WRITTEN_BY)?;
    Ok(Some((schema, version.unwrap_or_default())))
}

/// Whether a database of a later version may be used nevertheless.
pub(in crate::store) fn usable(connection: &Connection, found: u32) -> Result<(), StoreError> {
    let (oldest, written_by) = oldest_program(connection)?.unwrap_or((found, String::new()));
    if oldest <= SCHEMA {
        tracing::info!(
            schema = found,
            "the database is of a later version, and may be used"
        );
        return Ok(());
    }
    Err(StoreError::Newer {
        found,
        known: SCHEMA,
        written_by,
    })
}

/// Notes both, where they are not there yet.
pub(in crate::store) fn set_oldest_program(
    connection: &Connection,
    schema: u32,
    version: &str,
) -> Result<(), StoreError> {
    let known = oldest_program(connection)?;
    if known.is_some_and(|(known, by)| known == schema && by == version) {
        return Ok(());
    }
    set(connection, OLDEST_PROGRAM, schema)?;
    set(connection, WRITTEN_BY, version)
}

/// See `Store::begin_run`.
pub(in crate::store) fn begin_run(
    connection: &Connection,
    key: &str,
    (previous, this): (Option<&str>, &str),
    now_secs: u64,
) -> Result<RunBegun, StoreError> {
    let mut known = run(connection, key)?;
    // Where several have served, each is known since its directory was made.
    let is_lost = key != RUN && known.is_none() && has_named_runs(connection)?;
    if key == RUN {
        // Of several, this is the one that has it alone now, in a file.
        known = known.or(named_run(connection, previous.unwrap_or_default())?);
        forget_named_runs(connection)?;
    }
    let restored = is_lost || known.as_deref() != previous;
    if restored {
        raise_floor(connection, floor_of_loss(now_secs, 0))?;
        leases::void_all(connection)?;
        // The list's number stays: hosts that have seen more are to prove it, and then it rises.
    }
    let own: Option<String> = value(connection, key)?;
    if own.is_none() && !restored {
        // It was this one's, of before.
        remove(connection, RUN)?;
    }
    set(connection, key, this)?;
    Ok(RunBegun {
        fleet: fleet_state(connection)?,
        restored,
    })
}

/// Whether it is known since when claims are, which every database of this schema says.
pub(super) fn known_since(connection: &Connection) -> Result<(), StoreError> {
    let since: Option<u64> = value(connection, CLAIM_DATES_SINCE)?;
    since.map(drop).ok_or_else(|| damaged(CLAIM_DATES_SINCE))
}

/// How many records the newest checkpoint covers that was ever signed here; 0 where that was not noted.
pub(super) fn signed_size(connection: &Connection) -> Result<u64, StoreError> {
    value(connection, SIGNED_SIZE)?.ok_or_else(|| damaged(SIGNED_SIZE))
}

pub(super) fn note_signed(connection: &Connection, size: u64) -> Result<(), StoreError> {
    let size = size.max(signed_size(connection)?);
    set(connection, SIGNED_SIZE, signed(size))
}

/// What is known of the file that holds the authorities.
pub(in crate::store) fn authority_states(
    connection: &Connection,
    run_key: &str,
) -> Result<AuthorityStates, StoreError> {
    Ok(AuthorityStates {
        settled: settled_authorities(connection)?,
        begun: value(connection, AUTHORITY_BEGUN)?,
        run: run(connection, run_key)?,
    })
}

/// The states that the authorities had, the oldest first.
pub(in crate::store) fn settled_authorities(
    connection: &Connection,
) -> Result<Vec<String>, StoreError> {
    let settled: Option<String> = value(connection, AUTHORITY_STATES)?;
    let settled = settled.unwrap_or_default();
    Ok(settled.lines().map(str::to_owned).collect())
}

/// The authorities themselves, sealed, where several controllers have them from here.
pub(in crate::store) fn shared_authority(
    connection: &Connection,
) -> Result<Option<Vec<u8>>, StoreError> {
    value(connection, SHARED_AUTHORITY)
}

/// What only several controllers need, and a file has none.
pub(in crate::store) fn forget_shared_authority(connection: &Connection) -> Result<(), StoreError> {
    remove(connection, SHARED_AUTHORITY)
}

pub(in crate::store) fn set_shared_authority(
    connection: &Connection,
    sealed: &[u8],
) -> Result<(), StoreError> {
    set(connection, SHARED_AUTHORITY, sealed)
}

/// The file is to have this state next.
pub(in crate::store) fn begin_authority(
    connection: &Connection,
    state: &str,
) -> Result<(), StoreError> {
    set(connection, AUTHORITY_BEGUN, state)
}

/// It has it.
pub(in crate::store) fn settle_authority(
    connection: &Connection,
    state: &str,
) -> Result<(), StoreError> {
    let mut settled = settled_authorities(connection)?;
    if settled.last().is_none_or(|last| last != state) {
        settled.push(state.to_owned());
        let surplus = settled.len().saturating_sub(AUTHORITY_STATES_MAX);
        settled.drain(..surplus);
        set(connection, AUTHORITY_STATES, settled.join("\n"))?;
    }
    remove(connection, AUTHORITY_BEGUN)
}

/// Up to which size checkpoints were thinned by this rule.
pub(super) fn thinned_after(connection: &Connection, rule: usize) -> Result<u64, StoreError> {
    let key = THINNED_AFTER.get(rule).copied().unwrap_or_default();
    Ok(value(connection, key)?.unwrap_or(0))
}

pub(super) fn set_thinned_after(
    connection: &Connection,
    rule: usize,
    size: u64,
) -> Result<(), StoreError> {
    let key = THINNED_AFTER.get(rule).copied().unwrap_or_default();
    set(connection, key, signed(size))
}

/// What only the key opens under which the database is sealed; `None` where that was never changed.
pub(super) fn seal_proof(connection: &Connection) -> Result<Option<Vec<u8>>, StoreError> {
    value(connection, SEAL_PROOF)
}

pub(super) fn set_seal_proof(connection: &Connection, sealed: &[u8]) -> Result<(), StoreError> {
    set(connection, SEAL_PROOF, sealed)
}

pub(in crate::store) fn rows_are_proven(connection: &Connection) -> Result<bool, StoreError> {
    let is_proven: Option<u64> = value(connection, ROWS_PROVEN)?;
    Ok(is_proven.is_some())
}

pub(in crate::store) fn set_rows_proven(connection: &Connection) -> Result<(), StoreError> {
    set(connection, ROWS_PROVEN, 1_u32)
}

/// What people tell the key by under which the database is sealed; `None` where nobody has noted it.
pub(in crate::store) fn seal_key_id(connection: &Connection) -> Result<Option<String>, StoreError> {
    value(connection, SEAL_KEY_ID)
}

pub(in crate::store) fn set_seal_key_id(
    connection: &Connection,
    id: &str,
) -> Result<(), StoreError> {
    set(connection, SEAL_KEY_ID, id)
}

/// How many controllers beside the one whose runs are kept under `key` have ever had a run.
pub(in crate::store) fn other_runs(connection: &Connection, key: &str) -> Result<u64, StoreError> {
    let others: i64 = connection
        .prepare_cached("SELECT count(*) FROM meta WHERE key LIKE ?1 AND key <> ?2")?
        .query_row([format!("{RUN_OF}%"), key.to_owned()], |row| row.get(0))?;
    Ok(others.cast_unsigned())
}

/// The keys of before, sealed.
pub(super) fn retired_seal_keys(connection: &Connection) -> Result<Option<Vec<u8>>, StoreError> {
    value(connection, RETIRED_SEAL_KEYS)
}

pub(super) fn set_retired_seal_keys(
    connection: &Connection,
    sealed: &[u8],
) -> Result<(), StoreError> {
    set(connection, RETIRED_SEAL_KEYS, sealed)
}

/// Up to which record retention has looked: for noise, or for everything.
pub(super) fn retained_after(connection: &Connection, is_noise: bool) -> Result<u64, StoreError> {
    Ok(value(connection, retained_key(is_noise))?.unwrap_or(0))
}

pub(super) fn set_retained_after(
    connection: &Connection,
    is_noise: bool,
    id: u64,
) -> Result<(), StoreError> {
    set(connection, retained_key(is_noise), signed(id))
}

/// The number of the next step of retention.
pub(super) fn next_retention_step(connection: &Connection) -> Result<u64, StoreError> {
    let last: Option<u64> = value(connection, RETENTION_STEP)?;
    Ok(last.unwrap_or(0) + 1)
}

pub(super) fn set_retention_step(connection: &Connection, step: u64) -> Result<(), StoreError> {
    set(connection, RETENTION_STEP, signed(step))
}

const fn retained_key(is_noise: bool) -> &'static str {
    let [all, noise] = RETAINED_AFTER;
    if is_noise { noise } else { all }
}

fn value<T: FromSql>(connection: &Connection, key: &str) -> Result<Option<T>, StoreError> {
    if rows::FACTS.contains(&key) {
        return fact(connection, key);
    }
    let value = connection
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    Ok(value)
}

/// One that decides: of another hand it counts for nothing.
fn fact<T: FromSql>(connection: &Connection, key: &str) -> Result<Option<T>, StoreError> {
    let found = connection
        .prepare_cached(fact_sql(connection))?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    found.map_or(Ok(None), |found| good(key, found).map(Some))
}

fn fact_sql(connection: &Connection) -> &'static str {
    if connection.proves_rows() {
        "SELECT value, row_is_good(mac, 'meta', key, value) FROM meta WHERE key = ?1"
    } else {
        "SELECT value, true FROM meta WHERE key = ?1"
    }
}

fn good<T>(key: &str, (value, is_good): (T, bool)) -> Result<T, StoreError> {
    if is_good {
        return Ok(value);
    }
    Err(StoreError::Altered {
        table: rows::META.name,
        row: key.to_owned(),
    })
}

/// Asks for several that decide, and are numbers.
fn ask_facts<'c>(connection: &'c Connection, keys: &[&str]) -> Result<Asked<'c>, StoreError> {
    let asked = Set::of(keys.iter().map(|key| [key]))?;
    Ok(connection.ask_each(fact_sql(connection), asked)?)
}

fn asked_facts<'k>(
    asked: Asked<'_>,
    keys: &[&'k str],
) -> Result<BTreeMap<&'k str, u64>, StoreError> {
    let found = asked.by(keys, |row| Ok((row.get(0)?, row.get(1)?)))?;
    let found = found.into_iter();
    found
        .map(|(key, found)| Ok((key, good(key, found)?)))
        .collect()
}

fn asked_fact(facts: &BTreeMap<&str, u64>, key: &'static str) -> Result<u64, StoreError> {
    facts.get(key).copied().ok_or_else(|| damaged(key))
}

fn set(connection: &Connection, key: &str, value: impl ToSql) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )?
        .execute(params![key, value])?;
    Ok(())
}

fn remove(connection: &Connection, key: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM meta WHERE key = ?1")?
        .execute([key])?;
    Ok(())
}

fn damaged(what: &'static str) -> StoreError {
    StoreError::Damaged { what }
}
