//! Signed checkpoints of the fleet's log: made when it has moved, shown to those who keep them, and
//! compared with those that they present.
//!
//! Whoever has the database, but not the key, can rewrite the log and not what was signed of it; and
//! whoever removes what was signed, too, is found by those who were shown it: hosts at each of their
//! sessions, auditors whenever they verify.

use fleet::audit::{AuditSigner, Checkpoint, InvalidCheckpoint};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::access::caller::RequestId;
use crate::error::Error;
use crate::random::random;
use crate::store::Store;
use crate::store::model::{Conflict, LogEnd, Origin};
use crate::timestamp::Timestamp;

/// The log's checkpoints while the controller runs.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    signer: AuditSigner,
    newest: Mutex<Option<Signed>>,
    /// One is made at a time.
    making: tokio::sync::Mutex<()>,
}

/// A checkpoint and its note.
#[derive(Clone, Debug)]
struct Signed {
    checkpoint: Checkpoint,
    note: String,
}

/// What somebody who keeps checkpoints is told.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Shown {
    /// The newest checkpoint; empty before the first.
    pub(crate) newest: String,
    /// The key that signs, as text.
    pub(crate) key: String,
    /// The log as it is now, at the size of the checkpoint that was presented; empty where it does
    /// not reach so far, and where none of ours was presented.
    pub(crate) restated: String,
}

/// Who presents a checkpoint.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    /// As `host web-1`.
    pub(crate) name: String,
    /// `Member::id`, of a host.
    pub(crate) host: Option<u64>,
    /// The call in which it does so.
    pub(crate) origin: Origin,
}

// === impl Checkpoints ===

impl Checkpoints {
    /// The checkpoints of this log; with a key of its own from the first time on.
    pub(crate) async fn load(store: &Store, fleet: &str, now: Timestamp) -> Result<Self, Error> {
        let seed = Zeroizing::new(random()?);
        let signer = store.audit_signer(fleet.to_owned(), seed, now.ms()).await?;
        let newest = store.newest_checkpoint().await?;
        let newest = newest.and_then(|note| match Checkpoint::open(&note, &signer.public()) {
            Ok(checkpoint) => Some(Signed { checkpoint, note }),
            Err(error) => {
                tracing::error!(%error, "the newest checkpoint in the database is none of ours");
                None
            }
        });
        Ok(Self {
            signer,
            newest: Mutex::new(newest),
            making: tokio::sync::Mutex::default(),
        })
    }

    /// The key that verifies, as text.
    pub(crate) fn key(&self) -> String {
        self.signer.public().to_string()
    }

    /// What is shown to whoever presents nothing.
    pub(crate) fn shown(&self) -> Shown {
        let newest = self
            .newest
            .lock()
            .as_ref()
            .map(|newest| newest.note.clone());
        Shown {
            newest: newest.unwrap_or_default(),
            key: self.key(),
            restated: String::new(),
        }
    }

    /// How many records are signed.
    pub(crate) fn size(&self) -> u64 {
        let newest = self.newest.lock();
        newest.as_ref().map_or(0, |newest| newest.checkpoint.size)
    }

    /// Signs the log as it is, when it has moved. What was signed last must still be so: if not, that
    /// is recorded first.
    pub(crate) async fn sign(&self, store: &Store, now: Timestamp) -> Result<(), Error> {
        let _alone = self.making.lock().await;
        let last = self.newest.lock().clone();
        let mut end = store.log_end().await?;
        if let Some(Signed { checkpoint, note }) = last {
            if end == end_of(&checkpoint) {
                return Ok(());
            }
            let keeper = Keeper {
                name: "this controller".to_owned(),
                host: None,
                origin: Origin::controller(RequestId::new()?.to_string()),
            };
            if self
                .compare(store, &keeper, (&checkpoint, &note), now)
                .await?
            {
                end = store.log_end().await?;
            }
        }
        let LogEnd { size, root } = end;
        let at_ms = now.ms();
        let checkpoint = Checkpoint { size, root, at_ms };
        let note = checkpoint.sign(&self.signer);
        store.add_checkpoint(size, note.clone()).await?;
        *self.newest.lock() = Some(Signed { checkpoint, note });
        Ok(())
    }

    /// Compares what somebody keeps with the log, records what contradicts it, and says what to keep
    /// from now on.
    pub(crate) async fn present(
        &self,
        store: &Store,
        keeper: &Keeper,
        note: &str,
        now: Timestamp,
    ) -> Result<Shown, Error> {
        let mut shown = self.shown();
        if note.is_empty() {
            return Ok(shown);
        }
        let checkpoint = match Checkpoint::open(note, &self.signer.public()) {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                note_foreign(keeper, error);
                return Ok(shown);
            }
        };
        self.compare(store, keeper, (&checkpoint, note), now)
            .await?;
        let Checkpoint { size, .. } = checkpoint;
        if let Some(root) = store.root_at(size).await? {
            let at_ms = now.ms();
            shown.restated = Checkpoint { size, root, at_ms }.sign(&self.signer);
        }
        Ok(shown)
    }

    /// Whether the log contradicts a checkpoint of ours; recorded, unless that loss is known.
    async fn compare(
        &self,
        store: &Store,
        keeper: &Keeper,
        (checkpoint, note): (&Checkpoint, &str),
        now: Timestamp,
    ) -> Result<bool, Error> {
        let end = end_of(checkpoint);
        let found = store.root_at(end.size).await?;
        let newest = store.log_end().await?.size;
        let what = match found {
            Some(root) if root == end.root => return Ok(false),
            Some(_) => "other records stand in the place of those, or they were changed".to_owned(),
            None => format!("it ends at record {newest}, and what came after that is gone"),
        };
        let reason = format!(
            "the log is not what {} was shown of it at {}, when it had {} records: {what}. Was the \
             database put back to an older copy? Evidence: {}",
            keeper.name,
            Timestamp::from_ms(checkpoint.at_ms),
            end.size,
            note.trim_end().replace('\n', "|")
        );
        let conflict = Conflict {
            end,
            signed_at_ms: checkpoint.at_ms,
            note: note.to_owned(),
            whose: keeper.name.clone(),
            host: keeper.host,
            reason: reason.clone(),
        };
        let is_news = store
            .record_conflict(conflict, keeper.origin.clone(), now.ms())
            .await?;
        if is_news {
            tracing::error!(reason, "the log was set back or rewritten");
        }
        Ok(true)
    }
}

/// What somebody presents that was signed by another key proves nothing to us; she finds out herself
/// that the key is another.
fn note_foreign(keeper: &Keeper, error: InvalidCheckpoint) {
    let keeper = &keeper.name;
    tracing::warn!(keeper, %error, "a checkpoint was presented that is none of ours");
}

fn end_of(checkpoint: &Checkpoint) -> LogEnd {
    let Checkpoint { size, root, .. } = *checkpoint;
    LogEnd { size, root }
}

#[cfg(test)]
mod tests;
