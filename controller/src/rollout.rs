//! Which policy is in force, and what each host should have by it.
//!
//! After every change of the policy or of who its users are, everything is compiled again, and only the sessions
//! whose host's text changed are told. Where only hosts have come, gone or got other labels, nothing is compiled but
//! what these should have.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fleet::Role;
use parking_lot::RwLock;
use policy::{NoIncludes, Policy};
use spa::ExchangePublic;
use tokio::sync::Mutex;

use crate::access::roster::Roster;
use crate::error::Error;
use crate::reload::Reload;
use crate::sessions::others::Followed;
use crate::sessions::registry::Registry;
use crate::store::Store;
use crate::store::model::Member;
use crate::targets::{Target, Targets, Users};

/// The policy in force, parsed.
#[derive(Debug)]
pub(crate) struct InForce {
    /// 0 before the first.
    pub(crate) generation: u64,
    pub(crate) policy: Arc<Policy>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Rollout {
    store: Store,
    roster: Arc<Roster>,
    sessions: Arc<Registry>,
    in_force: RwLock<Arc<InForce>>,
    targets: RwLock<Arc<Targets>>,
    /// The last request for compiling that has been served.
    compiled: Mutex<u64>,
    /// Requests for compiling so far.
    wanted: AtomicU64,
    /// The last of them that was for all hosts.
    wanted_of_all: AtomicU64,
    /// Hosts that have changed, each with the last request for it.
    changed: parking_lot::Mutex<BTreeMap<String, u64>>,
}

// === impl Rollout ===

impl Rollout {
    /// Reads the policy in force from the store and compiles it.
    pub(crate) async fn load(
        store: Store,
        roster: Arc<Roster>,
        sessions: Arc<Registry>,
    ) -> Result<Self, Error> {
        let rollout = Self {
            store,
            roster,
            sessions,
            in_force: RwLock::new(Arc::new(InForce {
                generation: 0,
                policy: Arc::default(),
            })),
            targets: RwLock::default(),
            compiled: Mutex::new(0),
            wanted: AtomicU64::new(0),
            wanted_of_all: AtomicU64::new(0),
            changed: parking_lot::Mutex::default(),
        };
        rollout.publish(None).await?;
        Ok(rollout)
    }

