//! A thousand are told at a time, of whatever all are to hear.

use tokio::sync::oneshot;

use super::*;
use crate::sessions::flow::{Passage, SMALL_AT_ONCE, SMALL_LASTS};

/// All the room that there is for what is small.
fn all_room(registry: &Registry) -> Vec<Passage> {
    let ask = |_| registry.flow().ask(1).try_recv().unwrap();
    (0..SMALL_AT_ONCE).map(ask).collect()
}

fn is_through(asked: &oneshot::Receiver<Passage>) -> bool {
    !asked.is_empty()
}

fn port(generation: u64) -> Targets {
    let text = format!("PROTECT tcp/{generation}\nSOURCE ANY\n");
    targets(generation, &text, &first_targets())
}

#[tokio::test]
async fn a_host_whose_policy_changes_while_it_waits_keeps_its_place_and_is_sent_the_newest() {
    let registry = Arc::default();
    let mut room = all_room(&registry);
    let (mut session, mut received) = open(&registry, None, Vec::new());
    session.first_policy().await.unwrap();
    let after = registry.flow().ask(1);

    for generation in 2..9 {
        registry.retarget(&port(generation));
        session.due(Due::PassAndPolicy).await.unwrap();
    }
    assert!(received.try_recv().is_err(), "there is no room");
    room.pop();

    assert!(!is_through(&after), "it came later");
    let (due, passage) = arrived(&mut session.waiting).await;
    session.tell(due, passage).await.unwrap();
    let (told, _) = policy(&mut received).await;
    assert_eq!(told.generation, 8);
    assert!(received.try_recv().is_err());
    registry.note_applied("web-1", &told.compiled.digest);
    assert!(is_through(&after), "what is acknowledged makes room");
}

#[tokio::test]
async fn what_has_grown_while_it_waited_waits_for_the_room_that_it_takes() {
    let registry = Arc::default();
    let mut room = all_room(&registry);
    let large = registry.flow().ask(usize::MAX).await.unwrap();
    let (mut session, mut received) = open(&registry, None, Vec::new());
    session.first_policy().await.unwrap();

    registry.retarget(&targets(2, &long(1_000), &first_targets()));
    room.clear();
    let (due, passage) = arrived(&mut session.waiting).await;
    session.tell(due, passage).await.unwrap();

    assert!(received.try_recv().is_err(), "there is no room for so much");
    drop(large);
    let (due, passage) = arrived(&mut session.waiting).await;
    session.tell(due, passage).await.unwrap();
    assert_eq!(policy(&mut received).await.0.generation, 2);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_never_answers_is_waited_for_a_second() {
    let registry = Arc::default();
    let mut room = all_room(&registry);
    let (session, mut received) = open(&registry, None, Vec::new());
    tokio::spawn(session.run(Vec::new()));
    room.pop();
    policy(&mut received).await;

    let began = tokio::time::Instant::now();
    let other = registry.flow().ask(1).await.unwrap();

    assert!(began.elapsed() >= SMALL_LASTS && began.elapsed() < SMALL_LASTS * 2);
    drop(other);
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_a_host_waits_is_proven_by_a_pass_of_its_time_and_a_lock_goes_past() {
    let dir = tempfile::TempDir::new().unwrap();
    let store = fixture::open(dir.path()).await;
    let member = fixture::join(&store, fleet::Role::Host, "web-1").await.id;
    let registry: Arc<Registry> = Arc::default();
    let room = all_room(&registry);
    let (session, mut received) = open(&registry, None, Vec::new());
    let before = store.renew_pass(member).await.unwrap();
    let session = keeping_passes(session, (store, member), before.clone()).await;
    tokio::spawn(session.run(Vec::new()));
    let first = received.recv().await.unwrap();
    assert!(matches!(&*first, Directive::Opened { session_pass, .. } if *session_pass == before));
    // A policy waits for its room, and another one takes its place.
    tokio::task::yield_now().await;
    registry.retarget(&port(2));
    tokio::task::yield_now().await;

    drop(room);

    let pass = received.recv().await.unwrap();
    assert!(
        matches!(&*pass, Directive::Opened { session_pass, .. } if *session_pass != before),
        "{pass:?}"
    );
    let (told, _) = policy(&mut received).await;
    assert_eq!(told.generation, 2);
    registry.note_applied("web-1", &told.compiled.digest);

    let _room = all_room(&registry);
    registry.retarget(&port(3));
    tokio::task::yield_now().await;
    registry.lock("web-1", "stolen");
    let next = received.recv().await.unwrap();
    assert!(matches!(*next, Directive::Locked { .. }), "{next:?}");
}
