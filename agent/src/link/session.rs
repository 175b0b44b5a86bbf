//! The session: one stream of directives from the controller, opened again whenever it ends.
//!
//! It alone says whether the connection is up. A policy that comes in is judged off the async
//! threads and ordered; while that goes on the stream is not read, so a controller cannot send
//! faster than this host adopts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fleet::wire::directive::Directive as Kind;
use fleet::wire::{
    ClaimedDigests, Directive, Locked, NewJournal, PolicySnapshot, SessionOpened, SessionRequest,
};
use fleet::{Capability, event::ChainVersion};
use member::ConnectError;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use super::events::{Quiet, Spool};
use super::heard::{claimed, contract_of, journal_known, says};
use super::kept_log::Said;
use super::memory::{Memory, MemoryFile};
use super::opening::{DIAL_TIMEOUT, OPEN_TIMEOUT, Unopened, homeward, log, open};
use super::packed::{InDoubt, Sent};
use super::places::{Ended, Next};
use super::report::wire_digest;
use super::{Connection, Controller, GateStopped, Peer, deliver};
use crate::clock;
use crate::link_state::{LinkState, MEMBERSHIP_ENDED};
use crate::orders::{Order, OrderSender};
use crate::policies::{self, PolicyVersion, Verdict};

/// For how long events that are on their way are waited for, before another session is opened beside the open one.
const QUIET_TIMEOUT: Duration = Duration::from_secs(5);
/// After a session that lived this long waiting begins anew; after one that was shorter, and in which the
/// controller said something, not far from it.
const LIVED: Duration = Duration::from_secs(10);
/// Digests in one order.
const CLAIMED_MAX: usize = 4096;

/// What the session needs, and where it leaves what it learns.
pub(super) struct Session {
    pub(super) controller: Controller,
    pub(super) orders: OrderSender,
    pub(super) status: watch::Receiver<engine::Status>,
    pub(super) connection: watch::Sender<Connection>,
    pub(super) spool: Spool,
    /// Held while a new journal is begun.
    pub(super) quiet: Quiet,
    /// The date of the newest message won here, seconds since the Unix epoch; 0 for none in this run.
    pub(super) newest_claimed: Arc<AtomicU64>,
    pub(super) state: LinkState,
    /// Names this run of the agent.
    pub(super) run_id: Vec<u8>,
}

/// Whether a saved policy is to be put in force. A text of the same generation is another where its
/// digest is: a lock or a removal changes it so.
fn is_newer(saved: &PolicyVersion, in_force: &engine::Status) -> bool {
    saved.generation > in_force.generation
        || saved.generation == in_force.generation && saved.digest != in_force.digest
}

/// What is known from one session to the next.
#[derive(Debug)]
struct Known {
    /// The version of the policy that was ordered last.
    ordered: PolicyVersion,
    memory: MemoryFile,
    /// Whether the controller has locked this host in this session.
    locked: bool,
    /// Whether a new journal was begun in this session.
    anew: bool,
    /// Whether the whole policy is to be asked for.
    in_doubt: bool,
    /// Whether the controller has said something in this session.
    heard: bool,
    /// The checkpoint of the fleet's log that was presented, until that was answered.
    presented: Option<String>,
    /// When the session that is open was begun.
    began: Instant,
}

/// Why a session is over.
#[derive(Debug)]
enum SessionEnd {
    /// The gate thread has stopped.
    Stopped,
    /// The next one is of a new journal, or gets the whole policy.
    Anew,
    /// The controller ended it in an orderly way.
    Closed,
    /// The connection failed, or the controller refused.
    Failed(ConnectError),
}

// === impl Session ===

