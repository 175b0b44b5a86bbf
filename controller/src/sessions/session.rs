//! One host's session: everything the controller has to say to it, in one stream.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

pub(crate) use self::directive::{Directive, Form};
pub(crate) use self::due::Waiting;
use self::due::{Due, arrived};
use super::flow::{self, Passage};
use super::registry::{Registry, Subscription};
use super::validity::Validity;
use crate::audit::{Checkpoints, Shown};
use crate::store::Store;
use crate::store::model::{Claim, FleetState, JournalEnd};
use crate::targets::Target;
use crate::timestamp::Timestamp;

/// Directives on their way to one host at most; a new policy waits in its slot, not here.
pub(crate) const QUEUE_MAX: usize = 2;
/// Claims told in one directive at most.
const CLAIMED_MAX: usize = 1_000;
/// After something of a host was stored, until it is given another pass: a restore of what was longer ago than this is
/// proven by it.
const RENEWAL: Duration = Duration::from_secs(60);

/// Waits that begin with the next look at them, of those that are set.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timers {
    /// Until the policy is to be sent again.
    refresh: Option<Duration>,
    /// Until nobody waits any more for what was sent.
    overdue: Option<Duration>,
}

/// How one host is served.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) host: String,
    pub(crate) registry: Arc<Registry>,
    pub(crate) subscription: Subscription,
    /// Boxed: a queue holds room for 32 however few may wait.
    pub(crate) directives: mpsc::Sender<Box<Directive>>,
    /// How long a policy is good for without a word from the controller; `None` for ever.
    pub(crate) policy_valid: Option<Duration>,
    /// What holds for the whole fleet.
    pub(crate) fleet: watch::Receiver<FleetState>,
    /// What the host is told first; `None` for hosts that keep no passes.
    pub(crate) passes: Option<Passes>,
    /// It takes packed policies, and word of those that it has.
    pub(crate) packs: bool,
    /// SHA-256 of the text the host says it has; empty for none, and after it was sent another.
    pub(crate) has_digest: Vec<u8>,
    /// The text that it said it has is the one that it should have: nobody has given it another that this
    /// controller does not know, also where this one was restored from an older copy.
    pub(crate) in_step: bool,
    /// What waits to be sent.
    pub(crate) waiting: Option<Waiting>,
    /// Until when that text is good, by the host's own word.
    pub(crate) said: Option<Validity>,
    /// What is to be looked at later.
    pub(crate) timers: Timers,
    /// What it acknowledged in a run of the controller before, as far as it is known.
    pub(crate) lease: Option<Validity>,
    /// The clock, asked whenever a policy is sent.
    pub(crate) now: fn() -> Timestamp,
}

/// What a host that keeps passes is told.
#[derive(Debug)]
pub(crate) struct Passes {
    pub(crate) store: Store,
    pub(crate) checkpoints: Arc<Checkpoints>,
    /// What the host is shown first of the fleet's log.
    pub(crate) audit: Shown,
    /// The key of the log that it was told, of a host that does not know that another may follow: it is told
    /// nothing of the log once another signs.
    pub(crate) only_key: Option<String>,
    /// `Member::id` of the host.
    pub(crate) member: u64,
    /// The first pass of the session.
    pub(crate) first: Vec<u8>,
    pub(crate) acknowledged: Option<JournalEnd>,
    /// Why it is to begin a new journal.
    pub(crate) new_journal: Option<String>,
}

// === impl Session ===

impl Session {
    /// Serves the host until it goes, is removed, or opens another session.
    pub(crate) fn run(self, known_claims: Vec<Claim>) -> impl Future<Output = ()> + Send {
        // A future that is given a value has room for it twice.
        Box::new(self).run_boxed(known_claims)
    }

    async fn run_boxed(mut self: Box<Self>, known_claims: Vec<Claim>) {
        let ended = self.subscription.ended.clone();
        let directives = self.directives.clone();
        tokio::select! {
            // In this order: whoever ends a session also drops its entry, which `serve` notices
            // too.
            biased;
            () = ended.cancelled() => {
                // Room for this one word is not waited for: the host may be the one that is stuck.
                let _ = directives.try_send(Box::new(Directive::Ended));
            }
            () = directives.closed() => {}
            _ = self.serve(known_claims) => {}
        }
    }

