//! Events, on their way to the controller: nothing lost, nothing twice.

use fleet::{Event, EventKind};

use super::*;

#[tokio::test]
async fn every_event_arrives_once_and_in_batches_across_a_restart_of_the_controller() {
    let fake = Fake::start();
    let (mut desk, channels) = Desk::new();
    let _link = link(fake.address, channels);
    desk.record(600);
    desk.acknowledged(600).await;
    let (address, state) = (fake.address, fake.state.clone());

    drop(fake);
    desk.record(3);
    let fake = Fake::start_at(address, state);
    desk.acknowledged(603).await;

    let seqs: Vec<_> = fake.state.lock().events.keys().copied().collect();
    assert_eq!(seqs, (1..=603).collect::<Vec<_>>());
    let state = fake.state.lock();
    assert!(
        state
            .epochs
            .iter()
            .all(|epoch| epoch == desk.journal.epoch())
    );
}

#[tokio::test]
async fn events_whose_acknowledgement_is_lost_are_pushed_again() {
    let fake = Fake::start();
    fake.state.lock().lost_answers = 2;
    let (mut desk, channels) = Desk::new();
    let _link = link(fake.address, channels);

    desk.record(2);
    desk.acknowledged(2).await;

    assert_eq!(fake.state.lock().epochs.len(), 3);
}

#[tokio::test]
async fn the_gate_hears_how_far_its_clock_is_from_the_controllers() {
    let fake = Fake::start();
    // An hour behind us, as far as a test that takes some seconds can tell.
    fake.state.lock().controller_time_ms = clock::now().wall_ms() - 3_600_000;
    let (mut desk, channels) = Desk::new();
    let _link = link(fake.address, channels);

    let Order::ClockOffset(ms) = desk.order().await else {
        panic!("no offset")
    };

    assert!((3_600_000..3_660_000).contains(&ms), "{ms}");
}

#[tokio::test]
async fn a_push_that_is_refused_is_told_to_the_controller_until_it_is_mended() {
    let mut fake = Fake::start();
    fake.state.lock().refuses_events = "too much text in one event".to_owned();
    let (mut desk, channels) = Desk::new();
    let _link = link(fake.address, channels);
    desk.record(2);

    while seen(&mut fake.acknowledged).await.audit_fault != "too much text in one event" {}
    fake.state.lock().refuses_events.clear();
    desk.acknowledged(2).await;

    while !seen(&mut fake.acknowledged).await.audit_fault.is_empty() {}
}

#[tokio::test]
async fn what_an_earlier_run_has_pushed_is_not_pushed_again() {
    let (mut desk, channels) = Desk::with(|journal| {
        for _ in 0..4 {
            // Open grants stay in the journal, also when they are acknowledged.
            journal.stage(Event::new(EventKind::GrantOpened, 1));
        }
        journal.commit().unwrap();
        let epoch = journal.epoch().to_owned();
        journal.acknowledged(&epoch, 4);
    });
    let fake = Fake::start();
    let _link = link(fake.address, channels);

    desk.record(1);
    desk.acknowledged(5).await;

    let seqs: Vec<_> = fake.state.lock().events.keys().copied().collect();
    assert_eq!(seqs, [5]);
}

#[tokio::test]
async fn finishing_waits_for_the_last_event() {
    let mut fake = Fake::start();
    let (mut desk, channels) = Desk::new();
    let link = link(fake.address, channels);
    seen(&mut fake.acknowledged).await;

    desk.record(1);
    link.finish(SOON).await;

    assert_eq!(fake.state.lock().events.len(), 1);
}

#[tokio::test]
async fn a_gate_that_has_stopped_does_not_keep_the_last_events_from_the_controller() {
    let mut fake = Fake::start();
    let (mut desk, channels) = Desk::new();
    let link = link(fake.address, channels);
    seen(&mut fake.acknowledged).await;

    desk.record(1500);
    let Desk {
        inbox,
        committed,
        status,
        journal: _journal,
        _dir,
        ..
    } = desk;
    drop((inbox, committed, status));
    link.finish(SOON).await;

    assert_eq!(fake.state.lock().events.len(), 1500);
}

#[tokio::test]
async fn finishing_without_a_controller_does_not_wait() {
    let (mut desk, channels) = Desk::new();
    let mut link = link(nowhere(), channels);
    until_down(&mut link).await;
    desk.record(1);

    let finish = link.finish(Duration::from_secs(3600));

    tokio::time::timeout(SOON, finish).await.unwrap();
}