    pub(crate) fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.in_force.read())
    }

    pub(crate) fn targets(&self) -> Arc<Targets> {
        Arc::clone(&self.targets.read())
    }

    /// What one host should have; `None` before the first policy and for no host.
    pub(crate) fn target(&self, host: &str) -> Option<Target> {
        self.targets.read().get(host).cloned()
    }

    /// Compiles what the store and the roster say now, and hands changed hosts their new target.
    /// `parsed` saves reading the policy again when it is the one in force.
    ///
    /// Callers that wait for each other are served together: a thousand hosts that join at once do
    /// not cost a thousand rounds.
    pub(crate) async fn publish(&self, parsed: Option<InForce>) -> Result<(), Error> {
        let request = self.wanted.fetch_add(1, Ordering::SeqCst) + 1;
        self.wanted_of_all.fetch_max(request, Ordering::SeqCst);
        let mut compiled = self.compiled.lock().await;
        if *compiled < request {
            *compiled = self.publish_all(parsed).await?;
        }
        Ok(())
    }

    /// Compiles what these hosts should have, where the roster says something else of them now and nothing else is
    /// another. Callers that wait for each other are served together.
    pub(crate) async fn publish_hosts(&self, hosts: &[&str]) -> Result<(), Error> {
        let request = {
            // Whoever serves this request finds its hosts.
            let mut changed = self.changed.lock();
            let request = self.wanted.fetch_add(1, Ordering::SeqCst) + 1;
            for host in hosts {
                changed.insert((*host).to_owned(), request);
            }
            request
        };
        let mut compiled = self.compiled.lock().await;
        if *compiled >= request {
            return Ok(());
        }
        *compiled = if self.wanted_of_all.load(Ordering::SeqCst) > *compiled {
            self.publish_all(None).await?
        } else {
            self.publish_changed().await?
        };
        Ok(())
    }

    /// The last request that this serves.
    async fn publish_all(&self, parsed: Option<InForce>) -> Result<u64, Error> {
        let serves = self.wanted.load(Ordering::SeqCst);
        let in_force = self.newest(parsed).await?;
        if in_force.generation > 0 {
            let since = self.wanted_since().await?;
            let before = self.targets();
            let targets = self.compile(Arc::clone(&in_force), Arc::clone(&before));
            let targets = Arc::new(targets.await?);
            *self.in_force.write() = in_force;
            *self.targets.write() = Arc::clone(&targets);
            if let Some(since) = since {
                let changed: Vec<_> = targets.others_than(&before).collect();
                self.sessions.others().want(&changed, since);
            }
            self.sessions.retarget(&targets);
        }
        self.have_changed(serves);
        Ok(serves)
    }

    /// The last request that this serves.
    async fn publish_changed(&self) -> Result<u64, Error> {
        let (serves, names): (u64, Vec<String>) = {
            let changed = self.changed.lock();
            let serves = self.wanted.load(Ordering::SeqCst);
            (serves, changed.keys().cloned().collect())
        };
        let generation = self.in_force().generation;
        if generation > 0 {
            let since = self.wanted_since().await?;
            let hosts = names.iter().map(|name| {
                let host = self.roster.find(Role::Host, name);
                (name.clone(), host.filter(|host| host.is_active()))
            });
            let hosts: Vec<_> = hosts.collect();
            let targets = self.targets();
            let compiling =
                tokio::task::spawn_blocking(move || targets.of_hosts(generation, hosts));
            let retargeted = compiling.await?;
            let mut held = self.targets.write();
            let changed = Arc::make_mut(&mut held).take(retargeted);
            let targets = Arc::clone(&held);
            drop(held);
            if let Some(since) = since {
                let changed: Vec<&str> = changed.iter().map(String::as_str).collect();
                self.sessions.others().want(&changed, since);
            }
            self.sessions.retarget_hosts(&targets, &names);
        }
        self.have_changed(serves);
        Ok(serves)
    }

    /// What the requests up to this one were for is in force.
    fn have_changed(&self, served: u64) {
        self.changed.lock().retain(|_, last| *last > served);
    }

    /// Compiles what the store and the roster say now, where the last that asked for it has failed: from then
    /// on what hosts have acknowledged is about everybody who is in the roster.
    pub(crate) async fn settle(&self) -> Result<(), Error> {
        let compiled = *self.compiled.lock().await;
        if compiled < self.wanted.load(Ordering::SeqCst) {
            self.publish(None).await?;
        }
        Ok(())
    }

    /// The last record of the log by which something is another, where other controllers have to follow that:
    /// what is stored now is wanted of hosts since then.
    pub(crate) async fn wanted_since(&self) -> Result<Option<u64>, Error> {
        let Some(Followed { looked, settled }) = self.sessions.others().followed() else {
            return Ok(None);
        };
        let kinds = Reload::of_no_consequence();
        let range = (looked, i64::MAX.unsigned_abs());
        let last = self.store.last_of_other_kinds(range, kinds).await?;
        Ok(Some(last.unwrap_or(settled)))
    }

    /// Reads the policy again after its generation rose without an operator's doing. Every host's text
    /// has the new number from now on, whether it changed or not: a host that has seen a higher one
    /// takes no lower one.
    pub(crate) async fn renumber(&self) -> Result<(), Error> {
        let mut compiled = self.compiled.lock().await;
        let serves = self.wanted.load(Ordering::SeqCst);
        let in_force = self.newest(None).await?;
        if in_force.generation > 0 {
            let anew = Arc::new(self.targets().for_nobody());
            let targets = Arc::new(self.compile(Arc::clone(&in_force), anew).await?);
            *self.in_force.write() = in_force;
            *self.targets.write() = Arc::clone(&targets);
            self.sessions.retarget(&targets);
        }
        self.have_changed(serves);
        *compiled = serves;
        Ok(())
    }

    /// What each host would get under another policy.
    pub(crate) async fn try_out(&self, policy: Arc<Policy>) -> Result<Targets, Error> {
        let generation = u64::MAX;
        let policy = Arc::new(InForce { generation, policy });
        self.compile(policy, self.targets()).await
    }

    /// Compiling for a large fleet takes a while, so it is not done on the runtime's own threads.
    /// Hosts whose text is as in `before` keep their generation.
    async fn compile(&self, policy: Arc<InForce>, before: Arc<Targets>) -> Result<Targets, Error> {
        let hosts = self.roster.active(Role::Host);
        let users = self.users();
        let compiling = tokio::task::spawn_blocking(move || {
            let InForce { generation, policy } = &*policy;
            Targets::compile(policy, *generation, &hosts, &users, &before)
        });
        Ok(compiling.await?)
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
        let text = self.store.policy_text(current).await?;
        let text = text.ok_or_else(|| Error::no_generation(current))?;
        let known = self.store.generation(current).await?;
        let file = known
            .map(|known| known.file)
            .filter(|file| !file.is_empty());
        let file = file.unwrap_or_else(|| format!("generation {current}"));
        match policy::parse(&file, &text, &NoIncludes) {
            Ok(policy) => Ok(Arc::new(InForce {
                generation: current,
                policy: Arc::new(policy),
            })),
            // Written by a version that allowed more. Hosts keep what they have until an operator
            // applies a policy that this version reads; joining and auditing go on meanwhile.
            Err(mistakes) => {
                tracing::error!(generation = current, %mistakes, "the stored policy is not read");
                Ok(in_force)
            }
        }
    }

    fn users(&self) -> Users {
        let users = self.roster.active(Role::User);
        Users {
            keys: users
                .iter()
                .map(|user| (user.name.clone(), public_keys(user)))
                .collect(),
            barred: self.roster.barred(),
        }
    }
}

/// The keys with which a user may open something, in an order that does not change.
fn public_keys(user: &Member) -> Vec<ExchangePublic> {
    let keys = user.active_keys().filter_map(|key| key.exchange_key);
    let mut keys: Vec<_> = keys.collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().map(ExchangePublic).collect()
}

#[cfg(test)]
mod tests;
