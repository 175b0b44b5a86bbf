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
//! - The journal is there, whole (`quick_check`), the one we made (its epoch stands in a file beside
//!   it), and ends where the witness of this boot saw it end ([`witness`]): everything that was ever
//!   granted is in it, because commits are synced. This holds after kill -9.
//! - It ends before that, or has another chain there: it was put back to an older copy. What was let
//!   through is dated at or before a date in the witness, which becomes the floor; and the journal
//!   gets a new epoch, so that nobody takes its next events for those that it lost.
//! - There is no witness, as after a boot: a copy would look just as whole. Whatever might have been
//!   granted until now is refused: the floor is now plus the furthest future that is accepted. A
//!   controller that has seen the end of this very journal lifts it ([`Journal::prove`]).
//! - It is new, and a trace or a witness tells of one before it: the same.
//! - It is new and nothing tells of one before it: packets dated before this second are refused. With
//!   `--no-ageing` not even those, and a warning: a host that has just been set up to read old
//!   captures would refuse them all.
//! - It is there, but was kept for a narrower age window: packets dated before the change are
//!   refused.
//! - It is damaged, or empty where a trace says that it was not: it is set aside and kept, and a new
//!   one begins with the floor of a lost one ([`Journal::open_or_begin_anew`]).
//!
//! While the agent runs, the files are looked at before each commit: what was deleted, replaced, cut
//! or damaged is written anew before anything is recorded ([`Journal::mend`]).
//!
//! Floors stay in force for as long as the journal lives, and go where `gate::replay` says.

mod archive;
mod check;
mod checkpoint;
mod commit;
mod disk;
mod epoch;
mod error;
mod floors;
mod live_grants;
mod lock;
mod place;
mod preallocate;
mod reader;
mod records;
mod replays;
mod rescue;
mod schema;
mod scrub;
mod siblings;
mod start;
mod unconfirmed;
mod version_1;
mod witness;

use std::path::{Path, PathBuf};

use engine::CycleStage;
use fleet::event::ChainVersion;
use fleet::{Event, GrantId};
use nix::fcntl::Flock;
use rusqlite::{Connection, params};

#[cfg(feature = "link")]
pub(crate) use archive::FLEET_MEMORY_NAME;
pub use archive::FleetJournal;
pub use error::JournalError;
pub use gate::FloorReason;
use live_grants::Opened;
pub use live_grants::{FoundGrant, LiveGrant};
pub use lock::hold_state;
pub use place::Loss;
pub use reader::{JournalReader, floors_of, reset_floors_of};
pub use start::{Floor, JournalOptions, Start};
pub use witness::WITNESS_DIR;

use check::Check;
use checkpoint::Checkpointer;
use place::Place;
use replays::Remembered;
use siblings::{SIBLINGS_MAX, Siblings};
use witness::{Said, Witness};

/// Gives bytes to the reader of witnesses, whoever wrote them ([`crate::hostile`]).
pub(crate) fn read_hostile(bytes: &[u8]) {
    witness::read_hostile(bytes);
}

use crate::policies::PolicyText;

/// The file in the state directory.
pub const FILE_NAME: &str = "journal.db";
/// Events of a joined host that stay after the controller has them, the newest of all: what this host
/// did in the last hours can be read on it while the controller is away. As an event has at most
/// [`BODY_BYTES_MAX`](fleet::event::BODY_BYTES_MAX), 32 MiB if all were as long as can be; a grant is
/// some hundred bytes.
pub const KEPT_EVENTS: u64 = 4_096;

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
    /// Keys of a policy that was replaced are in the write-ahead log still.
    is_scrub_due: bool,
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
    /// What was seen here, by the date inside.
    memory: gate::Memory,
    /// Whether messages do not age: then `memory` holds only floors, and the disk is asked.
    keeps_forever: bool,
    /// Twice that long messages are remembered; 0 when they do not age.
    window_secs: u64,
    max_future_secs: u64,
    /// Everything that was let through, but what a floor covers, is dated at or before this.
    newest_secs: u64,
    /// Where the dates lie of what was let through.
    let_through: gate::Spans,
    /// What a version before left.
    remembered: Remembered,
    /// What siblings have claimed.
    siblings: Siblings,
    /// Whether that version left messages to be kept for ever: they lie on disk, without a date.
    any_undated: bool,
    witness: Option<Witness>,
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
    /// Until the controller has them, and then as long as they are of the newest [`KEPT_EVENTS`].
    UntilAcknowledged,
    /// As the local audit of a host without controller.
    Days(u32),
}

