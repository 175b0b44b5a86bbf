//! Who belongs to the fleet, in memory: every request is authorized against this.
//!
//! The store is the truth. After a change is committed, [`Roster::refresh`] reads that member
//! again; refreshes are in line behind each other, so that the last one sees the last commit and a
//! lock can never be undone by a slower answer.
//!
//! Every key that may do something has a *standing*, which all of its calls and streams hold. It
//! ends with the key, so whatever the key began ends too: nobody has to remember what that was.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use fleet::Role;
use parking_lot::RwLock;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::model::{KnownAuthorities, Lock, Member, MemberKey};

/// Every member, locked ones too.
#[derive(Debug)]
pub(crate) struct Roster {
    known: RwLock<Known>,
    refreshing: Mutex<()>,
}

/// A member whose certificate was presented, and what ends when its key does.
#[derive(Clone, Debug)]
pub(crate) struct Admitted {
    pub(crate) member: Arc<Member>,
    /// Of the key.
    pub(crate) key: String,
    /// The key may do nothing, or only what a locked member still may.
    pub(crate) locked: bool,
    pub(crate) standing: CancellationToken,
}

/// A member that is not what it was; `None` for nobody.
#[derive(Clone, Debug)]
pub(crate) struct Changed {
    pub(crate) before: Option<Arc<Member>>,
    pub(crate) after: Option<Arc<Member>>,
}

#[derive(Debug, Default)]
struct Known {
    members: HashMap<(Role, String), Arc<Member>>,
    /// By `MemberKey::id`.
    standings: HashMap<u64, CancellationToken>,
    /// Whose they are, of keys that have certificates by a former name; by `MemberKey::id`.
    renamed: HashMap<u64, (Role, String)>,
    departed: BTreeSet<String>,
    /// The highest `MemberKey::id` that was ever given; none is given twice.
    highest_key: u64,
}

// === impl Roster ===

impl Roster {
    pub(crate) async fn load(store: &Store) -> Result<Self, StoreError> {
        let mut known = Known {
            departed: store.departed_users().await?,
            highest_key: store.highest_key().await?,
            ..Known::default()
        };
        for member in store.members().await? {
            let key = (member.role, member.name.clone());
            known.put(key, Some(member));
        }
        Ok(Self {
            known: RwLock::new(known),
            refreshing: Mutex::new(()),
        })
    }

    pub(crate) fn find(&self, role: Role, name: &str) -> Option<Arc<Member>> {
        let key = (role, name.to_owned());
        self.known.read().members.get(&key).cloned()
    }

    /// The member of this name, when the key with this id is its own now. A certificate that was made
    /// before the member had another name is good, too.
    pub(crate) fn admit(&self, role: Role, name: &str, key: u64) -> Option<Admitted> {
        let known = self.known.read();
        let by_name = known.members.get(&(role, name.to_owned()));
        let by_name = by_name.filter(|member| member.key(key).is_some());
        let member = by_name.or_else(|| known.formerly(role, name, key))?;
        let own = member.key(key)?;
        let locked = member.lock.is_some() || own.lock.is_some();
        let standing = known.standings.get(&key).cloned();
        Some(Admitted {
            member: Arc::clone(member),
            key: own.name.clone(),
            locked,
            // Whoever is locked has none: what it calls ends before it begins.
            standing: standing.unwrap_or_else(ended),
        })
    }

    /// Whoever has this name, and whoever had it and has certificates by it: who of them it is, only a
    /// key can say.
    pub(crate) fn by_any_name(&self, role: Role, name: &str) -> Vec<Arc<Member>> {
        let known = self.known.read();
        let now = known.members.get(&(role, name.to_owned()));
        let keys = known.renamed.keys();
        let once = keys.filter_map(|key| known.formerly(role, name, *key));
        now.into_iter().chain(once).cloned().collect()
    }

