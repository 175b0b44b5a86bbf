//! Who belongs to the fleet, in memory: every request is authorized against this.
//!
//! The store is the truth. After a change is committed, [`Roster::refresh`] reads that member
//! again; reads are in line behind each other, so that the last one sees the last commit and a
//! lock can never be undone by a slower answer. Those that wait at one time are read together.
//!
//! Whatever happens to one member costs the same however many there are: what somebody else has
//! changed is followed by the numbers that changes take ([`Roster::follow`]), and whoever is looked
//! for is found by a map.
//!
//! Every key that may do something has a *standing*, which all of its calls and streams hold. It
//! ends with the key, so whatever the key began ends too: nobody has to remember what that was.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use fleet::Role;
use parking_lot::RwLock;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::model::{
    ChangedMembers, KnownAuthorities, Lock, Member, MemberKey, MembersMoved,
};

/// Every member, locked ones too.
#[derive(Debug)]
pub(crate) struct Roster {
    known: RwLock<Known>,
    /// How far changes were followed; whoever holds it reads.
    reading: Mutex<MembersMoved>,
    /// Who is to be read again, with those who wait for it.
    wanted: parking_lot::Mutex<Wanted>,
}

/// Members that are to be read again.
#[derive(Debug, Default)]
struct Wanted {
    names: BTreeSet<(Role, String)>,
    /// Of the names that were taken from here so far: those who asked before that are served by it.
    taken: u64,
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
    /// By `Member::id`.
    members: HashMap<u64, Arc<Member>>,
    /// Whose each name is, by `Member::id`.
    names: BTreeMap<Role, BTreeMap<String, u64>>,
    /// Whose each key is, by `MemberKey::id` and `Member::id`.
    keys: HashMap<u64, u64>,
    /// By `MemberKey::id`.
    standings: HashMap<u64, CancellationToken>,
    /// Keys that have certificates by a name of before.
    renamed: HashMap<(Role, String), BTreeSet<u64>>,
    departed: BTreeSet<String>,
    /// Every key up to this one was given to somebody, and is known here while it is somebody's.
    highest_key: u64,
    /// Higher ones that were somebody's here and are nobody's now.
    gone: BTreeSet<u64>,
}

/// Names that are being read; given back where that comes to no end.
struct Taken<'r> {
    wanted: &'r parking_lot::Mutex<Wanted>,
    names: BTreeSet<(Role, String)>,
}

// === impl Taken ===

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let names = std::mem::take(&mut self.names);
        if !names.is_empty() {
            self.wanted.lock().names.extend(names);
        }
    }
}

// === impl Roster ===

impl Roster {
    pub(crate) async fn load(store: &Store) -> Result<Self, StoreError> {
        let roster = Self {
            known: RwLock::default(),
            reading: Mutex::default(),
            wanted: parking_lot::Mutex::default(),
        };
        let mut reading = roster.reading.lock().await;
        // In this order: what changes meanwhile is followed.
        *reading = store.members_moved().await?;
        roster.read_all(store).await?;
        drop(reading);
        Ok(roster)
    }

    pub(crate) fn find(&self, role: Role, name: &str) -> Option<Arc<Member>> {
        self.known.read().named(role, name).cloned()
    }

    /// The member of this name, when the key with this id is its own now. A certificate that was made
    /// before the member had another name is good, too.
    pub(crate) fn admit(&self, role: Role, name: &str, key: u64) -> Option<Admitted> {
        let known = self.known.read();
        let member = known.members.get(known.keys.get(&key)?)?;
        let own = member.key(key)?;
        let mut former = own.former_names.iter();
        let is_its_name = (member.role, &*member.name) == (role, name)
            || former.any(|(its_role, its_name)| (*its_role, &**its_name) == (role, name));
        if !is_its_name {
            return None;
        }
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
        let now = known.named(role, name);
        let keys = known.renamed.get(&(role, name.to_owned()));
        let once = keys.into_iter().flatten();
        let once = once.filter_map(|key| known.members.get(known.keys.get(key)?));
        now.into_iter().chain(once).cloned().collect()
    }

    /// Whether the key with this id was given to somebody here once, and is nobody's now. Of a key
    /// that was never given a controller knows nothing: it may have been restored from a copy in
    /// which whoever has it had not joined yet, or it was given at another controller just now.
    pub(crate) fn is_void(&self, key: u64) -> bool {
        let known = self.known.read();
        let was_given = key <= known.highest_key || known.gone.contains(&key);
        was_given && !known.keys.contains_key(&key)
    }

    /// Whether nothing is known of this key: neither whose it is, nor that it is nobody's.
    pub(crate) fn is_unheard_of(&self, key: u64) -> bool {
        let known = self.known.read();
        key > known.highest_key && !known.keys.contains_key(&key) && !known.gone.contains(&key)
    }

