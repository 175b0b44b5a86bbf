//! Stores for tests, on a real disk, with somebody in them.

use std::collections::BTreeMap;
use std::path::Path;

use fleet::{Event, EventKind, Role};

use super::model::{
    AfterRestore, ApplyOutcome, Change, EnrollOutcome, Enrolment, Examined, Invitation, Member,
    MemberKey, NewMember, NewPolicy, Origin, Scope, Whom, Whose,
};
use super::place::PostgresSettings;
use super::postgres::trial;
use super::seal::SealKey;
use super::snapshot::Snapshot;
use super::sqlite::{recorded, rows};
use super::{Place, Store};

/// When everything in a fixture happens, milliseconds since the Unix epoch.
pub(crate) const NOW_MS: u64 = 1_800_000_000_000;

/// Numbers that are the same in each run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    pub(crate) fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap()
    }

    pub(crate) fn is_one_in(&mut self, all: u64) -> bool {
        self.below(all) == 0
    }
}

/// A fleet's store in `dir`; opened again when it is there.
pub(crate) async fn open(dir: &Path) -> Store {
    let (place, is_new) = place(dir);
    let store = Store::open(&place, SealKey::new(&[7; 32])).unwrap();
    if is_new {
        let created = store.create_fleet("e".repeat(32), NOW_MS / 1000).await;
        created.unwrap();
    }
    store
}

/// Where the store of `dir` is, and whether it is still to be made: a file in it, or a database of the
/// server over which these tests run.
pub(crate) fn place(dir: &Path) -> (Place, bool) {
    if let Some((settings, is_new)) = trial::database_in(dir) {
        return (Place::Postgres(settings), is_new);
    }
    let path = dir.join("controller.db");
    let is_new = !path.exists();
    (path.into(), is_new)
}

/// Changes the database of `dir` as somebody does who is not the controller; how many rows the last of the
/// statements has changed.
pub(crate) fn edit(dir: &Path, sql: &str) -> u64 {
    if let Some(changed) = trial::edit(dir, sql) {
        return changed;
    }
    let editor = super::sqlite::Alone::open(dir.join("controller.db")).unwrap();
    editor.execute_batch(sql).unwrap();
    editor.changes()
}

/// What reading the whole database of `dir` finds.
pub(crate) fn examined(dir: &Path) -> Examined {
    examined_at(place(dir).0)
}

fn examined_at(place: Place) -> Examined {
    // The driver of PostgreSQL is a runtime, which cannot be in another.
    let examining = std::thread::spawn(move || {
        let whose = Whose {
            fleet: "prod",
            controller: None,
        };
        super::examine(&place, &SealKey::new(&[7; 32]), whose, &mut |_, _| {}).unwrap()
    });
    examining.join().unwrap()
}

