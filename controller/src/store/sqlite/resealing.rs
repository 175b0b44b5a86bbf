//! Everything that is sealed, sealed again under another key, in one transaction.

use std::cell::OnceCell;

use fleet::Event;
use rusqlite::TransactionBehavior;
use zeroize::Zeroizing;

use super::{checkpoints, connection, events, meta, policies, rows, schema};
use crate::store::authorities;
use crate::store::error::StoreError;
use crate::store::model::Resealed;
use crate::store::seal::{KEY_LEN, SealKey};
use crate::store::sql::{Connection, Dialect, params};

/// Keys of before that are kept: under them lie passes that hosts still have.
const RETIRED_MAX: usize = 8;
/// What binds the proof of a key to its place, and what it says.
const PROOF: &str = "seal key";
/// What binds the keys of before to their place.
const RETIRED: &str = "retired seal keys";

/// Everything of one table that is sealed: what binds a row to its place.
struct Sealed {
    ids: &'static str,
    read: &'static str,
    write: &'static str,
    place: fn(i64) -> String,
}

const SEALED: [Sealed; 2] = [
    Sealed {
        ids: "SELECT generation FROM policies",
        read: "SELECT sealed_text FROM policies WHERE generation = ?1",
        write: "UPDATE policies SET sealed_text = ?2 WHERE generation = ?1",
        place: |generation| policies::place(generation.cast_unsigned()),
    },
    Sealed {
        ids: "SELECT id FROM audit_keys WHERE length(sealed_seed) > 0",
        read: "SELECT sealed_seed FROM audit_keys WHERE id = ?1",
        write: "UPDATE audit_keys SET sealed_seed = ?2 WHERE id = ?1",
        place: |_| checkpoints::PLACE.to_owned(),
    },
];

/// Whether the database says that this is its key. False of one whose key was never another, which
/// says nothing.
pub(in crate::store) fn is_sealed_under(
    connection: &Connection,
    key: &SealKey,
) -> Result<bool, StoreError> {
    let proof = meta::seal_proof(connection)?;
    Ok(proof.is_some_and(|proof| key.open(PROOF, &proof).is_ok()))
}

/// Whether this is the key of a database: what is sealed says so, or, of one in which nothing is, the rows.
pub(in crate::store) fn is_key_of(
    connection: &Connection,
    key: &SealKey,
) -> Result<bool, StoreError> {
    match authorities::shared(connection, key) {
        Ok(Some(_)) => return Ok(true),
        Err(StoreError::Seal(_)) if connection.dialect() == Dialect::Postgres => return Ok(false),
        // Of before it was a file, and in no use there.
        Ok(None) | Err(StoreError::Seal(_)) => {}
        Err(error) => return Err(error),
    }
    if let Some(proof) = meta::seal_proof(connection)? {
        return Ok(key.open(PROOF, &proof).is_ok());
    }
    Ok(!rows::are_of_another_key(connection)?)
}

/// Refuses a database that is sealed under another key.
pub(in crate::store) fn refuse_other_key(
    connection: &Connection,
    key: &SealKey,
) -> Result<(), StoreError> {
    if is_key_of(connection, key)? {
        return Ok(());
    }
    Err(StoreError::OtherSealKey {
        known: meta::seal_key_id(connection)?.filter(|known| known != key.id()),
        here: key.id().to_owned(),
    })
}

/// Seals all under `new`. What stood there under `old` is overwritten on the disk; `event` says that it
/// was done.
pub(in crate::store) fn reseal(
    path: &std::path::Path,
    (old, new): (&[u8; KEY_LEN], &[u8; KEY_LEN]),
    event: Event,
) -> Result<Resealed, StoreError> {
    let mut connection = connection::writing(path)?;
    let found = schema::version(&connection)?;
    if found != schema::SCHEMA {
        return Err(StoreError::Damaged {
            what: "the schema is not this program's; serve with it once, then rotate",
        });
    }
    // Whoever has the old key, and the disk, is to find nothing under it.
    connection.pragma_update(None, "secure_delete", true)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    rows::begin_rekeying(&transaction, &SealKey::new(old))?;
    let resealed = reseal_all(&*transaction, (old, new), event)?;
    rows::end_rekeying(&transaction, &SealKey::new(new))?;
    transaction.commit()?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(resealed)
}

