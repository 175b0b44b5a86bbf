//! How often each kind of write goes to the server and back: over a network that is what takes the time, and the
//! next one of every controller waits for it.

use fleet::{EventKind, EventRecord, Role};
use parking_lot::Mutex;

use std::sync::Arc;

use super::trial::Trial;
use crate::store::fixture::{NOW_MS, apply, change, event, invitation, join, new_member};
use crate::store::jobs::Together;
use crate::store::model::{
    Acknowledgement, Begun, Claim, HostWord, JournalEnd, Lease, Opening, Origin, SessionWanted,
};
use crate::store::place::Place;
use crate::store::seal::SealKey;
use crate::store::sqlite::meta;
use crate::store::{Engine, Store};

/// Durability is tested by itself.
const FAST: &str = "fsync = off\nsynchronous_commit = off\nfull_page_writes = off";

/// A store, and who counts.
struct Counted {
    runtime: tokio::runtime::Runtime,
    store: Store,
}

impl Counted {
    fn start(trial: &Trial) -> Self {
        let place = Place::Postgres(trial.settings("postgres"));
        let store = Store::open(&place, SealKey::new(&[7; 32])).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let created = store.create_fleet("e".repeat(32), NOW_MS / 1000);
        runtime.block_on(created).unwrap();
        Self { runtime, store }
    }

    fn journeys(&self) -> u64 {
        let Engine::Postgres(engine) = &self.store.engine else {
            panic!("another engine")
        };
        engine.journeys()
    }

    /// How many journeys something takes that is done for the third time: by then its statements are prepared.
    fn count<T>(&self, work: impl AsyncFn(&Store, u8) -> T) -> u64 {
        let mut counted = 0;
        for number in 1..=3 {
            let before = self.journeys();
            self.runtime.block_on(work(&self.store, number));
            counted = self.journeys() - before;
        }
        counted
    }
}

async fn claim(store: &Store, number: u8) {
    let claim = Claim {
        domain: [7; 32],
        digest: [number; 32],
        host: "web-1".to_owned(),
        seq: 1,
        forget_after_secs: NOW_MS / 1000,
        dated_secs: NOW_MS / 1000 - 60,
        capped: false,
    };
    store.claim(claim).await.unwrap();
}

async fn push(store: &Store, number: u8) {
    let (mut chain, mut records) = ([0; 32], Vec::new());
    for seq in 0..u64::from(number) * 4 {
        let record = EventRecord::after(seq, &chain, event(EventKind::Refused, "no"));
        chain = record.chain.as_slice().try_into().unwrap();
        records.push(record);
    }
    let new = records.split_off(records.len() - 4);
    let host = (1, "web-1".to_owned());
    let origin = Origin::controller("ab".repeat(16));
    let pushed = store.push_events(host, "1".repeat(32), new, origin, NOW_MS);
    assert_eq!(pushed.await.unwrap().gap_before, None);
}

async fn acknowledge(store: &Store, number: u8) {
    let acknowledgement = Acknowledgement {
        generation: number.into(),
        digest: vec![number; 32],
        rejected: Vec::new(),
        drift: String::new(),
        audit_fault: String::new(),
        word: HostWord::default(),
    };
    let lease = Some(Lease {
        digest: [number; 32],
        until_secs: NOW_MS / 1000,
    });
    let said = store.acknowledge(1, (acknowledgement, lease), NOW_MS);
    said.await.unwrap();
}

async fn make_token(store: &Store, number: u8) {
    let made = event(EventKind::Operator, "token");
    let token = store.create_token([100 + number; 32], invitation(Role::Host), made);
    token.await.unwrap();
}

async fn redeem_token(store: &Store, number: u8) {
    let member = new_member(Role::Host, &format!("db-{number}"));
    let joined = event(EventKind::Enrolled, "joined");
    let secret = vec![100 + number; 32];
    store.enroll(secret, member, joined, NOW_MS).await.unwrap();
}

/// Hosts that join, and have sessions: what they present the next time.
const STORM: std::ops::Range<u64> = 0..40;

/// A session of a host that has a journal, and keeps what it was given and shown.
fn session(host: u64, name: String, pass: Vec<u8>) -> SessionWanted {
    SessionWanted {
        host,
        name,
        opening: Opening {
            pass,
            run: "run-1".to_owned(),
            keeps_passes: true,
            journal: Some(JournalEnd {
                epoch: "2".repeat(32),
                ..JournalEnd::default()
            }),
            checkpoint: Some(3),
            ..Opening::default()
        },
        found: Origin::controller("ab".repeat(16)),
        now_ms: NOW_MS,
        seal: Arc::new(SealKey::new(&[7; 32])),
    }
}

/// A session of a host, and the next one.
async fn open(store: &Store, (id, name): (u64, String), given: &Mutex<Vec<u8>>) {
    let pass = given.lock().clone();
    let SessionWanted { opening, found, .. } = session(id, name.clone(), pass);
    let begun = store.begin_session((id, name), opening, found, NOW_MS);
    let begun = begun.await;
    let begun = begun.unwrap();
    assert_eq!(
        (begun.found.as_slice(), begun.root.is_some()),
        (&[][..], true)
    );
    *given.lock() = begun.pass;
}

/// The same of many hosts at one time, as they wait together.
async fn open_all(store: &Store, hosts: &[(u64, String)], passes: &[Vec<u8>]) -> Vec<Begun> {
    let openings = hosts.iter().cloned().zip(passes.iter().cloned());
    let openings = openings.map(|((id, name), pass)| Box::new(session(id, name, pass)));
    let openings: Vec<_> = openings.collect();
    let opened = store
        .engine
        .write(move |connection| Together::all(connection, &openings));
    let opened = opened.await.unwrap().into_iter().map(Result::unwrap);
    let opened: Vec<_> = opened.collect();
    assert_eq!(opened.len(), hosts.len());
    opened
}