impl Session {
    /// Keeps a session open for as long as the link lives.
    pub(super) async fn keep(self) {
        let Ok(ordered) = self.begin().await else {
            return;
        };
        let mut known = Known {
            ordered,
            memory: MemoryFile::load(&self.spool.dir()),
            locked: false,
            anew: false,
            in_doubt: false,
            heard: false,
            presented: None,
            began: Instant::now(),
        };
        loop {
            let address = match self.controller.addresses.next() {
                Next::Dial(address) => address,
                Next::Wait(wait) => {
                    tokio::time::sleep(wait).await;
                    continue;
                }
            };
            known.began = Instant::now();
            let ending = self.once(address, &mut known).await;
            let is_anew = matches!(ending, SessionEnd::Anew);
            let in_order = matches!(ending, SessionEnd::Anew | SessionEnd::Closed);
            match ending {
                // The connection stays up, for the last events.
                SessionEnd::Stopped => return,
                SessionEnd::Anew => {}
                SessionEnd::Closed => {
                    tracing::info!("the controller closed the session");
                    self.state.disconnected(String::new(), clock::now());
                }
                SessionEnd::Failed(error) => {
                    log(&error);
                    let words = program::one_line(&error).to_string();
                    self.state.disconnected(words, clock::now());
                }
            }
            self.connection.send_replace(Connection::Down);
            let was_long = is_anew || known.began.elapsed() >= LIVED;
            let ended = match (std::mem::take(&mut known.heard), in_order) {
                (true, true) => Ended::Orderly { was_long },
                (true, false) => Ended::Broke { was_long },
                (false, _) => Ended::Unheard,
            };
            self.controller.addresses.ended(ended);
        }
    }

    /// Orders the policy saved in the journal, unless one is in force: the controller is not needed
    /// to go on. Answers which version that is.
    async fn begin(&self) -> Result<PolicyVersion, GateStopped> {
        let Some(saved) = self.spool.policy().await else {
            return Ok(PolicyVersion::default());
        };
        let version = saved.version;
        if !is_newer(&version, &self.status.borrow()) {
            return Ok(version);
        }
        let mut opening = self.controller.keys.opening().await;
        match opening.compile(saved).await {
            Ok(policy) => {
                opening.ordered = Some(version);
                deliver(&self.orders, Order::ReplacePolicy(Box::new(policy))).await?;
                return Ok(version);
            }
            Err(reasons) => tracing::error!(?reasons, "the saved policy cannot be enforced"),
        }
        // The same generation may come again; an older one still may not.
        Ok(PolicyVersion {
            generation: version.generation,
            ..PolicyVersion::default()
        })
    }

    async fn once(&self, address: String, known: &mut Known) -> SessionEnd {
        match self.talk(address, known).await {
            Ok(ending) => ending,
            Err(error) => SessionEnd::Failed(error),
        }
    }

    async fn talk(&self, address: String, known: &mut Known) -> Result<SessionEnd, ConnectError> {
        let mut switches = self.controller.keys.switches();
        let dialled_after = *switches.borrow_and_update();
        let channel = self.dial(address).await?;
        let request = self.asked(known).await;
        let response = match open(channel.clone(), request).await {
            Ok(response) => response,
            Err(Unopened::NoAnswer) => return Err(self.no_answer(OPEN_TIMEOUT)),
            Err(Unopened::Refused(status)) => {
                if says(&status, fleet::MEMBERSHIP_ENDED) && !self.controller.renews().await {
                    let order = Order::Lock(MEMBERSHIP_ENDED.to_owned());
                    if deliver(&self.orders, order).await == Err(GateStopped) {
                        return Ok(SessionEnd::Stopped);
                    }
                }
                if says(&status, fleet::AUTHORITY_UNKNOWN)
                    && let Some(member) = self.controller.keys.member()
                {
                    member.forget_certificate();
                }
                return Err(self.failed(status));
            }
        };
        self.controller.addresses.opened();
        let Some(mut stream) = self.opens((channel, response), dialled_after, known).await else {
            return Ok(SessionEnd::Stopped);
        };
        let mut home = homeward(self.controller.clone());
        loop {
            let directive = tokio::select! {
                said = stream.message() => said.map_err(|status| self.failed(status))?,
                _ = switches.changed() => return Ok(SessionEnd::Anew),
                reached = &mut home => {
                    home = homeward(self.controller.clone());
                    let Some(reached) = reached else { continue };
                    match self.go_home(reached, dialled_after, known).await {
                        Some(Ok(there)) => stream = there,
                        Some(Err(GateStopped)) => return Ok(SessionEnd::Stopped),
                        None => {}
                    }
                    continue;
                }
            };
            let Some(directive) = directive else {
                return Ok(SessionEnd::Closed);
            };
            known.heard = true;
            if self.follow(directive, known).await == Err(GateStopped) {
                return Ok(SessionEnd::Stopped);
            }
            if known.anew || known.in_doubt {
                return Ok(SessionEnd::Anew);
            }
        }
    }