pub(in crate::store) fn reseal_all(
    connection: &Connection,
    (old_key, new_key): (&[u8; KEY_LEN], &[u8; KEY_LEN]),
    mut event: Event,
) -> Result<Resealed, StoreError> {
    let (old, new) = (SealKey::new(old_key), SealKey::new(new_key));
    let mut count = 0;
    for Sealed {
        ids,
        read,
        write,
        place,
    } in SEALED
    {
        let ids: Result<Vec<i64>, _> = connection
            .prepare(ids)?
            .query_map([], |row| row.get(0))?
            .collect();
        for id in ids? {
            let place = place(id);
            let sealed: Vec<u8> = connection
                .prepare_cached(read)?
                .query_row([id], |row| row.get(0))?;
            let text = old.open(&place, &sealed)?;
            connection
                .prepare_cached(write)?
                .execute(params![id, new.seal(&place, &text)?])?;
            count += 1;
        }
    }
    if authorities::reseal(connection, (&old, &new))? {
        count += 1;
    }
    let mut keys = vec![Zeroizing::new(*old_key)];
    keys.extend(retired(connection, &old)?);
    keys.truncate(RETIRED_MAX);
    let lines = keys.iter().map(|key| Zeroizing::new(hex::encode(**key)));
    let mut text = Zeroizing::new(String::with_capacity(RETIRED_MAX * (2 * KEY_LEN + 1)));
    lines.for_each(|line| {
        text.push_str(&line);
        text.push('\n');
    });
    meta::set_retired_seal_keys(connection, &new.seal(RETIRED, &text)?)?;
    meta::set_seal_proof(connection, &new.seal(PROOF, PROOF)?)?;
    meta::set_seal_key_id(connection, new.id())?;
    event.reason = format!("the seal key was rotated: {count} rows are sealed under the new one");
    events::append_own(connection, event)?;
    Ok(Resealed {
        rows: count,
        others: 0,
    })
}

/// Keys under which passes were sealed before, the newest first.
pub(super) fn retired(
    connection: &Connection,
    seal: &SealKey,
) -> Result<Vec<Zeroizing<[u8; KEY_LEN]>>, StoreError> {
    let Some(sealed) = meta::retired_seal_keys(connection)? else {
        return Ok(Vec::new());
    };
    let text = seal.open(RETIRED, &sealed)?;
    let mut keys = Vec::new();
    for line in text.lines() {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        hex::decode_to_slice(line, &mut *key).map_err(|_| StoreError::Damaged {
            what: "the keys that were rotated",
        })?;
        keys.push(key);
    }
    Ok(keys)
}

/// Keys of before, read when the first is needed.
#[derive(Default)]
pub(super) struct Retired(OnceCell<Vec<Zeroizing<[u8; KEY_LEN]>>>);

// === impl Retired ===

impl Retired {
    /// Opens what hosts keep for long: under the key of now, or one of before.
    pub(super) fn open(
        &self,
        (connection, seal): (&Connection, &SealKey),
        place: &str,
        sealed: &[u8],
    ) -> Result<Option<Zeroizing<String>>, StoreError> {
        if let Ok(text) = seal.open(place, sealed) {
            return Ok(Some(text));
        }
        let retired = match self.0.get() {
            Some(retired) => retired,
            None => {
                let read = retired(connection, seal)?;
                self.0.get_or_init(|| read)
            }
        };
        let mut opened = retired
            .iter()
            .map(|key| SealKey::new(key).open(place, sealed));
        Ok(opened.find_map(Result::ok))
    }
}