    /// Ends when nobody reads any more. What is done now and then is boxed, so that a session in which nothing happens,
    /// as nearly all are, has no room for it.
    async fn serve(&mut self, known_claims: Vec<Claim>) -> Option<()> {
        Box::pin(self.opened()).await?;
        if self.subscription.locked.borrow().is_some() {
            return Box::pin(self.locked()).await;
        }
        Box::pin(self.first_policy()).await?;
        Box::pin(self.known_claims(known_claims)).await?;
        let mut renewal = pin!(sleep(Duration::MAX));
        let mut refresh = pin!(sleep(Duration::MAX));
        let mut overdue = pin!(sleep(Duration::MAX));
        loop {
            let set = std::mem::take(&mut self.timers);
            if let Some(after) = set.refresh {
                refresh.set(sleep(after));
            }
            if let Some(after) = set.overdue {
                overdue.set(sleep(after));
            }
            tokio::select! {
                changed = self.subscription.targets.changed() => {
                    changed.ok()?;
                    Box::pin(self.due(Due::PassAndPolicy)).await?;
                }
                changed = self.fleet.changed() => {
                    changed.ok()?;
                    // A pass says it, to hosts that keep one.
                    let due = self.passes.as_ref().map_or(Due::Policy, |_| Due::Pass);
                    Box::pin(self.due(due)).await?;
                }
                changed = self.subscription.locked.changed() => {
                    changed.ok()?;
                    return Box::pin(self.locked()).await;
                }
                changed = self.subscription.new_journal.changed() => {
                    changed.ok()?;
                    let reason = self.subscription.new_journal.borrow_and_update().clone();
                    Box::pin(self.new_journal(reason)).await?;
                }
                claims = self.subscription.claimed.recv() => {
                    self.send(Directive::Claimed(claims?)).await?;
                }
                () = self.subscription.activity.noted() => renewal.set(sleep(RENEWAL)),
                () = renewal.as_mut() => {
                    renewal.set(sleep(Duration::MAX));
                    if self.subscription.activity.take() {
                        Box::pin(self.renew_pass()).await?;
                    }
                }
                () = refresh.as_mut() => {
                    refresh.set(sleep(Duration::MAX));
                    Box::pin(self.due(Due::Policy)).await?;
                }
                (due, passage) = arrived(&mut self.waiting) => {
                    Box::pin(self.tell(due, passage)).await?;
                }
                () = overdue.as_mut() => {
                    overdue.set(sleep(Duration::MAX));
                    self.registry.let_others_go(&self.host);
                }
            }
        }
    }

    /// Tells of claims that were known before the session; nothing of them stays.
    async fn known_claims(&self, known: Vec<Claim>) -> Option<()> {
        for claims in known.chunks(CLAIMED_MAX) {
            self.send(Directive::Claimed(claims.to_vec())).await?;
        }
        Some(())
    }

    /// Says that the host is locked, and nothing more in this session but of its journal: its events
    /// are still taken. A host of a version that does not know this is sent away.
    async fn locked(&mut self) -> Option<()> {
        self.passes.as_ref()?;
        let reason = self.subscription.locked.borrow_and_update().clone()?;
        self.send(Directive::Locked { reason }).await?;
        loop {
            self.subscription.new_journal.changed().await.ok()?;
            let reason = self.subscription.new_journal.borrow_and_update().clone();
            self.new_journal(reason).await?;
        }
    }

    /// Says what the host is to keep, and whether its journal goes on.
    async fn opened(&mut self) -> Option<()> {
        let Some(passes) = &mut self.passes else {
            return Some(());
        };
        let first = std::mem::take(&mut passes.first);
        let audit = std::mem::take(&mut passes.audit);
        let (acknowledged, reason) = (passes.acknowledged.take(), passes.new_journal.take());
        self.send_pass(first, acknowledged, audit).await?;
        self.new_journal(reason).await
    }

    /// Gives the host another pass, before whatever must be provable later. Without one it is told
    /// nothing: a controller that cannot write down what it says must not say it.
    async fn renew_pass(&mut self) -> Option<()> {
        let Some(passes) = &self.passes else {
            return Some(());
        };
        match passes.store.renew_pass(passes.member).await {
            Ok(pass) => {
                let audit = passes.checkpoints.shown();
                let audit = match &passes.only_key {
                    Some(only) if *only != audit.key => Shown::default(),
                    Some(_) => audit.for_who_cannot_follow(),
                    None => audit,
                };
                self.send_pass(pass, None, audit).await
            }
            Err(error) => {
                let (host, error) = (&self.host, program::one_line(&error));
                tracing::error!(host, %error, "no session pass is stored: the session ends");
                None
            }
        }
    }

    async fn send_pass(
        &mut self,
        session_pass: Vec<u8>,
        acknowledged: Option<JournalEnd>,
        audit: Shown,
    ) -> Option<()> {
        let fleet = self.fleet.borrow_and_update().clone();
        self.send(Directive::Opened {
            session_pass,
            now: (self.now)(),
            acknowledged,
            replay_floor_secs: fleet.replay_floor_secs,
            claim_epoch: fleet.claim_epoch,
            called: self.host.clone(),
            audit,
        })
        .await
    }

    async fn new_journal(&self, reason: Option<String>) -> Option<()> {
        let (Some(reason), Some(_)) = (reason, &self.passes) else {
            return Some(());
        };
        let floor_secs = (self.now)()
            .secs()
            .saturating_add(fleet::claims::MAX_FUTURE_SECS);
        self.send(Directive::NewJournal { reason, floor_secs })
            .await
    }