    /// The member with this id.
    pub(crate) fn by_id(&self, id: u64) -> Option<Arc<Member>> {
        self.known.read().members.get(&id).cloned()
    }

    /// How many hosts there are, connected or not.
    pub(crate) fn hosts(&self) -> usize {
        let known = self.known.read();
        known.names.get(&Role::Host).map_or(0, BTreeMap::len)
    }

    /// Members of a role that may do something, by name.
    pub(crate) fn active(&self, role: Role) -> Vec<Arc<Member>> {
        let known = self.known.read();
        let active = known.of(role).filter(|member| member.is_active());
        active.cloned().collect()
    }

    /// Every member, by role and name.
    pub(crate) fn all(&self) -> Vec<Arc<Member>> {
        let known = self.known.read();
        let ids = known.names.values().flat_map(BTreeMap::values);
        ids.filter_map(|id| known.members.get(id))
            .cloned()
            .collect()
    }

    /// Names of users for whom nothing opens, whatever a policy says: those who are locked, and
    /// those who were removed, until somebody joins by the name again.
    pub(crate) fn barred(&self) -> BTreeSet<String> {
        let known = self.known.read();
        let locked = known.of(Role::User).filter(|member| !member.is_active());
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
        self.read_named(store, vec![(role, name.to_owned())]).await
    }

    /// Reads both again after a commit that gave the host `old` the name `new`. At no time it is
    /// nobody: what is told that it belongs to no fleet any more closes what is open.
    pub(crate) async fn rename_host(
        &self,
        store: &Store,
        old: &str,
        new: &str,
    ) -> Result<(), StoreError> {
        let names = [old, new].map(|name| (Role::Host, name.to_owned()));
        self.read_named(store, names.into()).await
    }

    /// Reads whoever has these names, with all others that wait to be read.
    async fn read_named(
        &self,
        store: &Store,
        names: Vec<(Role, String)>,
    ) -> Result<(), StoreError> {
        let asked = {
            let mut wanted = self.wanted.lock();
            wanted.names.extend(names.iter().cloned());
            wanted.taken
        };
        let _in_line = self.reading.lock().await;
        let mut taken = Taken {
            wanted: &self.wanted,
            names: BTreeSet::new(),
        };
        {
            let mut wanted = self.wanted.lock();
            if wanted.taken > asked && !names.iter().any(|it| wanted.names.contains(it)) {
                // Whoever was before in the line has read these.
                return Ok(());
            }
            wanted.taken += 1;
            taken.names = std::mem::take(&mut wanted.names);
        }
        // Whoever had the name may have another now.
        let whose = self.known.read().ids_of(&taken.names);
        let read = store.members_named(taken.names.clone(), whose.clone());
        let (found, departed) = read.await?;
        taken.names.clear();
        let mut known = self.known.write();
        known.hear_of_departed(departed);
        known.replace(&whose, found);
        Ok(())
    }

    /// Reads again who has changed since this was done last, whoever has changed them. What keys had begun and may no
    /// longer do ends here. Who has changed, by their ids: one with another name is one.
    pub(crate) async fn follow(&self, store: &Store) -> Result<Vec<Changed>, StoreError> {
        let mut reading = self.reading.lock().await;
        let moved = store.members_moved().await?;
        let is_numbered = moved.unnumbered == reading.unnumbered && moved.number >= reading.number;
        if !is_numbered {
            // A program of before has written something, or a server has lost what it said.
            let changed = self.read_all(store).await?;
            *reading = moved;
            return Ok(changed);
        }
        if moved.number == reading.number {
            return Ok(Vec::new());
        }
        let changed = store.members_changed(reading.number).await?;
        let followed = changed.changes.last().map(|change| change.number);
        let changed = self.known.write().hear(changed);
        reading.number = followed.unwrap_or(moved.number);
        Ok(changed)
    }

    async fn read_all(&self, store: &Store) -> Result<Vec<Changed>, StoreError> {
        let departed = store.departed_users().await?;
        let highest_key = store.highest_key().await?;
        let members = store.members().await?;
        let mut known = self.known.write();
        known.departed = departed;
        known.has_heard_of_keys(highest_key);
        let whose: Vec<u64> = known.members.keys().copied().collect();
        Ok(known.replace(&whose, members))
    }

    /// Notes what a renewal has stored of a key: when that was, and what it knows of authorities.
    pub(crate) fn renewed(
        &self,
        (role, name): (Role, &str),
        key: u64,
        (knows, at_ms): (KnownAuthorities, u64),
    ) {
        let mut known = self.known.write();
        let id = known.named(role, name).map(|member| member.id);
        let Some(member) = id.and_then(|id| known.members.get_mut(&id)) else {
            return;
        };
        let member = Arc::make_mut(member);
        if let Some(own) = member.keys.iter_mut().find(|own| own.id == key) {
            own.knows = knows;
            own.renewed_at_ms = at_ms;
        }
    }
}