/// The database is put back to before any of these was given a pass, and one of its hosts has told it.
async fn restore(store: &Store) {
    let put_back = store.engine.write(|connection| {
        connection.execute_batch("DELETE FROM host_passes")?;
        let epoch = meta::claim_epoch(connection)?;
        meta::set_claim_epoch(connection, epoch + 1)
    });
    put_back.await.unwrap();
}

#[test]
fn no_write_goes_to_the_server_more_often_than_it_has_to() {
    let trial = Trial::start(FAST);
    let counted = Counted::start(&trial);
    counted.runtime.block_on(async {
        join(&counted.store, Role::Host, "web-1").await;
        for number in 1..=3 {
            join(&counted.store, Role::User, &format!("user-{number}")).await;
        }
    });

    let storm: Vec<_> = STORM
        .map(|number| {
            let name = format!("storm-{number}");
            let host = counted
                .runtime
                .block_on(join(&counted.store, Role::Host, &name));
            (host.id, name)
        })
        .collect();
    let given = Mutex::default();
    let found = [
        (
            "nothing",
            counted.count(async |store, _| store.try_to_write().await),
        ),
        ("a claim", counted.count(claim)),
        ("records of a host", counted.count(push)),
        (
            "a record of the controller's own",
            counted.count(async |store, _| store.record(event(EventKind::Operator, "x")).await),
        ),
        ("what a host acknowledges", counted.count(acknowledge)),
        (
            "another pass for a host",
            counted.count(async |store, _| store.renew_pass(1).await.unwrap()),
        ),
        (
            "a host that opens its session",
            counted.count(async |store, _| open(store, storm[0].clone(), &given).await),
        ),
        (
            "many hosts that open theirs",
            counted.count(async |store, number| {
                let each = storm.chunks(storm.len() / 4).nth(number.into());
                open_all(
                    store,
                    each.unwrap_or_default(),
                    &vec![Vec::new(); storm.len()],
                )
                .await;
            }),
        ),
        (
            "many hosts after a restore",
            counted.count(async |store, number| {
                let each = storm.chunks(storm.len() / 4).nth(number.into());
                let each = each.unwrap_or_default();
                let first = open_all(store, each, &vec![Vec::new(); each.len()]).await;
                restore(store).await;
                let passes: Vec<_> = first.into_iter().map(|begun| begun.pass).collect();
                open_all(store, each, &passes).await;
            }),
        ),
        (
            "a host whose session has ended",
            counted.count(async |store, _| store.host_seen(1, NOW_MS).await.unwrap()),
        ),
        ("a token", counted.count(make_token)),
        ("a host that joins", counted.count(redeem_token)),
        (
            "a policy",
            counted.count(async |store, number| apply(store, u64::from(number) - 1, "# x\n").await),
        ),
        (
            "the lock of a user",
            counted.count(async |store, number| {
                let user = change(Role::User, &format!("user-{number}"), None);
                store.lock(user, EventKind::Locked).await.unwrap()
            }),
        ),
    ];

    let expected = [
        ("nothing", 2),
        ("a claim", 2),
        ("records of a host", 2),
        ("a record of the controller's own", 2),
        ("what a host acknowledges", 2),
        ("another pass for a host", 2),
        ("a host that opens its session", 2),
        ("many hosts that open theirs", 2),
        // Two; the others are those of the sessions before, and of what puts it back.
        ("many hosts after a restore", 8),
        ("a host whose session has ended", 2),
        ("a token", 3),
        ("a host that joins", 11),
        ("a policy", 5),
        ("the lock of a user", 10),
    ];
    assert_eq!(found.as_slice(), expected.as_slice());
}

#[test]
fn a_part_of_the_log_is_read_with_its_proof_in_as_many_journeys_however_many_records_it_has() {
    let trial = Trial::start(FAST);
    let counted = Counted::start(&trial);
    counted
        .runtime
        .block_on(join(&counted.store, Role::Host, "web-1"));
    let (mut chain, mut records) = ([0; 32], Vec::new());
    for seq in 1..=60 {
        let named = fleet::Event {
            user: "alice".to_owned(),
            stanza: "ssh".to_owned(),
            opened: "192.0.2.0/24".to_owned(),
            ports: vec!["tcp/22".to_owned(), "tcp/1000-2000".to_owned()],
            reason: format!("the {seq}th"),
            replay_digest: hex::encode([7; 32]),
            ..event(EventKind::GrantOpened, "")
        };
        let record = EventRecord::after(seq, &chain, named);
        chain = record.chain.as_slice().try_into().unwrap();
        records.push(record);
    }
    let origin = Origin::controller("ab".repeat(16));
    counted.runtime.block_on(async {
        let host = (1, "web-1".to_owned());
        let store = &counted.store;
        let pushed = store.push_events(host, "1".repeat(32), records, origin, NOW_MS);
        pushed.await.unwrap();
        while store.index_some().await.unwrap() {}
    });
    let read = |limit: u32| {
        counted.count(async |store, _| {
            let page = store.proof_after((5, u64::MAX), (limit, 1 << 20)).await;
            let rows = page.unwrap().rows;
            assert_eq!(rows.len(), usize::try_from(limit).unwrap());
            assert!(
                rows.iter().all(|row| row.index_fault.is_empty()),
                "{rows:?}"
            );
        })
    };

    assert_eq!((read(1), read(50)), (7, 7));
}