    /// Sends the policy, unless the host has it and its validity is known to be young.
    async fn first_policy(&mut self) -> Option<()> {
        // A target that came after the pass was stored is not proven by it.
        let due = if self.subscription.targets.has_changed().ok()? {
            Due::PassAndPolicy
        } else {
            Due::Policy
        };
        let target = self.subscription.targets.borrow_and_update().clone();
        let Some(target) = target else {
            return Some(());
        };
        self.in_step = self.has_digest == target.compiled.digest;
        match self.held(target.compiled.digest) {
            Some(held) if !self.refresh_in(held).is_zero() => {
                let id = self.subscription.id;
                self.registry.note_sent(&self.host, id, (held, None));
                self.timers.refresh = Some(self.refresh_in(held));
                Some(())
            }
            Some(_) | None => self.due(due).await,
        }
    }

    /// The life of this text on the host, where the host has the text and has acknowledged that: in
    /// this run of the controller or in one before.
    fn held(&self, digest: [u8; 32]) -> Option<Validity> {
        if self.has_digest != digest {
            return None;
        }
        let applied = self.registry.applied(&self.host);
        let held = [self.said, applied, self.lease].into_iter().flatten();
        held.into_iter().find(|held| held.digest == digest)
    }

    fn refresh_in(&self, validity: Validity) -> Duration {
        validity.refresh_in(self.policy_valid, &self.host, (self.now)())
    }

    /// Says what is due as soon as there is room for it: at once, or while locks and claims go past it. What
    /// waits already keeps its place, so that nobody who is to hear of each of many changes hears of none.
    async fn due(&mut self, due: Due) -> Option<()> {
        let waited = self.waiting.take();
        let due = waited.as_ref().map_or(due, |waited| waited.due.and(due));
        let bytes = flow::counted(self.bytes(due));
        let mut waiting = match waited {
            Some(waited) if waited.bytes >= bytes => Waiting { due, ..waited },
            Some(_) | None => self.wait_for(due, bytes),
        };
        if let Ok(passage) = waiting.passage.try_recv() {
            return self.tell(due, passage).await;
        }
        self.waiting = Some(waiting);
        Some(())
    }

    fn wait_for(&self, due: Due, bytes: usize) -> Waiting {
        Waiting::new(due, bytes, self.registry.flow())
    }

    /// What would travel now, about.
    fn bytes(&self, due: Due) -> usize {
        // Not looked at in its place: who holds that must not ask the registry, which sets it.
        let target = self.subscription.targets.borrow().clone();
        let target = target.filter(|_| due != Due::Pass);
        target.map_or(0, |target| self.form(&target).bytes(&target))
    }

    /// Says what is due now. A target that has come meanwhile is sent in place of the one that it was for, and
    /// proven by a pass of its own time.
    /// After a restore from an older copy nothing is sent until an operator has said what is to be in force, but
    /// to hosts whose text is ours: of a lock they hear at once.
    async fn tell(&mut self, due: Due, passage: Passage) -> Option<()> {
        let is_news = self.subscription.targets.has_changed().ok()?;
        let due = if is_news { Due::PassAndPolicy } else { due };
        let target = self.subscription.targets.borrow_and_update().clone();
        if due != Due::Policy {
            self.renew_pass().await?;
        }
        let target = target.filter(|_| due != Due::Pass && self.may_be_sent());
        let Some(target) = target else {
            return Some(());
        };
        let form = self.form(&target);
        let bytes = form.bytes(&target);
        if passage.carries(bytes) {
            return self.send_policy(target, form, passage).await;
        }
        // Its pass is stored.
        self.waiting = Some(self.wait_for(Due::Policy, bytes));
        Some(())
    }

    /// Whether it is known what the host has, or an operator has said what it is to have.
    fn may_be_sent(&self) -> bool {
        self.in_step || self.fleet.borrow().set_back.is_none()
    }

    /// In which form this host is sent this policy.
    fn form(&self, target: &Target) -> Form {
        if !self.packs {
            return Form::Whole;
        }
        let id = self.subscription.id;
        let acknowledged = self.registry.acknowledged(&self.host, id);
        let has = acknowledged
            .as_ref()
            .map_or(self.has_digest.as_slice(), |has| has);
        if has == target.compiled.digest {
            return Form::Kept;
        }
        let packed = target.compiled.packed_for(has);
        packed.map_or(Form::Whole, Form::Packed)
    }

    async fn send_policy(&mut self, target: Target, form: Form, passage: Passage) -> Option<()> {
        let fleet = self.fleet.borrow().clone();
        let validity = Validity::new(target.compiled.digest, self.policy_valid, (self.now)());
        self.timers.overdue = Some(passage.lasts());
        self.timers.refresh = Some(self.refresh_in(validity));
        let id = self.subscription.id;
        self.registry
            .note_sent(&self.host, id, (validity, Some(passage)));
        self.has_digest.clear();
        self.send(Directive::Policy {
            target,
            form,
            not_after_secs: validity.not_after_secs,
            replay_floor_secs: fleet.replay_floor_secs,
            claim_epoch: fleet.claim_epoch,
        })
        .await
    }

    async fn send(&self, directive: Directive) -> Option<()> {
        self.directives.send(Box::new(directive)).await.ok()
    }
}

mod directive;
mod due;
#[cfg(test)]
mod tests;
