//! Two controllers that do the same at the same time, or whose clocks are apart.

use fleet::{EventKind, EventRecord};

use super::*;
use crate::access::event_quotas::{Charged, EventQuotas, Push};
use crate::app::claims::recount;
use crate::app::{events, retention};
use crate::error::Error;
use crate::settings::EventQuota;
use crate::store::fixture;

/// An hour.
const HOUR_SECS: u64 = 3_600;
const DAY_SECS: u64 = 24 * HOUR_SECS;

#[tokio::test]
async fn of_two_policies_that_are_applied_at_once_at_two_controllers_one_is_in_force_at_both() {
    let server = Server::start();
    let (mut a, mut b) = two(&server).await;
    a.fleet.apply(0, POLICY).await.unwrap();
    for controller in [&mut a, &mut b] {
        controller.turn(NOW).await;
    }

    let other = SHARED.replace("22", "2222");
    let (here, there) = tokio::join!(a.fleet.apply(1, SHARED), b.fleet.apply(1, &other));
    let refused = match (here, there) {
        (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => refused,
        both => panic!("{both:?}"),
    };
    let is_stale = matches!(
        refused,
        Error::StaleBase {
            base: 1,
            current: 2
        }
    );
    assert!(is_stale, "{refused:?}");

    for controller in [&mut a, &mut b] {
        controller.turn(NOW).await;
    }
    let [one, other] = [&a, &b].map(|it| it.fleet.context.rollout.target("web-1").unwrap());
    assert_eq!((one.generation, other.generation), (2, 2));
    assert_eq!(one.compiled.digest, other.compiled.digest);
}

#[tokio::test]
async fn two_controllers_that_forget_sign_and_empty_at_once_do_each_thing_once_and_the_log_is_whole()
 {
    let server = Server::start();
    let (a, b) = two(&server).await;
    let store = &a.fleet.context.store;
    for number in 0..1_000 {
        claim(store.clone(), [7; 32], number).await.unwrap();
    }
    for number in 0..600_u64 {
        let mut event = fixture::event(EventKind::Refused, "not for her");
        event.user = format!("user-{number}");
        store.record(event).await.unwrap();
    }

    let contexts = [&a.fleet.context, &b.fleet.context];
    let [one, other] = contexts.map(|context| async move {
        let mut forgotten = 0;
        for day in 0..80 {
            let now = after_secs(DAY_SECS * (31 + day));
            let Context {
                checkpoints, store, ..
            } = context;
            checkpoints.sign(store, now).await.unwrap();
            forgotten += store.forget_claims(now.secs(), 50, 0).await.unwrap().len();
            retention::step(context, true, now).await.unwrap();
            store.thin_step(now.ms()).await.unwrap();
        }
        forgotten
    });
    let (one, other) = tokio::join!(one, other);

    assert_eq!(one + other, 1_000, "each was forgotten once");
    let again = claim(store.clone(), [7; 32], 5).await.unwrap();
    assert_eq!(again, ClaimOutcome::Spent);
    let found = server.examined();
    assert_eq!(found.log.first(), None, "{:?}", found.log);
    assert_eq!(found.log.pruned, 600);
    assert!(found.damage.is_empty() && found.search_fault.is_empty());
}

#[tokio::test]
async fn a_controller_whose_clock_is_an_hour_ahead_lets_nobody_in_twice_and_ends_nothing() {
    let server = Server::start();
    let (mut a, mut b) = two(&server).await;
    let ahead = |secs| after_secs(HOUR_SECS + secs);
    let _session = a.subscribe("web-1");
    let store = a.fleet.context.store.clone();
    assert_eq!(
        claim(store.clone(), [7; 32], 1).await.unwrap(),
        ClaimOutcome::Won
    );

    // By its clock it is time to forget that.
    let before_secs = fleet::claims::forgotten_before(ahead(0).secs());
    let floor_secs = crate::app::claims::floor_after(before_secs);
    let forgotten = b
        .fleet
        .context
        .store
        .forget_claims(before_secs, 10, floor_secs);
    assert_eq!(forgotten.await.unwrap(), ["web-1"]);
    let again = claim(store.clone(), [7; 32], 1).await.unwrap();
    assert_eq!(again, ClaimOutcome::Spent, "nobody wins it a second time");
    // What is sent later is for whoever comes first.
    let later = Claim {
        domain: [7; 32],
        digest: [9; 32],
        host: "web-1".to_owned(),
        seq: 2,
        forget_after_secs: NOW.secs() + 200,
        dated_secs: NOW.secs() + 60,
        capped: false,
    };
    assert_eq!(store.claim(later).await.unwrap(), ClaimOutcome::Won);

    for secs in [0, 10, 20, 30] {
        a.turn(after_secs(secs)).await;
        b.turn_by(ahead(secs), after_secs(secs).ms()).await;
        assert!(a.has("web-1") && b.has("web-1"), "{secs}");
    }
    // A change of either is in force at both, whatever time it says.
    let host = || Whom::host("web-1".to_owned());
    a.fleet.act(Act::Lock, host()).await.unwrap();
    b.turn_by(ahead(31), after_secs(31).ms()).await;
    assert!(b.member("web-1").lock.is_some());
    let unlock = (host(), "because".to_owned());
    let by = crate::app::fixture::root();
    let unlocked = members::act(&b.fleet.context, &by, Act::Unlock, unlock, ahead(32));
    unlocked.await.unwrap();
    a.turn(after_secs(32)).await;
    assert!(a.member("web-1").lock.is_none());
}

#[tokio::test]
async fn what_a_host_pushes_to_one_controller_it_may_not_push_to_another_again() {
    let server = Server::start();
    let (mut a, mut b) = two(&server).await;
    let quota = EventQuota {
        bytes_per_second: 100,
        burst_bytes: 4_000,
    };
    b.fleet.context.event_quotas = EventQuotas::new(Some(quota));
    let host = a.member("web-1");
    let one = Push {
        records: 1,
        body_bytes: 50,
        matters: false,
    };
    let is_held_back = |b: &Controller| {
        let quotas = &b.fleet.context.event_quotas;
        quotas.charge(host.id, one, NOW.ms()) != Charged::Now
    };
    b.turn(NOW).await;
    assert!(!is_held_back(&b));

    let mut records: Vec<EventRecord> = Vec::new();
    for seq in 1..=40 {
        let mut event = fixture::event(EventKind::Refused, "not for her");
        event.seq = seq;
        let before = records.last();
        let chain = before.map_or_else(|| vec![0; 32], |record| record.chain.clone());
        let chain: [u8; 32] = chain.try_into().unwrap();
        records.push(EventRecord::after(seq - 1, &chain, event));
    }
    let by = caller(&host);
    let pushed = events::push(&a.fleet.context, &by, "ab".repeat(16), records, NOW);
    assert_eq!(pushed.await.unwrap().acknowledged_seq, 40);
    a.turn(NOW).await;
    b.turn(NOW).await;

    assert!(is_held_back(&b));
}

#[tokio::test]
async fn claims_that_another_controller_has_stored_or_forgotten_count_at_each() {
    let server = Server::start();
    let (a, b) = two(&server).await;
    for number in 0..3 {
        let store = a.fleet.context.store.clone();
        claim(store, [7; 32], number).await.unwrap();
    }

    recount(&b.fleet.context).await.unwrap();
    assert_eq!(b.fleet.context.claim_quotas.stored("web-1"), 3);
    let forgotten = a.fleet.context.store.forget_claims(u64::MAX >> 1, 2, 0);
    forgotten.await.unwrap();
    recount(&b.fleet.context).await.unwrap();
    assert_eq!(b.fleet.context.claim_quotas.stored("web-1"), 1);
}

#[tokio::test]
async fn of_two_controllers_one_sends_to_a_sink_until_it_lives_no_more() {
    let server = Server::start();
    let (mut a, mut b) = two(&server).await;
    let store = &a.fleet.context.store;
    store.sink("siem".to_owned(), Some(0)).await.unwrap();
    let ids = [&a, &b].map(|it| it.fleet.context.sessions.others().myself().unwrap());
    let name = || "siem".to_owned();

    let take = |from, to| store.take_sink(name(), (from, to));
    assert!(take(None, ids[0]).await.unwrap());
    assert!(!take(None, ids[1]).await.unwrap(), "it has it");
    let sent = |by, id| store.sink_delivered((name(), by), id, NOW_MS);
    sent(Some(ids[0]), 2).await.unwrap();
    assert!(take(Some(ids[0]), ids[1]).await.unwrap());
    // Who was thought dead and is not says nothing any more of how far it is.
    sent(Some(ids[0]), 4).await.unwrap();
    sent(Some(ids[1]), 3).await.unwrap();
    let cursor = store.sink_cursor(name()).await.unwrap().unwrap();
    assert_eq!((cursor.delivered_id, cursor.sender), (3, Some(ids[1])));

    for controller in [&mut a, &mut b] {
        controller.turn(after_secs(14)).await;
    }
    let lives = |a: &Controller| a.fleet.context.sessions.others().lives(ids[1]);
    assert!(lives(&a));
    b.among.leave(&b.fleet.context).await.unwrap();
    a.turn(after_secs(14)).await;
    assert!(!lives(&a));
}
