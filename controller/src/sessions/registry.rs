//! The open sessions, one for each host.
//!
//! There is one slot per session that holds the host's latest target, never a queue: a host that
//! is slow gets the newest and misses nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use super::flow::{Flow, Passage};
use super::heard::{Heard, Hearing, Word};
use super::others::Others;
use super::validity::Validity;
use crate::store::model::{Claim, Member};
use crate::targets::{Target, Targets};

/// Batches of claims that wait for one slow host; more are left out, and the host learns of them
/// when it claims.
const CLAIMED_QUEUE_MAX: usize = 256;
/// What a host is told when nobody said why: an empty reason reads like no lock to some of them.
const NO_REASON: &str = "no reason was given";

/// The session's end of its entry; the host is connected for as long as it lives. Whatever becomes
/// of the session (it fails before it is served, its task breaks off, its peer vanishes), the
/// entry goes with it.
#[derive(Debug)]
pub(crate) struct Subscription {
    _place: Place,
    pub(crate) id: u64,
    pub(crate) targets: watch::Receiver<Option<Target>>,
    pub(crate) claimed: mpsc::Receiver<Vec<Claim>>,
    /// Why the host is to begin a new journal, once that is found out within the session.
    pub(crate) new_journal: watch::Receiver<Option<String>>,
    /// Why the host is locked, once it is.
    pub(crate) locked: watch::Receiver<Option<String>>,
    /// Whether something of the host was stored.
    pub(crate) activity: Arc<Activity>,
    /// Fires when the host is removed, or has opened another session.
    pub(crate) ended: CancellationToken,
}

/// Takes the entry away when it is dropped, unless a newer session has taken its place.
#[derive(Debug)]
struct Place {
    hosts: Arc<RwLock<Hosts>>,
    host: String,
    id: u64,
}

/// The registry's end of one session.
#[derive(Debug)]
struct Entry {
    id: u64,
    target: watch::Sender<Option<Target>>,
    claimed: mpsc::Sender<Vec<Claim>>,
    new_journal: watch::Sender<Option<String>>,
    locked: watch::Sender<Option<String>>,
    activity: Arc<Activity>,
    ended: CancellationToken,
    /// What was last sent, until it is acknowledged.
    sent: Option<Validity>,
    /// The room that this takes on its way.
    passage: Option<Passage>,
    /// What the host has acknowledged in this session, when nothing was sent since.
    acknowledged: Option<[u8; 32]>,
    /// What it said last, when nothing was sent since.
    heard: Heard,
}

#[derive(Debug, Default)]
struct Hosts {
    entries: HashMap<String, Entry>,
    /// What hosts have acknowledged, also of those that are not connected now.
    applied: HashMap<String, Validity>,
    /// Those that have acknowledged that they are locked.
    locks_acknowledged: HashSet<String>,
    /// Whose clock is off by more than may be.
    clocks_off: HashSet<String>,
    /// When hosts were heard that said nothing new, as long as that is not stored; by `Member::id`, in milliseconds.
    seen: BTreeMap<u64, u64>,
    /// Those of which other controllers are to be told something, where there are any.
    untold: Option<HashSet<String>>,
    /// Sessions so far.
    opened: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    hosts: Arc<RwLock<Hosts>>,
    /// Counts what hosts have acknowledged, for those who wait for it.
    acknowledgements: watch::Sender<u64>,
    flow: Flow,
    others: Others,
}

// === impl Registry ===

impl Registry {
    pub(crate) fn is_connected(&self, host: &str) -> bool {
        self.hosts.read().entries.contains_key(host)
    }

    /// The same at this controller, or at another of the fleet.
    pub(crate) fn is_connected_anywhere(&self, host: &Member) -> bool {
        self.is_connected(&host.name) || self.others.has(host.id)
    }

    /// What is known of hosts at other controllers.
    pub(crate) fn others(&self) -> &Others {
        &self.others
    }

