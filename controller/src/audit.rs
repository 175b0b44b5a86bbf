//! Signed checkpoints of the fleet's log: made when it has moved, shown to those who keep them, and
//! compared with those that they present.
//!
//! Whoever has the database, but not the key, can rewrite the log and not what was signed of it; and
//! whoever removes what was signed, too, is found by those who were shown it: hosts at each of their
//! sessions, auditors whenever they verify.
//!
//! The key is replaced by `audit rotate-key`, beside a running controller or without one: the database says
//! which key signs, and what another has signed meanwhile is not kept. Whoever kept something of a key of
//! before is shown how it was followed.

pub(crate) mod rotate;

use std::sync::Arc;

use fleet::audit::{AuditSigner, Checkpoint, InvalidCheckpoint, KeyChain};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::access::caller::RequestId;
use crate::error::Error;
use crate::random::random;
use crate::store::Store;
use crate::store::model::{Conflict, LogEnd, LogKeys, Origin};
use crate::timestamp::Timestamp;

/// The log's checkpoints while the controller runs.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    fleet: String,
    /// Together, so that nobody is shown a key and what another has signed.
    state: Mutex<State>,
    /// One is made at a time.
    making: tokio::sync::Mutex<()>,
}

/// What there is now.
#[derive(Clone, Debug)]
struct State {
    keys: Arc<Keys>,
    newest: Option<Signed>,
    /// To whoever presents nothing. Found out once: every host is shown it with every policy.
    shown: Arc<Shown>,
}

/// The key that signs, and those before it.
#[derive(Debug)]
struct Keys {
    signer: AuditSigner,
    chain: KeyChain,
    /// How each followed the one before, the oldest first: signed notes.
    successions: Vec<String>,
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
    /// How the key followed the one that signed what was presented, the oldest first: signed notes; all there
    /// are where none of ours was presented.
    pub(crate) successions: Vec<String>,
    /// What was presented was signed by a key of before.
    pub(crate) is_of_former_key: bool,
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

/// What somebody presents, before it is compared with the log.
#[derive(Debug)]
pub(crate) struct Presented {
    keeper: Keeper,
    keys: Arc<Keys>,
    shown: Shown,
    /// What is to be compared; `None` where none of ours is presented.
    kept: Option<Signed>,
}

// === impl Keys ===

impl Keys {
    fn of(kept: LogKeys) -> Self {
        let LogKeys {
            signer,
            successions,
        } = kept;
        let notes = successions.iter().map(String::as_str);
        let chain = KeyChain::of(signer.public(), notes).unwrap_or_else(|error| {
            tracing::error!(%error, "the database does not say how the log's key followed those before it");
            signer.public().into()
        });
        Self {
            signer,
            chain,
            successions,
        }
    }

    /// The key that signs, as text.
    fn text(&self) -> String {
        self.chain.newest().to_string()
    }
}

// === impl Signed ===

impl Signed {
    fn by(keys: &Keys, checkpoint: Checkpoint) -> Self {
        let note = checkpoint.sign(&keys.signer);
        Self { checkpoint, note }
    }
}

// === impl State ===

impl State {
    fn of(keys: Arc<Keys>, newest: Option<Signed>) -> Self {
        let note = newest.as_ref().map(|newest| newest.note.as_str());
        // What a key of before has signed of a log that was longer then, until this one is signed: to whom
        // it is shown with the key of now it would be a forgery.
        let is_of_former_key =
            note.is_some_and(|note| Checkpoint::open(note, keys.chain.newest()).is_err());
        let shown = if is_of_former_key {
            Shown::default()
        } else {
            Shown {
                newest: note.unwrap_or_default().to_owned(),
                key: keys.text(),
                successions: keys.successions.clone(),
                ..Shown::default()
            }
        };
        Self {
            keys,
            newest,
            shown: Arc::new(shown),
        }
    }
}

// === impl Shown ===

impl Shown {
    /// The same for a host that does not know that keys follow one another. One that keeps something of a
    /// key of before would take the one of now for a forgery, so it is told nothing, keeps what it has, and
    /// goes on presenting that; when its program is another, it follows.
    pub(crate) fn for_who_cannot_follow(self) -> Self {
        if self.is_of_former_key {
            return Self::default();
        }
        Self {
            successions: Vec::new(),
            ..self
        }
    }
}

// === impl Checkpoints ===

impl Checkpoints {
    /// The checkpoints of this log; with a key of its own from the first time on.
    pub(crate) async fn load(store: &Store, fleet: &str, now: Timestamp) -> Result<Self, Error> {
        let keys = keys_of(store, fleet, now).await?;
        let newest = newest_of(store, &keys).await?;
        Ok(Self {
            fleet: fleet.to_owned(),
            state: Mutex::new(State::of(Arc::new(keys), newest)),
            making: tokio::sync::Mutex::default(),
        })
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.state.lock().keys)
    }

    /// The key that verifies, as text.
    pub(crate) fn key(&self) -> String {
        self.keys().text()
    }

    /// How the key followed those before it, the oldest first: signed notes.
    pub(crate) fn successions(&self) -> Vec<String> {
        self.keys().successions.clone()
    }

    /// Whether the key of now has signed this note.
    pub(crate) fn is_of_newest_key(&self, note: &str) -> bool {
        Checkpoint::open(note, self.keys().chain.newest()).is_ok()
    }

    /// What is shown to whoever presents nothing.
    pub(crate) fn shown(&self) -> Shown {
        let shown = Arc::clone(&self.state.lock().shown);
        Shown::clone(&shown)
    }

