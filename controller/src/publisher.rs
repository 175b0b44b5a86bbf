//! Which policy is in force, what each host should have, and who is listening.
//!
//! There is one slot per connected host that holds its latest target, never a queue: a host that is
//! slow gets the newest and misses nothing. After every change of policy or membership, everything is
//! compiled again and only the slots whose text changed are written.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fleet::Role;
use fleet::wire::ClaimedDigest;
use parking_lot::RwLock;
use policy::{NoIncludes, Policy};
use spa::ExchangePublic;
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::compile::{self, Target, Users};
use crate::error::Error;
use crate::roster::Roster;
use crate::store::{Claim, Store};

/// Batches of claimed digests that wait for one slow host; more are left out, and the host learns
/// of them when it claims.
const CLAIMED_QUEUE_MAX: usize = 256;

/// The policy in force, parsed.
#[derive(Debug)]
pub(crate) struct InForce {
    /// 0 before the first.
    pub(crate) generation: u64,
    pub(crate) policy: Policy,
}

/// A host's end of its session.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) id: u64,
    pub(crate) targets: watch::Receiver<Option<Target>>,
    pub(crate) claimed: mpsc::Receiver<Vec<ClaimedDigest>>,
    /// Fires when the host is banned, or has opened another session.
    pub(crate) ended: CancellationToken,
}

/// Until when a host may grant under a text that it has acknowledged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Lease {
    pub(crate) digest: [u8; 32],
    /// Seconds since the Unix epoch; 0 for ever.
    pub(crate) not_after_secs: u64,
}

#[derive(Debug)]
struct Session {
    id: u64,
    slot: watch::Sender<Option<Target>>,
    claimed: mpsc::Sender<Vec<ClaimedDigest>>,
    ended: CancellationToken,
    /// What was last sent, until it is acknowledged.
    sent: Option<Lease>,
}

#[derive(Debug, Default)]
struct Hosts {
    targets: HashMap<String, Target>,
    sessions: HashMap<String, Session>,
    leases: HashMap<String, Lease>,
    /// Who else holds a static key: hosts by replay domain, only where there are several.
    domains: HashMap<[u8; 32], Vec<String>>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Publisher {
    store: Store,
    roster: Arc<Roster>,
    in_force: RwLock<Arc<InForce>>,
    hosts: RwLock<Hosts>,
    /// The last request for compiling that has been served.
    compiled: Mutex<u64>,
    /// Requests for compiling so far.
    wanted: AtomicU64,
    sessions: AtomicU64,
}

// === impl Publisher ===

impl Publisher {
    /// Reads the policy in force from the store and compiles it.
    pub(crate) async fn load(store: Store, roster: Arc<Roster>) -> Result<Self, Error> {
        let publisher = Self {
            store,
            roster,
            in_force: RwLock::new(Arc::new(InForce {
                generation: 0,
                policy: Policy::default(),
            })),
            hosts: RwLock::default(),
            compiled: Mutex::new(0),
            wanted: AtomicU64::new(0),
            sessions: AtomicU64::new(1),
        };
        publisher.publish(None).await?;
        Ok(publisher)
    }

