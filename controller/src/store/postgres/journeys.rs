//! How often each kind of write goes to the server and back: over a network that is what takes the time, and the
//! next one of every controller waits for it.

use fleet::{EventKind, EventRecord, Role};

use super::trial::Trial;
use crate::store::fixture::{NOW_MS, apply, change, event, invitation, join, new_member};
use crate::store::model::{Acknowledgement, Claim, HostWord, Lease, Origin};
use crate::store::place::Place;
use crate::store::seal::SealKey;
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
        ("another pass for a host", 3),
        ("a token", 3),
        ("a host that joins", 11),
        ("a policy", 5),
        ("the lock of a user", 10),
    ];
    assert_eq!(found.as_slice(), expected.as_slice());
}
