//! Every policy there ever was. Generations are 1, 2, 3 and so on, without gaps unless the database
//! was restored from an older copy.

use fleet::EventKind;
use zeroize::Zeroizing;

use super::number::signed;
use super::{events, meta, rows};
use crate::store::error::StoreError;
use crate::store::model::{AfterRestore, ApplyOutcome, CONTROLLER, Generation, NewPolicy, Origin};
use crate::store::seal::SealKey;
use crate::store::sql::{Connection, Error, OptionalExtension as _, Row, params};

const COLUMNS: &str = "generation, author, message, at_ms, rollback_of, stanzas, file";

/// Who applied a generation whose row something else has written, and what is said of it.
const UNKNOWN: &str = "unknown";
const ALTERED: &str = "who applied this, when and why was changed in the database by something else than the controller";

/// See `Store::current_generation`.
pub(in crate::store) fn current(connection: &Connection) -> Result<u64, StoreError> {
    let current: Option<u64> = connection
        .prepare_cached("SELECT max(generation) FROM policies")?
        .query_row([], |row| row.get(0))?;
    Ok(current.unwrap_or(0))
}

/// See `Store::apply_policy`.
pub(in crate::store) fn apply(
    connection: &Connection,
    key: &SealKey,
    (base, after_restore): (u64, AfterRestore),
    policy: NewPolicy,
) -> Result<ApplyOutcome, StoreError> {
    if let Some(reason) = refuses(connection, after_restore)? {
        return Ok(ApplyOutcome::SetBack { reason });
    }
    let current = current(connection)?;
    if base != current {
        return Ok(ApplyOutcome::Stale { current });
    }
    let generation = insert(connection, key, current + 1, policy)?;
    Ok(ApplyOutcome::Applied { generation })
}

/// See `Store::rollback_policy`.
pub(in crate::store) fn rollback(
    connection: &Connection,
    key: &SealKey,
    after_restore: AfterRestore,
    policy: NewPolicy,
) -> Result<ApplyOutcome, StoreError> {
    if let Some(reason) = refuses(connection, after_restore)? {
        return Ok(ApplyOutcome::SetBack { reason });
    }
    let current = current(connection)?;
    let generation = insert(connection, key, current + 1, policy)?;
    Ok(ApplyOutcome::Applied { generation })
}

/// Why no policy is taken: this database was restored from an older copy. An operator who knows it
/// (`after_restore`) ends that, in the transaction of the policy that is to be in force.
fn refuses(
    connection: &Connection,
    after_restore: AfterRestore,
) -> Result<Option<String>, StoreError> {
    let reason = meta::set_back(connection)?;
    if after_restore == AfterRestore::Yes && reason.is_some() {
        meta::set_set_back(connection, None)?;
        return Ok(None);
    }
    Ok(reason)
}

/// Stores the text in force again, as this higher generation.
pub(super) fn renumber(
    connection: &Connection,
    key: &SealKey,
    generation: u64,
    now_ms: u64,
) -> Result<(), StoreError> {
    let current = current(connection)?;
    // Before the first policy there is no text, and none is what hosts should have.
    let text_now = text(connection, key, current)?.unwrap_or_default();
    let known = find(connection, current)?;
    let policy = NewPolicy {
        stanzas: known.as_ref().map_or(0, |known| known.stanzas),
        file: known.map(|known| known.file).unwrap_or_default(),
        ..renumbered(text_now, current, now_ms)
    };
    insert(connection, key, generation, policy)?;
    Ok(())
}

/// The text in force under another number, so that hosts that have seen higher ones take it.
fn renumbered(text: Zeroizing<String>, current: u64, now_ms: u64) -> NewPolicy {
    let mut event = Origin::controller(String::new()).done(EventKind::ControllerSetBack, now_ms);
    let message = format!(
        "restored from an older copy: the text of generation {current} under a number above all \
         that hosts have seen; what was applied in between is lost"
    );
    event.reason.clone_from(&message);
    NewPolicy {
        text,
        file: String::new(),
        author: CONTROLLER.to_owned(),
        message,
        at_ms: now_ms,
        rollback_of: current,
        stanzas: 0,
        event,
    }
}

fn insert(
    connection: &Connection,
    key: &SealKey,
    generation: u64,
    policy: NewPolicy,
) -> Result<u64, StoreError> {
    let NewPolicy {
        text,
        file,
        author,
        message,
        at_ms,
        rollback_of,
        stanzas,
        mut event,
    } = policy;
    connection
        .prepare_cached(
            "INSERT INTO policies (generation, sealed_text, author, message, at_ms, rollback_of,
                                   stanzas, file)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            signed(generation),
            key.seal(&place(generation), &text)?,
            author,
            message,
            signed(at_ms),
            signed(rollback_of),
            stanzas,
            file,
        ])?;
    event.generation = generation;
    events::append_own(connection, event)?;
    Ok(generation)
}

/// See `Store::policy_text`.
pub(in crate::store) fn text(
    connection: &Connection,
    key: &SealKey,
    generation: u64,
) -> Result<Option<Zeroizing<String>>, StoreError> {
    let sealed: Option<Vec<u8>> = connection
        .prepare_cached("SELECT sealed_text FROM policies WHERE generation = ?1")?
        .query_row([signed(generation)], |row| row.get(0))
        .optional()?;
    let text = sealed.map(|sealed| key.open(&place(generation), &sealed));
    Ok(text.transpose()?)
}

/// See `Store::generation`.
pub(in crate::store) fn find(
    connection: &Connection,
    generation: u64,
) -> Result<Option<Generation>, StoreError> {
    let sql = format!("{} WHERE generation = ?1", select(connection));
    let found = connection
        .prepare_cached(&sql)?
        .query_row([signed(generation)], read)
        .optional()?;
    Ok(found)
}

/// See `Store::policy_history`.
pub(in crate::store) fn history(
    connection: &Connection,
    limit: u32,
) -> Result<Vec<Generation>, StoreError> {
    let sql = format!("{} ORDER BY generation DESC LIMIT ?1", select(connection));
    let mut statement = connection.prepare_cached(&sql)?;
    let generations = statement.query_map([limit], read)?;
    Ok(generations.collect::<Result<_, _>>()?)
}

/// The columns of a generation, and whether its row is ours.
fn select(connection: &Connection) -> String {
    let good = rows::POLICIES.good(connection, "policies");
    format!("SELECT {COLUMNS}, {good} FROM policies")
}

fn read(row: &Row<'_>) -> Result<Generation, Error> {
    let mut generation = Generation {
        generation: row.get(0)?,
        author: row.get(1)?,
        message: row.get(2)?,
        at_ms: row.get(3)?,
        rollback_of: row.get(4)?,
        stanzas: row.get(5)?,
        file: row.get(6)?,
    };
    if !row.get::<_, bool>(7)? {
        // The text is sealed for its generation; who applied it, and when, nobody knows.
        UNKNOWN.clone_into(&mut generation.author);
        ALTERED.clone_into(&mut generation.message);
        (generation.at_ms, generation.rollback_of) = (0, 0);
    }
    Ok(generation)
}

/// What binds a sealed text to its row.
pub(super) fn place(generation: u64) -> String {
    format!("policy {generation}")
}