    /// From now on others are told of hosts: of who is connected already, too.
    pub(crate) fn tell_others(&self) {
        let mut hosts = self.hosts.write();
        let untold = hosts.entries.keys().cloned().collect();
        hosts.untold = Some(untold);
    }

    /// Hosts that have come, gone or acknowledged something since this was asked last.
    pub(crate) fn take_untold(&self) -> HashSet<String> {
        let mut hosts = self.hosts.write();
        let untold = hosts.untold.as_mut().map(std::mem::take);
        untold.unwrap_or_default()
    }

    /// Others are to be told of these after all.
    pub(crate) fn put_back_untold(&self, untold: HashSet<String>) {
        if let Some(held) = &mut self.hosts.write().untold {
            held.extend(untold);
        }
    }

    /// Hosts have acknowledged something at another controller.
    pub(crate) fn note_heard_elsewhere(&self) {
        self.acknowledgements.send_modify(|count| *count += 1);
    }

    /// Opens a host's session; an older one of the same host ends. `target` is asked after new
    /// targets can no longer pass the session by.
    pub(crate) fn subscribe(
        &self,
        host: &str,
        target: impl FnOnce() -> Option<Target>,
    ) -> Subscription {
        let mut hosts = self.hosts.write();
        hosts.opened += 1;
        let id = hosts.opened;
        let ended = CancellationToken::new();
        let (claimed_sender, claimed) = mpsc::channel(CLAIMED_QUEUE_MAX);
        let (target, targets) = watch::channel(target());
        let (new_journal, new_journals) = watch::channel(None);
        let (locked, locks) = watch::channel(None);
        let activity = Arc::new(Activity::default());
        let entry = Entry {
            id,
            target,
            claimed: claimed_sender,
            new_journal,
            locked,
            activity: Arc::clone(&activity),
            ended: ended.clone(),
            sent: None,
            passage: None,
            acknowledged: None,
            heard: Heard::default(),
        };
        hosts.tell(host);
        if let Some(older) = hosts.entries.insert(host.to_owned(), entry) {
            older.ended.cancel();
        }
        Subscription {
            _place: Place {
                hosts: Arc::clone(&self.hosts),
                host: host.to_owned(),
                id,
            },
            id,
            targets,
            claimed,
            new_journal: new_journals,
            locked: locks,
            activity,
            ended,
        }
    }

    /// Something of this host was stored: a claim, an event.
    pub(crate) fn note_active(&self, host: &str) {
        if let Some(entry) = self.hosts.read().entries.get(host) {
            entry.activity.note();
        }
    }

    /// Tells a host to begin a new journal.
    pub(crate) fn begin_new_journal(&self, host: &str, reason: &str) {
        if let Some(entry) = self.hosts.read().entries.get(host) {
            entry.new_journal.send_if_modified(|held| {
                let is_news = held.as_deref() != Some(reason);
                *held = Some(reason.to_owned());
                is_news
            });
        }
    }

    /// Gives every session its target again, whether it changed or not: hosts were told nothing for
    /// a while.
    pub(crate) fn retarget_all(&self, targets: &Targets) {
        let mut hosts = self.hosts.write();
        hosts.applied.clear();
        for (host, entry) in &hosts.entries {
            entry.target.send_replace(targets.get(host).cloned());
        }
    }

    /// Tells a host in its session that it is locked. What it acknowledged before is void, unless it
    /// was told so in this session before: then it has nothing new to say.
    pub(crate) fn lock(&self, host: &str, reason: &str) {
        let mut hosts = self.hosts.write();
        hosts.applied.remove(host);
        let Some(entry) = hosts.entries.get(host) else {
            return;
        };
        let reason = match reason.trim() {
            "" => NO_REASON,
            _ => reason,
        };
        let is_news = entry.locked.send_if_modified(|held| {
            let is_news = held.is_none();
            *held = Some(reason.to_owned());
            is_news
        });
        if is_news {
            hosts.locks_acknowledged.remove(host);
        }
    }