    pub(crate) fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.in_force.read())
    }

    /// Compiles what the store and the roster say now, and hands changed hosts their new target.
    /// `parsed` saves reading the policy again when it is the one in force.
    ///
    /// Callers that wait for each other are served together: a thousand hosts that join at once do
    /// not cost a thousand rounds.
    pub(crate) async fn publish(&self, parsed: Option<InForce>) -> Result<(), Error> {
        let request = self.wanted.fetch_add(1, Ordering::SeqCst) + 1;
        let mut compiled = self.compiled.lock().await;
        if *compiled >= request {
            return Ok(());
        }
        let serves = self.wanted.load(Ordering::SeqCst);
        let in_force = self.newest(parsed).await?;
        if in_force.generation > 0 {
            self.compile(in_force).await?;
        }
        *compiled = serves;
        Ok(())
    }

    async fn compile(&self, in_force: Arc<InForce>) -> Result<(), Error> {
        let hosts = self.roster.active(Role::Host);
        let users = self.users();
        let before = self.hosts.read().targets.clone();
        let compiling = Arc::clone(&in_force);
        let targets = tokio::task::spawn_blocking(move || {
            let generation = compiling.generation;
            compile::targets(&compiling.policy, generation, &hosts, &users, &before)
        })
        .await?;
        *self.in_force.write() = in_force;
        self.hosts.write().replace(targets);
        Ok(())
    }

    /// Hosts whose text changed at this generation, sorted.
    pub(crate) fn changed_at(&self, generation: u64) -> Vec<String> {
        let hosts = self.hosts.read();
        let mut changed: Vec<_> = hosts
            .targets
            .iter()
            .filter(|(_, target)| target.generation == generation)
            .map(|(host, _)| host.clone())
            .collect();
        changed.sort();
        changed
    }

    /// What each host would get under another policy.
    pub(crate) async fn try_out(&self, policy: Policy) -> Result<HashMap<String, Target>, Error> {
        let hosts = self.roster.active(Role::Host);
        let users = self.users();
        let before = self.hosts.read().targets.clone();
        let targets = tokio::task::spawn_blocking(move || {
            compile::targets(&policy, u64::MAX, &hosts, &users, &before)
        });
        Ok(targets.await?)
    }

    pub(crate) fn target(&self, host: &str) -> Option<Target> {
        self.hosts.read().targets.get(host).cloned()
    }

    pub(crate) fn connected(&self, host: &str) -> bool {
        self.hosts.read().sessions.contains_key(host)
    }

    /// Opens a host's session; an older one of the same host ends.
    pub(crate) fn subscribe(&self, host: &str) -> Subscription {
        let id = self.sessions.fetch_add(1, Ordering::Relaxed);
        let ended = CancellationToken::new();
        let (claimed_sender, claimed) = mpsc::channel(CLAIMED_QUEUE_MAX);
        let mut hosts = self.hosts.write();
        let (slot, targets) = watch::channel(hosts.targets.get(host).cloned());
        let session = Session {
            id,
            slot,
            claimed: claimed_sender,
            ended: ended.clone(),
            sent: None,
        };
        if let Some(older) = hosts.sessions.insert(host.to_owned(), session) {
            older.ended.cancel();
        }
        Subscription {
            id,
            targets,
            claimed,
            ended,
        }
    }

    /// Closes a session, unless a newer one has taken its place.
    pub(crate) fn unsubscribe(&self, host: &str, id: u64) {
        let mut hosts = self.hosts.write();
        if hosts.sessions.get(host).is_some_and(|own| own.id == id) {
            hosts.sessions.remove(host);
        }
    }

    /// Ends a host's session at once.
    pub(crate) fn end(&self, host: &str) {
        let mut hosts = self.hosts.write();
        hosts.leases.remove(host);
        if let Some(session) = hosts.sessions.remove(host) {
            session.ended.cancel();
        }
    }

    /// Notes what was sent to a host, so that its acknowledgement can be understood.
    pub(crate) fn note_sent(&self, host: &str, id: u64, lease: Lease) {
        let mut hosts = self.hosts.write();
        if let Some(session) = hosts.sessions.get_mut(host).filter(|own| own.id == id) {
            session.sent = Some(lease);
        }
    }

    /// A host says that it applies the text with this digest.
    pub(crate) fn note_applied(&self, host: &str, digest: &[u8]) {
        let mut hosts = self.hosts.write();
        let sent = hosts.sessions.get(host).and_then(|session| session.sent);
        if let Some(lease) = sent.filter(|lease| lease.digest == digest) {
            hosts.leases.insert(host.to_owned(), lease);
        }
    }

    pub(crate) fn lease(&self, host: &str) -> Option<Lease> {
        self.hosts.read().leases.get(host).copied()
    }

    /// Tells the other hosts of their domains about claims that were won.
    pub(crate) fn tell_siblings(&self, won: &[Claim]) {
        let hosts = self.hosts.read();
        let mut batches: HashMap<&str, Vec<ClaimedDigest>> = HashMap::new();
        for claim in won {
            let Some(siblings) = hosts.domains.get(&claim.domain) else {
                continue;
            };
            for sibling in siblings.iter().filter(|sibling| **sibling != claim.host) {
                batches.entry(sibling).or_default().push(wire(claim));
            }
        }
        for (host, batch) in batches {
            if let Some(session) = hosts.sessions.get(host)
                && session.claimed.try_send(batch).is_err()
            {
                tracing::debug!(host, "claimed digests left out: the host is slow");
            }
        }
    }

    async fn newest(&self, parsed: Option<InForce>) -> Result<Arc<InForce>, Error> {
        let current = self.store.current_generation().await?;
        let in_force = self.in_force();
        if current <= in_force.generation {
            return Ok(in_force);
        }
        if let Some(parsed) = parsed.filter(|parsed| parsed.generation == current) {
            return Ok(Arc::new(parsed));
        }
        match stored(&self.store, current).await {
            Ok(policy) => Ok(Arc::new(InForce {
                generation: current,
                policy,
            })),
            // Written by a version that allowed more. Hosts keep what they have until an operator
            // applies a policy that this version reads; joining and auditing go on meanwhile.
            Err(Error::InvalidPolicy(mistakes)) => {
                tracing::error!(generation = current, %mistakes, "the stored policy is not read");
                Ok(in_force)
            }
            Err(error) => Err(error),
        }
    }

    fn users(&self) -> Users {
        let users = self.roster.active(Role::User);
        users
            .iter()
            .filter_map(|user| Some((user.name.clone(), ExchangePublic(user.exchange_key?))))
            .collect()
    }
}

/// A stored generation, parsed again.
pub(crate) async fn stored(store: &Store, generation: u64) -> Result<Policy, Error> {
    let text = text(store, generation).await?;
    policy::parse("policy", &text, &NoIncludes).map_err(Error::InvalidPolicy)
}

/// A stored generation's text, in clear.
pub(crate) async fn text(
    store: &Store,
    generation: u64,
) -> Result<zeroize::Zeroizing<String>, Error> {
    store
        .policy_text(generation)
        .await?
        .ok_or_else(|| Error::not_found(format!("policy has generation {generation}")))
}

/// A claim as siblings hear of it.
pub(crate) fn wire(claim: &Claim) -> ClaimedDigest {
    ClaimedDigest {
        domain: claim.domain.to_vec(),
        digest: claim.digest.to_vec(),
        forget_after_secs: claim.forget_after_secs,
    }
}

// === impl Hosts ===

impl Hosts {
    /// Takes over new targets and writes the slots of those that changed.
    fn replace(&mut self, targets: HashMap<String, Target>) {
        for (host, target) in &targets {
            let before = self.targets.get(host);
            if before.is_some_and(|before| before.compiled.digest == target.compiled.digest) {
                continue;
            }
            if let Some(session) = self.sessions.get(host) {
                session.slot.send_replace(Some(target.clone()));
            }
        }
        self.targets = targets;
        self.leases
            .retain(|host, _| self.targets.contains_key(host));
        self.index_domains();
    }

    fn index_domains(&mut self) {
        self.domains.clear();
        for (host, target) in &self.targets {
            for domain in &target.compiled.domains {
                self.domains.entry(*domain).or_default().push(host.clone());
            }
        }
        self.domains.retain(|_, hosts| hosts.len() > 1);
    }
}