// === impl Known ===

impl Known {
    fn named(&self, role: Role, name: &str) -> Option<&Arc<Member>> {
        let id = self.names.get(&role)?.get(name)?;
        self.members.get(id)
    }

    /// `Member::id` of those who have these names.
    fn ids_of(&self, names: &BTreeSet<(Role, String)>) -> Vec<u64> {
        let named = names
            .iter()
            .filter_map(|(role, name)| self.named(*role, name));
        named.map(|member| member.id).collect()
    }

    /// Members of a role, by name.
    fn of(&self, role: Role) -> impl Iterator<Item = &Arc<Member>> {
        let ids = self.names.get(&role).into_iter();
        let ids = ids.flat_map(BTreeMap::values);
        ids.filter_map(|id| self.members.get(id))
    }

    fn hear_of_departed(&mut self, departed: BTreeMap<String, bool>) {
        for (name, is_departed) in departed {
            if is_departed {
                self.departed.insert(name);
            } else {
                self.departed.remove(&name);
            }
        }
    }

    /// Of every key up to this one it is known whose it is.
    fn has_heard_of_keys(&mut self, highest: u64) {
        self.highest_key = self.highest_key.max(highest);
        self.gone = self.gone.split_off(&self.highest_key.saturating_add(1));
    }

    fn hear(&mut self, changed: ChangedMembers) -> Vec<Changed> {
        self.hear_of_departed(changed.departed);
        let whose: Vec<u64> = changed.changes.iter().map(|change| change.member).collect();
        let changes = self.replace(&whose, changed.members);
        self.has_heard_of_keys(changed.highest_key);
        changes
    }

    /// Takes members as they are now, in the place of those with the ids of `whose`; who of these is not among them is
    /// nobody. Who has changed, by the way. Names may have gone from one to another: no key is nobody's in between.
    fn replace(&mut self, whose: &[u64], members: Vec<Member>) -> Vec<Changed> {
        let mut before: HashMap<u64, Arc<Member>> = HashMap::new();
        for id in whose.iter().copied().chain(members.iter().map(|it| it.id)) {
            before.extend(self.members.get(&id).map(|was| (id, Arc::clone(was))));
        }
        let mut changed = Vec::new();
        for member in members {
            let was = before.remove(&member.id);
            if was.as_deref() == Some(&member) {
                continue;
            }
            if let Some(was) = &was {
                self.unname(was);
            }
            let after = Some(self.put(member, was.as_deref()));
            changed.push(Changed { before: was, after });
        }
        for gone in before.into_values() {
            self.end(&gone);
            changed.push(Changed {
                before: Some(gone),
                after: None,
            });
        }
        changed
    }

    /// This one has its name no more, unless somebody else has it already.
    fn unname(&mut self, was: &Member) {
        if let Some(names) = self.names.get_mut(&was.role)
            && names.get(&was.name) == Some(&was.id)
        {
            names.remove(&was.name);
        }
    }

    /// Whoever this was is nobody now.
    fn end(&mut self, was: &Member) {
        self.unname(was);
        self.members.remove(&was.id);
        self.take_keys(was, &BTreeSet::new());
    }

    /// Takes the keys of a member from it. What was begun with those that stand no more ends.
    fn take_keys(&mut self, was: &Member, standing: &BTreeSet<u64>) {
        for key in &was.keys {
            self.keys.remove(&key.id);
            if key.id > self.highest_key {
                self.gone.insert(key.id);
            }
            for name in &key.former_names {
                if let Some(keys) = self.renamed.get_mut(name) {
                    keys.remove(&key.id);
                    if keys.is_empty() {
                        self.renamed.remove(name);
                    }
                }
            }
            if !standing.contains(&key.id)
                && let Some(standing) = self.standings.remove(&key.id)
            {
                standing.cancel();
            }
        }
    }

    /// Takes a member as it is now, in the place of what it was. Whoever has its name and is not it is to be told of
    /// apart.
    fn put(&mut self, member: Member, was: Option<&Member>) -> Arc<Member> {
        say_if_altered(&member);
        let standing = standing(&member);
        if let Some(was) = was {
            self.take_keys(was, &standing);
        }
        for id in standing {
            self.standings.entry(id).or_default();
        }
        for key in &member.keys {
            self.keys.insert(key.id, member.id);
            self.gone.remove(&key.id);
            for name in &key.former_names {
                self.renamed.entry(name.clone()).or_default().insert(key.id);
            }
        }
        let names = self.names.entry(member.role).or_default();
        names.insert(member.name.clone(), member.id);
        let member = Arc::new(member);
        self.members.insert(member.id, Arc::clone(&member));
        member
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

#[cfg(test)]
mod tests;