    async fn dial(&self, address: String) -> Result<Channel, ConnectError> {
        tokio::time::timeout(DIAL_TIMEOUT, (self.controller.dial)(address))
            .await
            .unwrap_or_else(|_| Err(self.no_answer(DIAL_TIMEOUT)))
    }

    /// The question that opens a session.
    async fn asked(&self, known: &mut Known) -> SessionRequest {
        let request = self.request(known).await;
        known.in_doubt = false;
        known.presented = Some(request.audit_checkpoint.clone());
        request
    }

    /// A session is open there: everything else speaks to it from now on. `None` when the gate has stopped.
    async fn opens(
        &self,
        (channel, response): (Channel, Response<Streaming<Directive>>),
        dialled_after: u64,
        known: &mut Known,
    ) -> Option<Streaming<Directive>> {
        let contract = contract_of(response.metadata());
        tracing::info!(contract = contract.version, "connected to the controller");
        if contract.can(Capability::EventRecords) {
            let order = Order::UseChainVersion(ChainVersion::V2);
            if deliver(&self.orders, order).await == Err(GateStopped) {
                return None;
            }
        }
        let peer = Peer { channel, contract };
        self.connection.send_replace(Connection::Up(peer));
        self.state.connected(clock::now());
        self.controller.keys.speaks(dialled_after);
        known.locked = false;
        known.anew = false;
        Some(response.into_inner())
    }

    /// Opens a session at an earlier controller, in the place of the one that is open, which ends when this is there.
    /// `None` where it is not opened: the one that is open goes on.
    async fn go_home(
        &self,
        (address, channel): (String, Channel),
        dialled_after: u64,
        known: &mut Known,
    ) -> Option<Result<Streaming<Directive>, GateStopped>> {
        // What is said of the journal's end must not be overtaken by what the open session takes meanwhile.
        let quiet = tokio::time::timeout(QUIET_TIMEOUT, self.quiet.lock()).await;
        let opened = match quiet {
            Ok(_quiet) => open(channel.clone(), self.asked(known).await).await.ok(),
            Err(_) => None,
        };
        let Some(response) = opened else {
            tracing::debug!(address, "an earlier controller opens no session yet");
            self.controller.addresses.stays();
            return None;
        };
        self.controller.addresses.went_home(&address);
        tracing::info!(address, "back at an earlier controller");
        known.began = Instant::now();
        known.heard = false;
        let there = self.opens((channel, response), dialled_after, known).await;
        Some(there.ok_or(GateStopped))
    }

    /// Says what is in force here, so that it is not sent again without need, and what this host has
    /// seen, so that the controller notices when one of us was set back.
    async fn request(&self, known: &Known) -> SessionRequest {
        let journal = self.spool.end().await;
        let status = self.status.borrow();
        let newest_claimed = self.newest_claimed.load(Ordering::Relaxed);
        let Memory {
            session_pass,
            highest_generation,
            highest_claim_epoch,
            newest_claimed_secs,
            called: _,
            log,
        } = known.memory.get().clone();
        let in_force = (status.generation, status.digest);
        let named = status.locked.is_none() && !known.in_doubt;
        let ordered = Some(known.ordered).filter(|ordered| {
            named && (ordered.generation, ordered.digest) == in_force && in_force.0 > 0
        });
        SessionRequest {
            generation: status.generation,
            // One that is locked is sent a policy as soon as it is locked no more.
            policy_digest: if named {
                wire_digest(status.generation, &status.digest)
            } else {
                Vec::new()
            },
            policy_not_after_secs: ordered.map(|ordered| ordered.not_after_secs),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            highest_generation: highest_generation.max(status.generation),
            highest_claim_epoch,
            newest_claimed_secs: newest_claimed_secs.max(newest_claimed),
            journal,
            session_pass,
            run_id: self.run_id.clone(),
            host_time_ms: clock::now().wall_ms(),
            audit_checkpoint: log.checkpoint,
        }
    }

