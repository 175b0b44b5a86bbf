//! The journal: what was seen, what happened, and which policy is in force. Durable first.
//!
//! One SQLite file per host, written by the gate thread alone. A batch of packets is one
//! transaction: replay digests and events are staged while the packets are judged, then committed
//! and synced once, and only then does a hole open. A hole whose record could not be written never
//! opens.
//!
//! # What a start may believe
//!
//! A message may be granted only if we would know had it been granted before. So:
//!
//! - The journal is there, whole (`quick_check`), and is the one we made (its epoch stands in a
//!   file beside it): everything that was ever granted is in it, because commits are synced. This
//!   holds after kill -9 and power loss too; the boot id only tells which it was.
//! - It is new: nothing is known. Packets dated before this second are refused (the floor), so that
//!   nothing granted by a lost predecessor is granted again. If the file beside it shows that there
//!   was one, the whole current second is refused too, because the predecessor may have lived in it.
//! - It is new, and packets of any age are welcome (`--no-ageing`): a host that has just been set
//!   up to read old captures would refuse them all. So without a trace of a predecessor there is no
//!   floor, and a warning; with one there is.
//! - It is there, but was kept for a narrower age window: what was forgotten since would be fresh
//!   again. The floor is the time of the change.
//! - It is damaged, or empty where a trace says that it was not: the agent does not start. A person
//!   decides, and the next start finds a trace and no journal.
//!
//! A floor stays in force for as long as the journal lives. Digests are kept as long as the gate asks (twice the age window). What has been forgotten is
//! remembered as one number, so that a clock that is set back cannot make a forgotten message new.

mod archive;
mod check;
mod checkpoint;
mod commit;
mod disk;
mod error;
mod live_grants;
mod place;
mod preallocate;
mod reader;
mod records;
mod replays;
mod rescue;
mod schema;
mod start;
mod version_1;

use std::path::{Path, PathBuf};

use fleet::event::ChainVersion;
use fleet::{Event, GrantId};
use nix::fcntl::Flock;
use rusqlite::Connection;

pub use archive::FleetJournal;
pub use error::JournalError;
pub use live_grants::{FoundGrant, LiveGrant};
pub use place::Loss;
pub use reader::JournalReader;
pub use start::{Floor, FloorReason, JournalOptions, Start};

use check::Check;
use checkpoint::Checkpointer;
use place::Place;
use replays::{Remembered, SeenBy};

use crate::policies::PolicyText;

/// The file in the state directory.
pub const FILE_NAME: &str = "journal.db";

/// The writer of the journal. Owned by the gate thread.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    options: JournalOptions,
    connection: Connection,
    checkpointer: Checkpointer,
    place: Place,
    check: Check,
    /// What was found to be damaged, until it is mended.
    damage: Option<Loss>,
    /// It was found to be lost, and is to be written anew with the next commit.
    is_lost: bool,
    /// That it could not be written anew yet has been said.
    is_losing: bool,
    /// Why the last commit failed; `None` when it did not.
    fault: Option<String>,
    epoch: String,
    last_seq: u64,
    chain: [u8; 32],
    chain_version: ChainVersion,
    remembered: Remembered,
    /// Whether digests lie on disk that memory does not hold (those kept for ever).
    any_forever: bool,
    forgotten_secs: u64,
    staged: Staged,
    retention: Retention,
    #[cfg(test)]
    fails_commits: bool,
    /// Held for as long as the journal is ours.
    lock: Option<Flock<std::fs::File>>,
}

/// How long events stay in the spool.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Retention {
    /// Until the controller has them.
    UntilAcknowledged,
    /// As the local audit of a host without controller.
    Days(u32),
}

/// What the next commit writes.
#[derive(Debug, Default)]
struct Staged {
    /// Digest, and when it may be forgotten; 0 for never.
    digests: Vec<([u8; 32], u64)>,
    events: Vec<Event>,
    /// Grants that are opened, in the order of the events that say so, each with the place of its
    /// event.
    opened: Vec<(usize, LiveGrant)>,
    /// Grants whose closing is among the events, or that live on in no connection any more.
    closed: Vec<GrantId>,
    /// Grants whose closing is among the events, and that live on in connections.
    living_on: Vec<GrantId>,
    /// Why this host is locked from now on, or that it is not.
    lock: Option<Option<String>>,
    acknowledged: Option<u64>,
    forget_through_secs: Option<u64>,
    policy: Option<PolicyText>,
    access_file: Option<(u64, [u8; 32])>,
    prune_events_before_ms: Option<u64>,
    chain_version: Option<ChainVersion>,
}

// === impl Journal ===

impl Journal {
    /// Names this journal; see [`JournalReader::epoch`].
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why nothing can be recorded now; `None` when it can.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Position of the last event committed; 0 for none.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Stages an event. Its `seq` is given when it is committed; the returned number is the one it
    /// will have if that succeeds.
    pub fn stage(&mut self, event: Event) -> u64 {
        self.staged.events.push(event);
        self.last_seq + self.staged.events.len() as u64
    }

    /// Stages the opening of a grant. Until its closing is committed, every start finds it.
    pub fn stage_opened(&mut self, grant: LiveGrant, event: Event) -> u64 {
        self.staged.opened.push((self.staged.events.len(), grant));
        self.stage(event)
    }

