//! Signed checkpoints of the log, the key that signs them, and what contradicts them.

use fleet::audit::{AuditKey, AuditSigner, BrokenKeyChain, Checkpoint, KeyChain, Succession};
use fleet::{Event, EventKind};
use zeroize::Zeroizing;

use super::number::signed;
use super::{alarms, events, meta, rows};
use crate::store::error::StoreError;
use crate::store::model::{Conflict, KeyRotated, LogEnd, LogKeys, Origin};
use crate::store::seal::SealKey;
use crate::store::sql::{Asked, Connection, OptionalExtension as _, Set, params};

const ROOT: &str = "SELECT log_chain FROM events WHERE id = ?1";
/// The chain value before the first record.
pub(super) const BEFORE_ALL: Option<[u8; 32]> = Some([0; 32]);

/// What binds the secret to its place.
pub(super) const PLACE: &str = "audit key";

/// The keys of this log; with `new` as the first when it has none yet.
pub(in crate::store) fn keys_or(
    connection: &Connection,
    seal: &SealKey,
    (fleet, new): (&str, &Zeroizing<[u8; 32]>),
    now_ms: u64,
) -> Result<LogKeys, StoreError> {
    let signer = signer(connection, seal, fleet, new, now_ms)?;
    let successions = successions(connection)?;
    Ok(LogKeys {
        signer,
        successions,
    })
}

/// The signer of this log: the newest key, or `new`, which is kept from then on.
fn signer(
    connection: &Connection,
    seal: &SealKey,
    fleet: &str,
    new: &Zeroizing<[u8; 32]>,
    now_ms: u64,
) -> Result<AuditSigner, StoreError> {
    if let Some(signer) = known_signer(connection, seal, fleet)? {
        return Ok(signer);
    }
    let signer = AuditSigner::new(fleet, new);
    keep_key(connection, seal, (&signer, new), (None, now_ms))?;
    Ok(signer)
}

fn keep_key(
    connection: &Connection,
    seal: &SealKey,
    (signer, seed): (&AuditSigner, &Zeroizing<[u8; 32]>),
    (succession, now_ms): (Option<&str>, u64),
) -> Result<(), StoreError> {
    let seed = Zeroizing::new(hex::encode(**seed));
    connection
        .prepare_cached(
            "INSERT INTO audit_keys (public, sealed_seed, made_at_ms, succession)
             VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            signer.public().to_string(),
            seal.seal(PLACE, &seed)?,
            signed(now_ms),
            succession
        ])?;
    Ok(())
}

/// Replaces the key by another with the secret `new`. The last that the one before signs is the log as it
/// is, and who follows; its secret goes. That is recorded, and signed by the new one. `None`, and nothing
/// done, where there is no key yet.
pub(in crate::store) fn rotate(
    connection: &Connection,
    seal: &SealKey,
    (fleet, new): (&str, &Zeroizing<[u8; 32]>),
    mut event: Event,
) -> Result<Option<KeyRotated>, StoreError> {
    let Some(from) = known_signer(connection, seal, fleet)? else {
        return Ok(None);
    };
    let (to, at_ms) = (AuditSigner::new(fleet, new), event.at_ms);
    let last = checkpoint(connection, at_ms)?;
    let note = Succession::sign(&last, &from, &to);
    // Whoever has the disk is to find nothing of the secret that goes.
    connection.set_secure_delete(true)?;
    connection
        .prepare_cached("UPDATE audit_keys SET sealed_seed = ?1")?
        .execute([Vec::<u8>::new()])?;
    keep_key(connection, seal, (&to, new), (Some(&note), at_ms))?;
    event.reason = format!(
        "postern-controller audit rotate-key: key {} has signed the log for the last time, at record {}, and \
         from then on key {} signs it. Succession: {}",
        from.public().id_hex(),
        last.size,
        to.public().id_hex(),
        note.trim_end().replace('\n', "|")
    );
    events::append_own(connection, event)?;
    let first = checkpoint(connection, at_ms)?;
    add(connection, first.size, &first.sign(&to))?;
    connection.set_secure_delete(false)?;
    Ok(Some(KeyRotated {
        former_key: from.public().to_string(),
        audit_key: to.public().to_string(),
        last_record: last.size,
    }))
}