    async fn follow(&self, directive: Directive, known: &mut Known) -> Result<(), GateStopped> {
        match directive.directive {
            // A directive of a later version of the controller.
            None => Ok(()),
            Some(Kind::Opened(opened)) => self.opened(opened, known).await,
            Some(Kind::NewJournal(directive)) => self.new_journal(directive, known).await,
            Some(Kind::Locked(Locked { reason })) => {
                known.locked = true;
                // An acknowledgement without a reason says that the host is not locked.
                let reason = match reason.trim() {
                    "" => "no reason was given".to_owned(),
                    _ => reason,
                };
                deliver(&self.orders, Order::Lock(reason)).await
            }
            Some(Kind::Policy(snapshot)) => self.policy(Sent::Snapshot(snapshot), known).await,
            Some(Kind::Kept(kept)) => self.policy(Sent::Kept(kept), known).await,
            Some(Kind::Claimed(ClaimedDigests { digests })) => {
                let digests: Vec<_> = digests.iter().filter_map(claimed).collect();
                for digests in digests.chunks(CLAIMED_MAX) {
                    deliver(&self.orders, Order::Claimed(digests.to_vec())).await?;
                }
                Ok(())
            }
        }
    }

    /// Refuses what may have been granted before, and begins a journal that nobody takes for the
    /// continuation of another. What the controller has not acknowledged is carried over.
    async fn new_journal(
        &self,
        directive: NewJournal,
        known: &mut Known,
    ) -> Result<(), GateStopped> {
        let NewJournal { reason, floor_secs } = directive;
        tracing::error!(
            reason,
            floor_secs,
            "the controller has another history of this host: older packets are refused"
        );
        deliver(&self.orders, Order::RaiseFloor(floor_secs)).await?;
        // Whatever is on its way is answered first: it must not be carried over too.
        let _quiet = self.quiet.lock().await;
        let (done, begun) = oneshot::channel();
        deliver(&self.orders, Order::BeginJournal(done)).await?;
        known.anew = begun.await.unwrap_or(false);
        Ok(())
    }

    /// Keeps the pass, durably, before anything else is followed.
    async fn opened(&self, opened: SessionOpened, known: &mut Known) -> Result<(), GateStopped> {
        let SessionOpened {
            session_pass,
            controller_time_ms: _,
            acknowledged,
            replay_floor_secs,
            claim_epoch,
            called,
            audit_checkpoint,
            audit_key,
            audit_restated,
            trust_digest,
            audit_successions,
            rotation_asked_ms,
            controllers,
        } = opened;
        self.controller.hear(controllers).await;
        self.controller.learn(&trust_digest);
        self.state.rotate_as_asked(rotation_asked_ms);
        if !called.is_empty() {
            self.state.called(&called);
        }
        let mut log = known.memory.get().log.clone();
        let presented = known.presented.take();
        let said = Said {
            checkpoint: &audit_checkpoint,
            key: &audit_key,
            restated: &audit_restated,
            successions: &audit_successions,
            was_presented: presented.is_some_and(|note| note == log.checkpoint),
        };
        let conflict = log.follow(said, clock::now().wall_ms());
        self.remember(known, move |memory| {
            memory.session_pass = session_pass;
            memory.highest_claim_epoch = claim_epoch;
            memory.log = log;
            // Controllers that do not say have not renamed it.
            if !called.is_empty() {
                memory.called = called;
            }
        })
        .await;
        if let Some(reason) = conflict {
            tracing::error!(
                reason,
                "the fleet's log is not what this host was shown of it"
            );
            self.state.log_conflict(&reason);
            deliver(&self.orders, Order::LogConflict(reason)).await?;
        }
        if let Some(known) = acknowledged.and_then(journal_known) {
            deliver(&self.orders, known).await?;
        }
        self.raise_claim_floor(replay_floor_secs, &mut known.ordered)
            .await
    }

    /// Changes what is remembered. On a disk that takes nothing the session goes on: a host that is
    /// to be told who is in no more must hear of it.
    async fn remember(&self, known: &mut Known, change: impl FnOnce(&mut Memory) + Send + 'static) {
        let newest_claimed = self.newest_claimed.load(Ordering::Relaxed);
        let mut file = std::mem::take(&mut known.memory);
        let storing = tokio::task::spawn_blocking(move || {
            let stored = file.change(|memory| {
                change(memory);
                memory.newest_claimed_secs = newest_claimed;
            });
            (file, stored)
        });
        match storing.await {
            Ok((file, stored)) => {
                known.memory = file;
                if let Err(error) = stored {
                    tracing::error!(%error, "what was heard of the fleet is not stored");
                }
            }
            Err(error) => {
                tracing::error!(%error, "what was heard of the fleet is not stored");
                known.memory = MemoryFile::load(&self.spool.dir());
            }
        }
    }