    /// Whether the key with this id was given to somebody here once, and is nobody's now. Of a key
    /// that was never given a controller knows nothing: it may have been restored from a copy in
    /// which whoever has it had not joined yet.
    pub(crate) fn is_void(&self, key: u64) -> bool {
        let known = self.known.read();
        let mut members = known.members.values();
        key <= known.highest_key && !members.any(|member| member.key(key).is_some())
    }

    /// The member with this id.
    pub(crate) fn by_id(&self, id: u64) -> Option<Arc<Member>> {
        let known = self.known.read();
        known
            .members
            .values()
            .find(|member| member.id == id)
            .cloned()
    }

    /// Members of a role that may do something, by name.
    pub(crate) fn active(&self, role: Role) -> Vec<Arc<Member>> {
        let mut active = self.all();
        active.retain(|member| member.role == role && member.is_active());
        active
    }

    /// Every member, by role and name.
    pub(crate) fn all(&self) -> Vec<Arc<Member>> {
        let mut all: Vec<_> = self.known.read().members.values().cloned().collect();
        all.sort_by(|a, b| (a.role, &a.name).cmp(&(b.role, &b.name)));
        all
    }

    /// Names of users for whom nothing opens, whatever a policy says: those who are locked, and
    /// those who were removed, until somebody joins by the name again.
    pub(crate) fn barred(&self) -> BTreeSet<String> {
        let known = self.known.read();
        let members = known.members.values();
        let locked = members.filter(|member| member.role == Role::User && !member.is_active());
        let locked = locked.map(|member| member.name.clone());
        locked.chain(known.departed.iter().cloned()).collect()
    }

    /// Reads one member again after a commit that changed it. What its keys had begun and may no
    /// longer do ends here.
    pub(crate) async fn refresh(
        &self,
        store: &Store,
        role: Role,
        name: &str,
    ) -> Result<(), StoreError> {
        let _in_line = self.refreshing.lock().await;
        let member = store.member_named(role, name.to_owned()).await?;
        let departed = match role {
            Role::User => Some(store.departed_users().await?),
            Role::Auditor
            | Role::Helpdesk
            | Role::Owner
            | Role::Validator
            | Role::Host
            | Role::Operator => None,
        };
        let mut known = self.known.write();
        if let Some(departed) = departed {
            known.departed = departed;
        }
        known.put((role, name.to_owned()), member);
        Ok(())
    }

    /// Reads everybody again, after commits of somebody else. What keys had begun and may no longer do ends here. Who has
    /// changed, by their ids: one with another name is one.
    pub(crate) async fn follow(&self, store: &Store) -> Result<Vec<Changed>, StoreError> {
        let _in_line = self.refreshing.lock().await;
        let departed = store.departed_users().await?;
        let highest_key = store.highest_key().await?;
        let fresh = store.members().await?;
        let mut known = self.known.write();
        known.departed = departed;
        known.highest_key = known.highest_key.max(highest_key);
        let mut before: HashMap<u64, Arc<Member>> = HashMap::new();
        for member in known.members.values() {
            before.insert(member.id, Arc::clone(member));
        }
        let mut changed = Vec::new();
        for member in fresh {
            let was = before.remove(&member.id);
            if was.as_deref() == Some(&member) {
                continue;
            }
            let key = (member.role, member.name.clone());
            if let Some(was) = was.as_ref().filter(|was| was.name != member.name) {
                known.leave(was);
            }
            known.put(key.clone(), Some(member));
            let after = known.members.get(&key).cloned();
            changed.push(Changed { before: was, after });
        }
        for gone in before.into_values() {
            known.leave(&gone);
            changed.push(Changed {
                before: Some(gone),
                after: None,
            });
        }
        Ok(changed)
    }