/// What there is to sign now.
fn checkpoint(connection: &Connection, at_ms: u64) -> Result<Checkpoint, StoreError> {
    let LogEnd { size, root } = end(connection)?;
    Ok(Checkpoint { size, root, at_ms })
}

/// How each key followed the one before it, the oldest first: signed notes.
pub(super) fn successions(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT succession FROM audit_keys WHERE succession IS NOT NULL ORDER BY id",
    )?;
    let notes = statement.query_map([], |row| row.get(0))?;
    Ok(notes.collect::<Result<_, _>>()?)
}

/// Whether a key was replaced by another, ever.
pub(super) fn has_followed(connection: &Connection) -> Result<bool, StoreError> {
    Ok(!successions(connection)?.is_empty())
}

/// All keys of the log up to this one, by what is kept of them.
pub(super) fn chain(
    connection: &Connection,
    newest: AuditKey,
) -> Result<Result<KeyChain, BrokenKeyChain>, StoreError> {
    let notes = successions(connection)?;
    Ok(KeyChain::of(newest, notes.iter().map(String::as_str)))
}

/// The signer, if there is a key.
pub(in crate::store) fn known_signer(
    connection: &Connection,
    seal: &SealKey,
    fleet: &str,
) -> Result<Option<AuditSigner>, StoreError> {
    let sql = format!(
        "SELECT sealed_seed, id, {} FROM audit_keys ORDER BY id DESC LIMIT 1",
        rows::AUDIT_KEYS.good(connection, "audit_keys")
    );
    let sealed: Option<(Vec<u8>, i64, bool)> = connection
        .prepare_cached(&sql)?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((sealed, id, is_good)) = sealed else {
        return Ok(None);
    };
    if !is_good {
        return Err(StoreError::Altered {
            table: rows::AUDIT_KEYS.name,
            row: id.to_string(),
        });
    }
    let text = seal.open(PLACE, &sealed)?;
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(&*text, &mut *seed).map_err(|_| StoreError::Damaged {
        what: "audit_keys.sealed_seed",
    })?;
    Ok(Some(AuditSigner::new(fleet, &seed)))
}

/// The public half, as it stands beside the secret.
pub(in crate::store) fn known_key(connection: &Connection) -> Result<Option<AuditKey>, StoreError> {
    Ok(newest_key(connection)?.and_then(|text| text.parse().ok()))
}

/// The same as text.
pub(in crate::store) fn newest_key(connection: &Connection) -> Result<Option<String>, StoreError> {
    let text = connection
        .prepare_cached("SELECT public FROM audit_keys ORDER BY id DESC LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(text)
}

/// Every public half that there ever was, the oldest first.
pub(super) fn keys(connection: &Connection) -> Result<Vec<AuditKey>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT public FROM audit_keys ORDER BY id")?;
    let texts: Result<Vec<String>, _> = statement.query_map([], |row| row.get(0))?.collect();
    Ok(texts?.iter().filter_map(|text| text.parse().ok()).collect())
}

/// Keeps what `key` has signed; false, and nothing kept, where another has followed it.
pub(in crate::store) fn add_of(
    connection: &Connection,
    key: &str,
    (size, note): (u64, &str),
) -> Result<bool, StoreError> {
    let is_newest = newest_key(connection)?.is_some_and(|newest| newest == key);
    if is_newest {
        add(connection, size, note)?;
    }
    Ok(is_newest)
}

/// Keeps what was signed. What was signed of a log that was cut since stays: it is evidence.
pub(super) fn add(connection: &Connection, size: u64, note: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO checkpoints (size, note) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        )?
        .execute(params![signed(size), note])?;
    meta::note_signed(connection, size)
}