    /// How many records are signed.
    pub(crate) fn size(&self) -> u64 {
        let state = self.state.lock();
        let newest = state.newest.as_ref();
        newest.map_or(0, |newest| newest.checkpoint.size)
    }

    /// Signs the log as it is, when it has moved. What was signed last must still be so: if not, that
    /// is recorded first.
    pub(crate) async fn sign(&self, store: &Store, now: Timestamp) -> Result<(), Error> {
        let _alone = self.making.lock().await;
        let State {
            mut keys, newest, ..
        } = self.state.lock().clone();
        let mut end = store.log_end().await?;
        if let Some(newest) = newest {
            if end == end_of(&newest.checkpoint) {
                return Ok(());
            }
            let keeper = Keeper {
                name: "this controller".to_owned(),
                host: None,
                origin: Origin::controller(RequestId::new()?.to_string()),
            };
            let root = store.root_at(newest.checkpoint.size).await?;
            if contradicts(store, &keeper, (&newest, root), now).await? {
                end = store.log_end().await?;
            }
        }
        let LogEnd { size, root } = end;
        let at_ms = now.ms();
        let checkpoint = Checkpoint { size, root, at_ms };
        let mut newest = Signed::by(&keys, checkpoint.clone());
        let note = |newest: &Signed| (size, newest.note.clone());
        while !store.add_checkpoint(keys.text(), note(&newest)).await? {
            // Somebody has rotated it, which moves the log: so it is noticed here.
            keys = Arc::new(keys_of(store, &self.fleet, now).await?);
            tracing::info!(key = keys.text(), "another key signs the log from now on");
            // She has signed the log of then, too, and the first of two of one size is kept.
            let kept = newest_of(store, &keys).await?;
            let kept = kept.filter(|kept| end_of(&kept.checkpoint) == end);
            newest = kept.unwrap_or_else(|| Signed::by(&keys, checkpoint.clone()));
        }
        *self.state.lock() = State::of(keys, Some(newest));
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
        let presented = self.open(keeper.clone(), note);
        let root = match presented.size() {
            Some(size) => store.root_at(size).await?,
            None => None,
        };
        presented.compare(store, root, now).await
    }

    /// What somebody presents, and what she is to be shown.
    pub(crate) fn open(&self, keeper: Keeper, note: &str) -> Presented {
        let State { keys, shown, .. } = self.state.lock().clone();
        let mut shown = Shown::clone(&shown);
        let mut kept = None;
        if !note.is_empty() {
            // Also of a key that had ended: what was shown before the log was cut is evidence.
            match keys.chain.open_of_any_time(note) {
                Ok((key, checkpoint)) => {
                    let before = keys.chain.keys().take_while(|known| *known != key);
                    let before = before.count().min(shown.successions.len());
                    shown.successions.drain(..before);
                    shown.is_of_former_key = key != keys.chain.newest();
                    let note = note.to_owned();
                    kept = Some(Signed { checkpoint, note });
                }
                Err(error) => note_foreign(&keeper, error),
            }
        }
        Presented {
            keeper,
            keys,
            shown,
            kept,
        }
    }
}

// === impl Presented ===

impl Presented {
    /// How many records what is presented covers; `None` where it is none of ours.
    pub(crate) fn size(&self) -> Option<u64> {
        self.kept.as_ref().map(|kept| kept.checkpoint.size)
    }

    /// Compares it with the log, whose chain value is `root` after so many records, records what contradicts it, and
    /// says what to keep from now on.
    pub(crate) async fn compare(
        self,
        store: &Store,
        mut root: Option<[u8; 32]>,
        now: Timestamp,
    ) -> Result<Shown, Error> {
        let Self {
            keeper,
            keys,
            mut shown,
            kept,
        } = self;
        let Some(kept) = kept else {
            return Ok(shown);
        };
        let size = kept.checkpoint.size;
        if contradicts(store, &keeper, (&kept, root), now).await? {
            // What was recorded of it may be that very record.
            root = store.root_at(size).await?;
        }
        if let Some(root) = root {
            let at_ms = now.ms();
            shown.restated = Checkpoint { size, root, at_ms }.sign(&keys.signer);
        }
        Ok(shown)
    }
}

/// Whether the log, where what is kept ends, contradicts that; recorded, unless that loss is known.
async fn contradicts(
    store: &Store,
    keeper: &Keeper,
    (kept, root): (&Signed, Option<[u8; 32]>),
    now: Timestamp,
) -> Result<bool, Error> {
    let Signed { checkpoint, note } = kept;
    let end = end_of(checkpoint);
    let what = match root {
        Some(root) if root == end.root => return Ok(false),
        Some(_) => "other records stand in the place of those, or they were changed".to_owned(),
        None => {
            let newest = store.log_end().await?.size;
            format!("it ends at record {newest}, and what came after that is gone")
        }
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
        note: note.clone(),
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

/// What the store keeps of the keys, with a first one where there is none.
async fn keys_of(store: &Store, fleet: &str, now: Timestamp) -> Result<Keys, Error> {
    let seed = Zeroizing::new(random()?);
    let kept = store.audit_keys(fleet.to_owned(), seed, now.ms()).await?;
    Ok(Keys::of(kept))
}

/// The newest that was signed, where that is ours.
async fn newest_of(store: &Store, keys: &Keys) -> Result<Option<Signed>, Error> {
    let newest = store.newest_checkpoint().await?;
    Ok(newest.and_then(|note| match keys.chain.open(&note) {
        Ok(checkpoint) => Some(Signed { checkpoint, note }),
        Err(error) => {
            tracing::error!(%error, "the newest checkpoint in the database is none of ours");
            None
        }
    }))
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