    /// Stages the closing of a grant.
    pub fn stage_closed(&mut self, grant: GrantId, event: Event) {
        self.staged.closed.push(grant);
        self.stage(event);
    }

    /// Stages the closing of a grant that lives on in connections: every start finds it until
    /// [`Self::stage_forgotten`].
    pub fn stage_living_on(&mut self, grant: GrantId, event: Event) {
        self.staged.living_on.push(grant);
        self.stage(event);
    }

    /// Stages that a grant lives on in no connection any more. Not worth a commit of its own; one
    /// that is lost is staged again after a start.
    pub fn stage_forgotten(&mut self, grant: GrantId) {
        self.staged.closed.push(grant);
    }

    /// Stages that this host is locked, and why, or that it is not.
    pub fn stage_lock(&mut self, reason: Option<String>) {
        self.staged.lock = Some(reason);
    }

    /// Stages a policy as the one to enforce after a restart.
    pub fn stage_policy(&mut self, policy: PolicyText) {
        self.staged.policy = Some(policy);
    }

    /// Stages generation and digest of the access file now in force.
    pub fn stage_access_file(&mut self, generation: u64, digest: [u8; 32]) {
        self.staged.access_file = Some((generation, digest));
    }

    /// The reader of this journal understands `version` of the chain: events are chained in it from
    /// the next commit on. Never goes back.
    pub fn use_chain_version(&mut self, version: ChainVersion) {
        if version > self.chain_version {
            self.staged.chain_version = Some(version);
        }
    }

    /// The controller has all events of this journal up to `seq`.
    pub fn acknowledged(&mut self, epoch: &str, seq: u64) {
        if epoch == self.epoch && self.retention == Retention::UntilAcknowledged {
            let seq = seq.min(self.last_seq);
            self.staged.acknowledged = self.staged.acknowledged.max(Some(seq));
        }
    }

    /// Whether a sibling's claim makes `digest` a replay here. Remembers it, and stages it.
    pub fn remember_claimed(&mut self, digest: [u8; 32], forget_after_secs: u64) {
        if self.remembered.find(&digest).is_none() && !self.remembered.is_full() {
            self.remembered
                .insert(&digest, SeenBy::Sibling, forget_after_secs);
            self.staged.digests.push((digest, forget_after_secs));
        }
    }

    /// Forgets what may be forgotten by now. To be called every few seconds.
    pub fn tidy(&mut self, now: gate::Now) {
        if let Some(finding) = self.check.finding() {
            tracing::error!(path = %self.path.display(), finding, "the journal is damaged");
            self.damage = Some(Loss::Damaged(self.path.clone()));
        }
        self.is_lost = self.damage.is_some() || self.place.look().is_some();
        if let Some(latest) = self.remembered.forget(now.wall_secs) {
            self.forgotten_secs = self.forgotten_secs.max(latest);
            self.staged.forget_through_secs = Some(latest);
        }
        if let Retention::Days(days) = self.retention {
            let kept_ms = u64::from(days) * 24 * 60 * 60 * 1_000;
            self.staged.prune_events_before_ms = Some(now.wall_ms().saturating_sub(kept_ms));
        }
    }
}

impl gate::ReplayLog for Journal {
    /// Staged, and durable when [`Journal::commit`] returns; whoever opens a hole commits first.
    fn check_and_insert(
        &mut self,
        digest: spa::ReplayDigest,
        forget_after_secs: Option<u64>,
    ) -> Result<(), gate::Replayed> {
        let digest = digest.0;
        match self.remembered.find(&digest) {
            Some(SeenBy::Sibling) => return Err(gate::Replayed::Elsewhere),
            Some(SeenBy::Us) => return Err(gate::Replayed::Here),
            None => {}
        }
        // Also an answer when it cannot be told: wrongly refusing costs a user one retry.
        let full = self.remembered.is_full() || self.is_clogged();
        if full || self.was_forgotten(forget_after_secs) || self.is_kept_forever(&digest) {
            return Err(gate::Replayed::Here);
        }
        if let Some(secs) = forget_after_secs {
            self.remembered.insert(&digest, SeenBy::Us, secs);
        }
        self.staged
            .digests
            .push((digest, forget_after_secs.unwrap_or(0)));
        Ok(())
    }
}

impl Journal {
    /// Whether a message that is to be remembered for so long may have been seen and forgotten.
    fn was_forgotten(&self, forget_after_secs: Option<u64>) -> bool {
        forget_after_secs.is_some_and(|secs| secs <= self.forgotten_secs)
    }

    /// Whether the message is one of those that are kept for ever: on disk, or on the way there.
    fn is_kept_forever(&self, digest: &[u8; 32]) -> bool {
        let staged = || {
            self.staged
                .digests
                .iter()
                .any(|(staged, _)| staged == digest)
        };
        self.any_forever && (staged() || self.on_disk(digest))
    }

    fn on_disk(&self, digest: &[u8; 32]) -> bool {
        let found = self
            .connection
            .prepare_cached("SELECT 1 FROM replay WHERE forget_after_secs = 0 AND digest = ?1")
            .and_then(|mut statement| statement.exists([digest.as_slice()]));
        match found {
            Ok(found) => found,
            Err(cause) => {
                tracing::error!(path = %self.path.display(), error = %program::one_line(&cause), "cannot look up a message");
                true
            }
        }
    }
}