/// The newest that was signed.
pub(in crate::store) fn newest(connection: &Connection) -> Result<Option<String>, StoreError> {
    let note = connection
        .prepare_cached("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(note)
}

/// At most `limit` over more than `after` records, in rising order.
pub(super) fn after(
    connection: &Connection,
    after: u64,
    limit: u32,
) -> Result<Vec<(u64, String)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT size, note FROM checkpoints WHERE size > ?1 ORDER BY size LIMIT ?2",
    )?;
    let rows = statement.query_map(params![signed(after), limit], |row| {
        Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Those over more than `after` records and at most `to`, in rising order.
pub(in crate::store) fn between(
    connection: &Connection,
    after: u64,
    to: u64,
) -> Result<Vec<(u64, String)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT size, note FROM checkpoints WHERE size > ?1 AND size <= ?2 ORDER BY size",
    )?;
    let rows = statement.query_map([signed(after), signed(to)], |row| {
        Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Those over more records than the log has: it was cut. What is signed while somebody reads the log is
/// not among them, because the log is looked at after them.
pub(in crate::store) fn beyond(connection: &Connection) -> Result<Vec<String>, StoreError> {
    // The few newest: of a log that goes on beyond where it was cut, they are compared in its course.
    let mut statement = connection
        .prepare_cached("SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 10")?;
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?))
    })?;
    let newest: Vec<(u64, String)> = rows.collect::<Result<_, _>>()?;
    let size = end(connection)?.size;
    let beyond = newest.into_iter().filter(|(signed, _)| *signed > size);
    Ok(beyond.map(|(_, note)| note).collect())
}

/// Where the log ends.
pub(in crate::store) fn end(connection: &Connection) -> Result<LogEnd, StoreError> {
    let end = connection
        .prepare_cached("SELECT id, log_chain FROM events ORDER BY id DESC LIMIT 1")?
        .query_row([], |row| {
            Ok(LogEnd {
                size: row.get::<_, i64>(0)?.cast_unsigned(),
                root: row.get(1)?,
            })
        })
        .optional()?;
    Ok(end.unwrap_or_default())
}

/// The chain value of record `size`, if it is there.
pub(in crate::store) fn root_at(
    connection: &Connection,
    size: u64,
) -> Result<Option<[u8; 32]>, StoreError> {
    if size == 0 {
        return Ok(BEFORE_ALL);
    }
    let root = connection
        .prepare_cached(ROOT)?
        .query_row([signed(size)], |row| row.get(0))
        .optional()?;
    Ok(root)
}

/// Asks for those of several records; there is no record 0, where the value is [`BEFORE_ALL`].
pub(super) fn ask_roots<'c>(
    connection: &'c Connection,
    sizes: &[u64],
) -> Result<Asked<'c>, StoreError> {
    let asked = Set::of(sizes.iter().map(|size| [signed(*size)]))?;
    Ok(connection.ask_each(ROOT, asked)?)
}

/// Records a contradiction. False, and no event, where it is of a loss that is known: the same
/// checkpoint was presented before, or one that covers more and is of no earlier loss.
pub(in crate::store) fn conflict(
    connection: &Connection,
    conflict: &Conflict,
    found: &Origin,
    now_ms: u64,
) -> Result<bool, StoreError> {
    let Conflict {
        end,
        signed_at_ms,
        note,
        whose,
        host,
        reason,
    } = conflict;
    let is_known: bool = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM audit_conflicts
                            WHERE size >= ?1 AND found_at_ms >= ?2)",
        )?
        .query_row([signed(end.size), signed(*signed_at_ms)], |row| row.get(0))?;
    connection
        .prepare_cached(
            "INSERT INTO audit_conflicts (size, root, note, signed_at_ms, whose, found_at_ms, is_news)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            signed(end.size),
            end.root,
            note,
            signed(*signed_at_ms),
            whose,
            signed(now_ms),
            !is_known
        ])?;
    if is_known {
        return Ok(false);
    }
    let kind = EventKind::AuditConflict;
    match host {
        Some(host) => alarms::raise(connection, *host, (kind, reason), found, now_ms)?,
        None => {
            let mut event = found.clone().done(kind, now_ms);
            event.reason.clone_from(reason);
            events::append_own(connection, event)?;
        }
    }
    Ok(true)
}

/// How many losses were found, and when the last one was (milliseconds since the Unix epoch).
pub(in crate::store) fn conflicts(connection: &Connection) -> Result<(u64, u64), StoreError> {
    let found = connection
        .prepare_cached(
            "SELECT count(*), coalesce(max(found_at_ms), 0) FROM audit_conflicts WHERE is_news = 1",
        )?
        .query_row([], |row| {
            let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
            Ok((number(0)?, number(1)?))
        })?;
    Ok(found)
}