/// Rows of the database of `dir` that something else has written, and those that are not what the log says.
pub(crate) fn altered(dir: &Path) -> (Vec<(&'static str, String)>, Vec<String>) {
    let (place, _) = place(dir);
    let looking = std::thread::spawn(move || {
        let snapshot = Snapshot::begin(&place, &SealKey::new(&[7; 32])).unwrap();
        let altered = rows::altered(snapshot.sql()).unwrap();
        (altered, recorded::disagreements(snapshot.sql()).unwrap())
    });
    looking.join().unwrap()
}

/// Makes anew what records of the database of `dir` are searched by.
pub(crate) fn rebuild_searches(dir: &Path) -> u64 {
    let (place, _) = place(dir);
    let rebuilding = std::thread::spawn(move || {
        let mut told = 0;
        let seal = SealKey::new(&[7; 32]);
        super::rebuild_searches(&place, &seal, &mut |done, _| told = done).unwrap();
        told
    });
    rebuilding.join().unwrap()
}

/// A server for several controllers, whichever engine these tests run over.
pub(crate) struct Server(trial::Trial);

impl Server {
    pub(crate) fn start() -> Self {
        let fast = "fsync = off\nsynchronous_commit = off\nfull_page_writes = off";
        Self(trial::Trial::start(fast))
    }

    /// The store of the controller of this name.
    pub(crate) fn store(&self, name: &str) -> Store {
        let place = Place::Postgres(self.0.settings("postgres"));
        let store = Store::open(&place, SealKey::new(&[7; 32])).unwrap();
        store.of_controller(name)
    }

    /// Where the database is.
    pub(crate) fn settings(&self) -> PostgresSettings {
        self.0.settings("postgres")
    }

    /// Something that no controller does.
    pub(crate) fn sql(&self, sql: &str) {
        self.0.sql("postgres", sql);
    }

    /// What reading the whole database finds.
    pub(crate) fn examined(&self) -> Examined {
        examined_at(Place::Postgres(self.0.settings("postgres")))
    }
}

pub(crate) fn event(kind: EventKind, reason: &str) -> Event {
    let mut event = Event::new(kind, NOW_MS);
    event.reason = reason.to_owned();
    event
}

/// A token for one hour.
pub(crate) fn invitation(role: Role) -> Invitation {
    let mut id = [0; 6];
    getrandom::fill(&mut id).unwrap();
    Invitation {
        id: hex::encode(id),
        role,
        name: String::new(),
        key_name: String::new(),
        replaces: false,
        labels: BTreeMap::new(),
        scope: Scope::default(),
        created_by: "root".to_owned(),
        creator: None,
        created_at_ms: NOW_MS,
        expires_at_secs: NOW_MS / 1000 + 3600,
    }
}

pub(crate) fn new_member(role: Role, name: &str) -> NewMember {
    let exchanges = matches!(role, Role::Host | Role::User);
    NewMember {
        role,
        name: name.to_owned(),
        identity_key: [1; 32],
        exchange_key: exchanges.then_some([2; 32]),
        address: "192.0.2.7".to_owned(),
        spa_port: 62201,
        labels: BTreeMap::from([("role".to_owned(), "web".to_owned())]),
        scope: Scope::default(),
        joined_at_ms: NOW_MS,
        knows: super::model::KnownAuthorities::default(),
    }
}

/// A member that is in no store.
pub(crate) fn member(role: Role, name: &str) -> Member {
    let new = new_member(role, name);
    Member {
        id: 1,
        role,
        name: new.name,
        address: new.address,
        spa_port: new.spa_port,
        more_addresses: Vec::new(),
        labels: new.labels,
        scope: new.scope,
        joined_at_ms: NOW_MS,
        lock: None,
        keys: vec![MemberKey {
            id: 1,
            name: "default".to_owned(),
            identity_key: new.identity_key,
            exchange_key: new.exchange_key,
            joined_at_ms: NOW_MS,
            renewed_at_ms: NOW_MS,
            lock: None,
            former_names: Vec::new(),
            knows: super::model::KnownAuthorities::default(),
            follows: None,
            rotation_asked_ms: None,
        }],
    }
}

/// What an operator does to a member, or to one key of a user.
pub(crate) fn change(role: Role, name: &str, key: Option<&str>) -> Change {
    Change {
        whom: Whom {
            role,
            name: name.to_owned(),
            key: key.map(str::to_owned),
        },
        reason: String::new(),
        origin: Origin::member(Role::Operator, "root", "ab".repeat(16)),
        at_ms: NOW_MS,
    }
}

/// Makes a token and redeems it.
pub(crate) async fn join(store: &Store, role: Role, name: &str) -> Member {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).unwrap();
    let created = event(EventKind::Operator, "token");
    let token = store.create_token(secret, invitation(role), created).await;
    token.unwrap();
    let joined = event(EventKind::Enrolled, name);
    let member = new_member(role, name);
    let outcome = store.enroll(secret.to_vec(), member, joined, NOW_MS).await;
    match outcome.unwrap() {
        EnrollOutcome::Enrolled(Enrolment { member, .. })
        | EnrollOutcome::EnrolledBefore(Enrolment { member, .. }) => member,
        EnrollOutcome::Refused(conflict) => panic!("{conflict:?}"),
    }
}

pub(crate) fn new_policy(text: &str) -> NewPolicy {
    NewPolicy {
        file: String::new(),
        text: text.to_owned().into(),
        author: "root".to_owned(),
        message: "because".to_owned(),
        at_ms: NOW_MS,
        rollback_of: 0,
        stanzas: 1,
        event: event(EventKind::PolicyApplied, "because"),
    }
}

/// Applies a policy on top of `base`.
pub(crate) async fn apply(store: &Store, base: u64, text: &str) -> u64 {
    let base = (base, AfterRestore::No);
    match store.apply_policy(base, new_policy(text)).await.unwrap() {
        ApplyOutcome::Applied { generation } => generation,
        other @ (ApplyOutcome::Stale { .. } | ApplyOutcome::SetBack { .. }) => panic!("{other:?}"),
    }
}
