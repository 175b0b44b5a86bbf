//! What proves the log: its rows as they are chained, what is signed of it, and what contradicts that.

use std::sync::Arc;

use fleet::Event;
use fleet::audit::LogRow;
use zeroize::Zeroizing;

use super::Store;
use super::error::StoreError;
use super::model::{Conflict, Expired, KeyRotated, LogEnd, LogKeys, Origin};
use super::sql::Connection;
use super::sqlite::{checkpoints, proof, retention, thinning};

/// Rows with what was signed of them, in the order of the log.
#[derive(Debug, Default)]
pub(crate) struct ProofPage {
    pub(crate) rows: Vec<LogRow>,
    /// Signed notes over what comes up to the last row; where there is none, over more than the log has.
    pub(crate) notes: Vec<String>,
}

// === impl Store ===

impl Store {
    /// What signs the log of `fleet`, and has signed it; with `new` as its first secret when it has none
    /// yet.
    pub(crate) async fn audit_keys(
        &self,
        fleet: String,
        new: Zeroizing<[u8; 32]>,
        now_ms: u64,
    ) -> Result<LogKeys, StoreError> {
        let seal = Arc::clone(&self.seal);
        self.engine
            .write(move |connection| {
                checkpoints::keys_or(connection, &seal, (&fleet, &new), now_ms)
            })
            .await
    }

    /// The public half of the key that signs now, as text; `None` before the first.
    pub(crate) async fn audit_key(&self) -> Result<Option<String>, StoreError> {
        self.engine.read(checkpoints::newest_key).await
    }

    /// Has a key with the secret `new` sign from now on, and destroys the secret of the one before;
    /// `event` says so. `None`, and nothing done, where there is none yet.
    pub(crate) async fn rotate_audit_key(
        &self,
        fleet: String,
        new: Zeroizing<[u8; 32]>,
        event: Event,
    ) -> Result<Option<KeyRotated>, StoreError> {
        let seal = Arc::clone(&self.seal);
        self.engine
            .write(move |connection| checkpoints::rotate(connection, &seal, (&fleet, &new), event))
            .await
    }

    /// The note over most records.
    pub(crate) async fn newest_checkpoint(&self) -> Result<Option<String>, StoreError> {
        self.engine.read(checkpoints::newest).await
    }

    /// Keeps a note over `size` records that `key` has signed; false where another key has followed it.
    pub(crate) async fn add_checkpoint(
        &self,
        key: String,
        (size, note): (u64, String),
    ) -> Result<bool, StoreError> {
        self.engine
            .write(move |connection| checkpoints::add_of(connection, &key, (size, &note)))
            .await
    }

    /// Where the log ends, and what its chain value is there.
    pub(crate) async fn log_end(&self) -> Result<LogEnd, StoreError> {
        self.engine.read(checkpoints::end).await
    }

    /// The log's chain value after `size` records; `None` where it does not reach so far.
    pub(crate) async fn root_at(&self, size: u64) -> Result<Option<[u8; 32]>, StoreError> {
        self.engine
            .read(move |connection| checkpoints::root_at(connection, size))
            .await
    }

    /// Records that the log contradicts a checkpoint. False, and no event, where that loss is known.
    pub(crate) async fn record_conflict(
        &self,
        conflict: Conflict,
        found: Origin,
        now_ms: u64,
    ) -> Result<bool, StoreError> {
        self.engine
            .write(move |connection| checkpoints::conflict(connection, &conflict, &found, now_ms))
            .await
    }

    /// How many losses of records were found, and when the last one was, milliseconds since the Unix
    /// epoch; 0 for never.
    pub(crate) async fn conflicts(&self) -> Result<(u64, u64), StoreError> {
        self.engine.read(checkpoints::conflicts).await
    }

    /// Empties some records up to `to` that are old enough, and records that. How many were looked at:
    /// 0 when none is left.
    pub(crate) async fn retain_step(
        &self,
        expired: Expired,
        to: u64,
        found: Origin,
        now_ms: u64,
    ) -> Result<u64, StoreError> {
        self.engine
            .write(move |connection| retention::step(connection, expired, to, &found, now_ms))
            .await
    }

    /// Removes some checkpoints that stand closer than anybody needs. How many were looked at: 0 when
    /// none is left that is old enough.
    pub(crate) async fn thin_step(&self, now_ms: u64) -> Result<u64, StoreError> {
        self.engine
            .write(move |connection| thinning::step(connection, now_ms))
            .await
    }

    /// At most `limit` rows after record `id` and up to `to` that hold about `bytes` at most, and what was signed of
    /// them.
    pub(crate) async fn proof_after(
        &self,
        (id, to): (u64, u64),
        limit: (u32, usize),
    ) -> Result<ProofPage, StoreError> {
        self.engine
            .read_to_send(move |connection| {
                connection.at_one_moment(|connection| page(connection, (id, to), limit))
            })
            .await
    }
}

/// At one moment: what retention empties in between would look as if somebody had removed what it is found by.
fn page(
    connection: &Connection,
    (id, to): (u64, u64),
    limit: (u32, usize),
) -> Result<ProofPage, StoreError> {
    let rows = proof::after(connection, (id, to), limit)?;
    let notes = match rows.last() {
        Some(last) => {
            let notes = checkpoints::between(connection, id, last.id)?;
            notes.into_iter().map(|(_, note)| note).collect()
        }
        None => checkpoints::beyond(connection)?,
    };
    Ok(ProofPage { rows, notes })
}