    /// The list of claims has lost what was dated up to there. The policy in force, which is kept,
    /// refuses it from now on.
    async fn raise_claim_floor(
        &self,
        floor_secs: u64,
        ordered: &mut PolicyVersion,
    ) -> Result<(), GateStopped> {
        if floor_secs <= ordered.replay_floor_secs {
            return Ok(());
        }
        let Some(mut saved) = self.spool.policy().await else {
            return Ok(());
        };
        let in_force = (self.status.borrow().generation, self.status.borrow().digest);
        if (saved.version.generation, saved.version.digest) != in_force {
            // Another one is on its way, with its floor.
            return Ok(());
        }
        saved.version.replay_floor_secs = floor_secs;
        let mut opening = self.controller.keys.opening().await;
        let version = saved.version;
        match opening.compile(saved).await {
            Ok(policy) => {
                tracing::warn!(
                    floor_secs,
                    "the fleet's list of claims was lost: older packets of shared keys are refused"
                );
                *ordered = version;
                opening.ordered = Some(version);
                deliver(&self.orders, Order::ReplacePolicy(Box::new(policy))).await
            }
            Err(reasons) => {
                tracing::error!(?reasons, "the policy in force cannot be compiled again");
                Ok(())
            }
        }
    }

    /// Follows what is said of the policy. What is built on a text that is not here ends the session;
    /// in the next one the whole is sent.
    async fn policy(&self, said: Sent, known: &mut Known) -> Result<(), GateStopped> {
        let saved = if said.needs_saved() {
            self.spool.policy().await
        } else {
            None
        };
        let (generation, claim_epoch) = said.numbers();
        let whole = tokio::task::spawn_blocking(move || said.whole(saved)).await;
        let snapshot = match whole {
            Ok(Ok(snapshot)) => snapshot,
            Ok(Err(InDoubt)) => {
                tracing::warn!(
                    generation,
                    "the controller takes another policy for this host's: the whole is asked for"
                );
                known.in_doubt = true;
                return Ok(());
            }
            Err(error) => {
                tracing::error!(%error, generation, "the policy could not be unpacked");
                return Ok(());
            }
        };
        if !known.locked && self.status.borrow().locked.is_some() {
            // Before the policy, which is in force the moment it is there.
            deliver(&self.orders, Order::Unlock).await?;
        }
        self.remember(known, move |memory| {
            memory.highest_generation = generation;
            memory.highest_claim_epoch = claim_epoch;
        })
        .await;
        self.adopt(snapshot, &mut known.ordered).await
    }

    async fn adopt(
        &self,
        snapshot: PolicySnapshot,
        ordered: &mut PolicyVersion,
    ) -> Result<(), GateStopped> {
        let generation = snapshot.generation;
        let status = self.status.borrow().clone();
        let mut opening = self.controller.keys.opening().await;
        let (secrets, before) = (Arc::clone(&opening.secrets), *ordered);
        let judge = tokio::task::spawn_blocking(move || {
            policies::judge(snapshot, &status, before, &*secrets, clock::now())
        });
        let verdict = match judge.await {
            Ok(verdict) => verdict,
            Err(error) => {
                tracing::error!(%error, generation, "the policy could not be judged");
                return Ok(());
            }
        };
        let order = match verdict {
            Verdict::Known | Verdict::RejectedBefore => return Ok(()),
            Verdict::Adopt(policy) => {
                *ordered = policy.version;
                opening.ordered = Some(policy.version);
                Order::ReplacePolicy(policy)
            }
            Verdict::Reject(rejected) => Order::PolicyRejected(rejected),
        };
        deliver(&self.orders, order).await
    }

    fn failed(&self, status: Status) -> ConnectError {
        ConnectError::from_status(&self.controller.addresses.current(), status)
    }

    fn no_answer(&self, within: Duration) -> ConnectError {
        ConnectError::Unreachable {
            address: self.controller.addresses.current(),
            cause: format!("no answer within {} s", within.as_secs()).into(),
        }
    }
}