/// What the next commit writes.
#[derive(Debug, Default)]
struct Staged {
    /// Digests of messages, each with the date inside.
    digests: Vec<([u8; 32], u64)>,
    /// Digests that siblings claimed, each with its place and the time after which it may be
    /// forgotten.
    claimed: Vec<(u64, [u8; 32], u64)>,
    events: Vec<Event>,
    /// Grants that are opened, in the order of the events that say so, each with the place of its
    /// event.
    opened: Vec<(usize, Opened)>,
    /// Command cycles that are opened.
    cycles: Vec<(GrantId, String)>,
    /// Command cycles that are further than they were.
    cycle_stages: Vec<(GrantId, CycleStage)>,
    /// Grants whose closing is among the events, or that live on in no connection any more.
    closed: Vec<GrantId>,
    /// Grants whose closing is among the events, and that live on in connections.
    living_on: Vec<GrantId>,
    /// Grants whose users want their connections ended.
    given_up: Vec<GrantId>,
    /// Why this host is locked from now on, or that it is not.
    lock: Option<Option<String>>,
    acknowledged: Option<u64>,
    forget_through_secs: Option<u64>,
    unclaim_through_secs: Option<u64>,
    /// Siblings' claims up to this place are forgotten.
    unclaim_through: Option<u64>,
    /// The floors as they are from now on.
    floors: Option<gate::Floors>,
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
        self.stage_grant(Opened::New(grant), event)
    }

    /// Stages that a grant is open for as long as this event says; every start finds it with that
    /// event.
    pub fn stage_extended(&mut self, grant: GrantId, event: Event) {
        let until_ms = event.until_ms;
        let id = grant;
        self.stage_grant(Opened::Again { id, until_ms }, event);
    }

    fn stage_grant(&mut self, opened: Opened, event: Event) -> u64 {
        self.staged.opened.push((self.staged.events.len(), opened));
        self.stage(event)
    }

    /// Stages that a command cycle is about to open, and the command that closes it. Until its end is
    /// committed ([`Self::stage_closed`]), every start finds it.
    pub fn stage_cycle(&mut self, id: GrantId, close: String, event: Event) {
        let until_ms = event.until_ms;
        let rules = Vec::new();
        self.staged.cycles.push((id, close));
        self.stage_opened(
            LiveGrant {
                id,
                until_ms,
                rules,
            },
            event,
        );
    }

    /// Stages how far a command cycle is.
    pub fn stage_cycle_stage(&mut self, id: GrantId, stage: CycleStage, event: Event) {
        self.staged.cycle_stages.push((id, stage));
        self.stage(event);
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

    /// Stages that the user of a grant wants its connections ended, of which some may be somebody
    /// else's: every start finds it so. Not worth a commit of its own.
    pub fn stage_given_up(&mut self, grant: GrantId) {
        self.staged.given_up.push(grant);
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

    /// A sibling has claimed `digest`, which makes it a replay here. Staged; when there are very many,
    /// the oldest of them are forgotten, and the controller is asked about those.
    pub fn remember_claimed(&mut self, digest: [u8; 32], forget_after_secs: u64) {
        let Some(number) = self.siblings.insert(&digest, forget_after_secs) else {
            return;
        };
        // Beyond this the disk takes nothing; in memory it is known all the same.
        if self.staged.claimed.len() < SIBLINGS_MAX {
            let claimed = (number, digest, forget_after_secs);
            self.staged.claimed.push(claimed);
        }
        let evicted = self.siblings.evict();
        self.staged.unclaim_through = self.staged.unclaim_through.max(evicted);
    }

    /// Forgets what may be forgotten by now, and sets floors anew that a clock set which was ahead.
    /// To be called every few seconds, with whether something vouches for the clock. Answers the
    /// floor, if it is set anew.
    pub fn tidy(&mut self, now: gate::Now, is_proven: bool) -> Option<gate::Floor> {
        if let Some(finding) = self.check.finding() {
            tracing::error!(path = %self.path.display(), finding, "the journal is damaged");
            self.damage = Some(Loss::Damaged(self.path.clone()));
        }
        self.is_lost = self.damage.is_some() || self.place.look().is_some();
        if self.is_scrub_due && !self.is_lost {
            self.scrub();
        }
        let now_secs = now.wall_secs;
        let is_corrected = (is_proven && self.memory.correct(now_secs, self.max_future_secs))
            || self.memory.correct_first(now_secs);
        if is_corrected {
            self.stage_floors();
        }
        if !self.keeps_forever {
            let clock = gate::Clock {
                now_secs,
                is_proven,
            };
            let forgotten = self.memory.forget(clock, self.window_secs);
            self.stage_spent(forgotten);
        }
        if is_proven {
            let staged = &mut self.staged;
            let left = self.remembered.forget(now_secs);
            staged.unclaim_through_secs = staged.unclaim_through_secs.max(left);
            let claimed = self.siblings.forget(now_secs);
            staged.unclaim_through = staged.unclaim_through.max(claimed);
        }
        if let Retention::Days(days) = self.retention {
            let kept_ms = u64::from(days) * 24 * 60 * 60 * 1_000;
            self.staged.prune_events_before_ms = Some(now.wall_ms().saturating_sub(kept_ms));
        }
        is_corrected.then(|| self.floor())
    }

    /// The higher of the floors in force.
    pub fn floor(&self) -> gate::Floor {
        self.memory.floors().highest()
    }

    /// An operator says that the clock is right: no floor stays above now and the furthest future
    /// that is accepted. Answers the floor, if it is set anew. Staged.
    pub fn reset_floor(&mut self, now_secs: u64) -> Option<gate::Floor> {
        let is_lower = self.memory.reset(now_secs, self.max_future_secs);
        if is_lower {
            self.stage_floors();
        }
        is_lower.then(|| self.floor())
    }

    /// Somebody who knows says that what is dated at or before `through_secs` may have been granted.
    /// Staged.
    pub fn raise_floor(&mut self, through_secs: u64, why: FloorReason, now_secs: u64) {
        self.memory.raise(gate::Floor {
            through_secs,
            set_at_secs: now_secs,
            why,
        });
        self.stage_floors();
    }

    /// The controller has this journal up to `seq`, with this chain value there. If so it is here,
    /// nothing that the controller knows of was lost, and a floor goes that stands only because
    /// nothing proved it. Answers whether one did. Staged.
    pub fn prove(&mut self, epoch: &str, seq: u64, chain: &[u8; 32]) -> bool {
        let is_ours = seq > 0 && epoch == self.epoch && self.has_chain_at(seq, chain);
        let is_proven = is_ours && self.memory.prove();
        if is_proven {
            self.stage_floors();
        }
        is_proven
    }

    /// Whether the event at `seq` had this chain value: it is still here, or what follows it is.
    fn has_chain_at(&self, seq: u64, chain: &[u8; 32]) -> bool {
        if seq == self.last_seq {
            return *chain == self.chain;
        }
        let found = start::chain_at(&self.connection, seq);
        match found {
            Ok(Some(found)) => found == *chain,
            // Deleted, because it was acknowledged.
            Ok(None) => records::follows(&self.connection, seq, chain).unwrap_or(false),
            Err(_) => false,
        }
    }

    fn stage_floors(&mut self) {
        self.staged.floors = Some(self.memory.floors().clone());
    }

    fn stage_spent(&mut self, through_secs: Option<u64>) {
        if let Some(through_secs) = through_secs {
            let staged = &mut self.staged.forget_through_secs;
            *staged = (*staged).max(Some(through_secs));
            self.stage_floors();
        }
    }

    /// What opens next is known outside of the state directory too.
    fn note_in_witness(&mut self) {
        let said = Said {
            epoch: witness::epoch_bytes(&self.epoch),
            seq: self.last_seq,
            chain: self.chain,
            newest_secs: self.newest_secs.max(self.memory.newest_secs()),
            let_through: self.let_through.clone(),
        };
        if let Some(witness) = &mut self.witness {
            witness.note(said);
        }
    }
}

impl gate::ReplayLog for Journal {
    fn floor_over(&self, dated_secs: u64) -> Option<u64> {
        self.memory.floor_over(dated_secs)
    }

    /// Staged, and durable when [`Journal::commit`] returns; whoever opens a hole commits first.
    fn check_and_insert(
        &mut self,
        digest: spa::ReplayDigest,
        dated_secs: u64,
        now_secs: u64,
    ) -> Result<(), gate::Replayed> {
        let digest = digest.0;
        if self.siblings.contains(&digest) {
            return Err(gate::Replayed::Elsewhere);
        }
        // Also an answer when it cannot be told: wrongly refusing costs a user one retry.
        if self.remembered.contains(&digest)
            || self.is_clogged()
            || (self.any_undated && self.is_on_disk_undated(&digest))
        {
            return Err(gate::Replayed::Here);
        }
        if self.keeps_forever {
            if let Some(floor_secs) = self.memory.floor_over(dated_secs) {
                return Err(gate::Replayed::BeforeFloor { floor_secs });
            }
            if self.is_kept_forever(&digest, dated_secs) {
                return Err(gate::Replayed::Here);
            }
        } else {
            let forgotten = self.memory.see(&digest, dated_secs, now_secs)?;
            self.stage_spent(forgotten);
        }
        self.newest_secs = self.newest_secs.max(dated_secs);
        self.let_through.add_date(dated_secs);
        self.staged.digests.push((digest, dated_secs));
        Ok(())
    }
}

impl Journal {
    /// Whether the message is one of those that are kept for ever: on disk, or on the way there.
    fn is_kept_forever(&self, digest: &[u8; 32], dated_secs: u64) -> bool {
        let message = (*digest, dated_secs);
        self.staged.digests.contains(&message) || self.is_on_disk(digest, dated_secs)
    }

    fn is_on_disk(&self, digest: &[u8; 32], dated_secs: u64) -> bool {
        let found = self
            .connection
            .prepare_cached("SELECT 1 FROM seen WHERE dated_secs = ?1 AND digest = ?2")
            .and_then(|mut statement| {
                statement.exists(params![dated_secs.cast_signed(), digest.as_slice()])
            });
        self.or_seen(found)
    }

    fn is_on_disk_undated(&self, digest: &[u8; 32]) -> bool {
        let found = self
            .connection
            .prepare_cached("SELECT 1 FROM replay WHERE forget_after_secs = 0 AND digest = ?1")
            .and_then(|mut statement| statement.exists([digest.as_slice()]));
        self.or_seen(found)
    }

    /// What cannot be looked up may have been seen.
    fn or_seen(&self, found: rusqlite::Result<bool>) -> bool {
        found.unwrap_or_else(|cause| {
            tracing::error!(path = %self.path.display(), error = %program::one_line(&cause), "cannot look up a message");
            true
        })
    }
}