    /// A host says that it is locked: it grants nothing and has closed what was open.
    pub(crate) fn note_locked(&self, host: &str) {
        let mut hosts = self.hosts.write();
        hosts.locks_acknowledged.insert(host.to_owned());
        hosts.tell(host);
        drop(hosts);
        self.acknowledgements.send_modify(|count| *count += 1);
    }

    /// Whether a host has said so since it was told.
    pub(crate) fn has_acknowledged_lock(&self, host: &str) -> bool {
        self.hosts.read().locks_acknowledged.contains(host)
    }

    /// Ends a host's session at once.
    pub(crate) fn end(&self, host: &str) {
        let mut hosts = self.hosts.write();
        hosts.applied.remove(host);
        hosts.locks_acknowledged.remove(host);
        if let Some(entry) = hosts.entries.remove(host) {
            hosts.tell(host);
            entry.ended.cancel();
        }
    }

    /// Gives every session whose host's text changed its new target.
    pub(crate) fn retarget(&self, targets: &Targets) {
        let mut hosts = self.hosts.write();
        for (host, entry) in &hosts.entries {
            if let Some(target) = targets.get(host) {
                entry.target.send_if_modified(|held| offer(held, target));
            }
        }
        // What was acknowledged before another text was wanted says nothing of this one, even when
        // it is the same again.
        hosts.applied.retain(|host, applied| {
            let target = targets.get(host);
            target.is_some_and(|target| target.compiled.digest == applied.digest)
        });
    }

    /// The same of these hosts only: what all others should have is what it was.
    pub(crate) fn retarget_hosts(&self, targets: &Targets, names: &[String]) {
        let mut hosts = self.hosts.write();
        for host in names {
            let target = targets.get(host);
            if let Some(entry) = hosts.entries.get(host)
                && let Some(target) = target
            {
                entry.target.send_if_modified(|held| offer(held, target));
            }
            let applied = hosts.applied.get(host);
            let digest = target.map(|target| target.compiled.digest);
            if applied.is_some_and(|applied| Some(applied.digest) != digest) {
                hosts.applied.remove(host);
            }
        }
    }

    /// Changes whenever a host acknowledges something.
    pub(crate) fn acknowledgements(&self) -> watch::Receiver<u64> {
        self.acknowledgements.subscribe()
    }

    /// Tells the hosts that share a replay domain about claims that another of them has won.
    pub(crate) fn announce(&self, targets: &Targets, won: &[Claim]) {
        let mut batches: HashMap<&str, Vec<Claim>> = HashMap::new();
        for claim in won {
            let others = targets.sharing(&claim.domain);
            for other in others.filter(|other| *other != claim.host) {
                batches.entry(other).or_default().push(claim.clone());
            }
        }
        let hosts = self.hosts.read();
        for (host, batch) in batches {
            if let Some(entry) = hosts.entries.get(host)
                && entry.claimed.try_send(batch).is_err()
            {
                tracing::debug!(host, "claimed digests left out: the host is slow");
            }
        }
    }

    /// Where policies ask for room on their way.
    pub(crate) fn flow(&self) -> &Flow {
        &self.flow
    }

    /// What a host has acknowledged in this session, when nothing was sent to it since.
    pub(crate) fn acknowledged(&self, host: &str, id: u64) -> Option<[u8; 32]> {
        let hosts = self.hosts.read();
        let entry = hosts.entries.get(host).filter(|own| own.id == id)?;
        entry.acknowledged
    }

    /// What is on its way to a host has arrived, is refused, or has had its time: others may go.
    pub(crate) fn let_others_go(&self, host: &str) {
        let mut hosts = self.hosts.write();
        let passage = hosts
            .entries
            .get_mut(host)
            .and_then(|entry| entry.passage.take());
        drop(hosts);
        drop(passage);
    }