    /// Notes what a renewal has stored of a key: when that was, and what it knows of authorities.
    pub(crate) fn renewed(
        &self,
        (role, name): (Role, &str),
        key: u64,
        (knows, at_ms): (KnownAuthorities, u64),
    ) {
        let mut known = self.known.write();
        let Some(member) = known.members.get_mut(&(role, name.to_owned())) else {
            return;
        };
        let member = Arc::make_mut(member);
        if let Some(own) = member.keys.iter_mut().find(|own| own.id == key) {
            own.knows = knows;
            own.renewed_at_ms = at_ms;
        }
    }

    /// Reads both again after a commit that gave the host `old` the name `new`. At no time it is
    /// nobody: what is told that it belongs to no fleet any more closes what is open.
    pub(crate) async fn rename_host(
        &self,
        store: &Store,
        old: &str,
        new: &str,
    ) -> Result<(), StoreError> {
        let _in_line = self.refreshing.lock().await;
        let was = store.member_named(Role::Host, old.to_owned()).await?;
        let is = store.member_named(Role::Host, new.to_owned()).await?;
        let mut known = self.known.write();
        known.members.remove(&(Role::Host, old.to_owned()));
        known.put((Role::Host, new.to_owned()), is);
        if was.is_some() {
            known.put((Role::Host, old.to_owned()), was);
        }
        Ok(())
    }
}

// === impl Known ===

impl Known {
    /// The member whose key this is, when it once had this name.
    fn formerly(&self, role: Role, name: &str, key: u64) -> Option<&Arc<Member>> {
        let member = self.members.get(self.renamed.get(&key)?)?;
        let mut names = member.key(key)?.former_names.iter();
        let had_it = names.any(|(its_role, its_name)| (*its_role, &**its_name) == (role, name));
        had_it.then_some(member)
    }

    /// This one has its name no more, unless somebody else has it already.
    fn leave(&mut self, was: &Member) {
        let key = (was.role, was.name.clone());
        if self.members.get(&key).is_some_and(|it| it.id == was.id) {
            self.put(key, None);
        }
    }

    /// Takes a member as it is now, in the place of what was known of it.
    fn put(&mut self, key: (Role, String), member: Option<Member>) {
        let before = self.members.remove(&key);
        let standing = member.as_ref().map(standing).unwrap_or_default();
        for key in before.iter().flat_map(|member| &member.keys) {
            self.renamed.remove(&key.id);
            if !standing.contains(&key.id)
                && let Some(standing) = self.standings.remove(&key.id)
            {
                standing.cancel();
            }
        }
        for id in standing {
            self.standings.entry(id).or_default();
        }
        if let Some(member) = member {
            say_if_altered(&member);
            let newest = member.keys.iter().map(|key| key.id).max();
            self.highest_key = self.highest_key.max(newest.unwrap_or(0));
            for own in &member.keys {
                if !own.former_names.is_empty() {
                    self.renamed.insert(own.id, key.clone());
                }
            }
            self.members.insert(key, Arc::new(member));
        }
    }
}

/// The keys whose streams may live. A locked host's may: on it the host hears that it is locked.
fn standing(member: &Member) -> BTreeSet<u64> {
    let id = |key: &MemberKey| key.id;
    match member.role {
        Role::Host => member.keys.iter().map(id).collect(),
        Role::Auditor
        | Role::Helpdesk
        | Role::Owner
        | Role::Validator
        | Role::Operator
        | Role::User => member.active_keys().map(id).collect(),
    }
}

/// Says in the log of whom a row was changed by something else, so that it is refused.
fn say_if_altered(member: &Member) {
    let locks = member.keys.iter().filter_map(|key| key.lock.as_ref());
    let mut locks = locks.chain(&member.lock);
    if locks.any(Lock::is_of_altered) {
        tracing::error!(
            role = %member.role, name = member.name,
            "refused: its row in the database was changed by something else than the controller; \
             `postern-controller check` says what to do"
        );
    }
}

fn ended() -> CancellationToken {
    let ended = CancellationToken::new();
    ended.cancel();
    ended
}