    /// Notes what is sent to a host and the room it takes until it is acknowledged, so that this can
    /// be understood.
    pub(crate) fn note_sent(
        &self,
        host: &str,
        id: u64,
        (validity, passage): (Validity, Option<Passage>),
    ) {
        let mut hosts = self.hosts.write();
        if let Some(entry) = hosts.entries.get_mut(host).filter(|own| own.id == id) {
            entry.sent = Some(validity);
            entry.passage = passage;
            entry.acknowledged = None;
            entry.heard = Heard::Nothing;
            let applied = hosts.applied.get(host);
            if applied.is_some_and(|applied| applied.digest != validity.digest) {
                hosts.applied.remove(host);
            }
        }
    }

    /// A host says that it applies the text with this digest.
    pub(crate) fn note_applied(&self, host: &str, digest: &[u8]) {
        let mut hosts = self.hosts.write();
        let Some(entry) = hosts.entries.get_mut(host) else {
            return;
        };
        let Some(validity) = entry.sent.filter(|validity| validity.digest == digest) else {
            return;
        };
        entry.acknowledged = Some(validity.digest);
        let passage = entry.passage.take();
        hosts.applied.insert(host.to_owned(), validity);
        hosts.tell(host);
        self.acknowledgements.send_modify(|count| *count += 1);
        drop(hosts);
        drop(passage);
    }

    /// A host acknowledges the text with this digest, or none. Where it says what it said before in its session, and that
    /// is stored, it is noted as seen at that time; otherwise it is about to be stored.
    pub(crate) fn hear(
        &self,
        (host, member): (&str, u64),
        (word, digest): (&Word, &[u8]),
        now_ms: u64,
    ) -> Hearing {
        let mut hosts = self.hosts.write();
        let Hosts {
            entries,
            applied,
            seen,
            ..
        } = &mut *hosts;
        let Some(entry) = entries.get_mut(host) else {
            return Hearing::News(None);
        };
        let unacknowledged = entry.sent.filter(|sent| applied.get(host) != Some(sent));
        if unacknowledged.is_none() && entry.heard.has(word) {
            seen.insert(member, now_ms);
            return Hearing::Again;
        }
        entry.heard = Heard::Taken(*word);
        Hearing::News(unacknowledged.filter(|sent| sent.digest == digest))
    }

    /// What a host said has been stored, and done.
    pub(crate) fn note_stored(&self, host: &str, word: &Word) {
        if let Some(entry) = self.hosts.write().entries.get_mut(host) {
            entry.heard.stored(word);
        }
    }

    /// Hosts that were seen since this was asked last, and when.
    pub(crate) fn take_seen(&self) -> BTreeMap<u64, u64> {
        std::mem::take(&mut self.hosts.write().seen)
    }

    /// That could not be stored.
    pub(crate) fn put_back_seen(&self, seen: BTreeMap<u64, u64>) {
        let mut hosts = self.hosts.write();
        for (member, at_ms) in seen {
            hosts.seen.entry(member).or_insert(at_ms);
        }
    }

    /// Notes whether a host's clock is off, and says whether that is news.
    pub(crate) fn note_clock(&self, host: &str, is_off: bool) -> bool {
        let mut hosts = self.hosts.write();
        if is_off {
            hosts.clocks_off.insert(host.to_owned())
        } else {
            hosts.clocks_off.remove(host)
        }
    }

    /// What a host has acknowledged.
    pub(crate) fn applied(&self, host: &str) -> Option<Validity> {
        self.hosts.read().applied.get(host).copied()
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        let mut hosts = self.hosts.write();
        if hosts
            .entries
            .get(&self.host)
            .is_some_and(|own| own.id == self.id)
        {
            hosts.entries.remove(&self.host);
            hosts.tell(&self.host);
        }
    }
}

// === impl Hosts ===

impl Hosts {
    fn tell(&mut self, host: &str) {
        if let Some(untold) = &mut self.untold
            && !untold.contains(host)
        {
            untold.insert(host.to_owned());
        }
    }
}

/// Puts a target into a slot; says whether that changed what the host is to have.
fn offer(held: &mut Option<Target>, target: &Target) -> bool {
    let same = |held: &Target| held.compiled.digest == target.compiled.digest;
    if held.as_ref().is_some_and(same) {
        return false;
    }
    *held = Some(target.clone());
    true
}
