//! A host that its controller locks, and what ends that.

use fleet::wire;

use super::*;

#[tokio::test]
async fn a_host_that_is_told_so_is_locked_and_says_so_and_no_policy_of_that_session_ends_it() {
    let mut fake = Fake::start();
    let (mut desk, channels) = Desk::new();
    let _link = link(fake.address, channels);
    seen(&mut fake.sessions).await;

    fake.direct(&locked("stolen"));
    let Order::Lock(reason) = desk.order().await else {
        panic!("not locked")
    };
    desk.status
        .send_modify(|status| status.locked = Some(reason));
    fake.direct(&snapshot(7, POLICY));

    assert_eq!(desk.adopt().await, 7);
    desk.status
        .send_modify(|status| status.locked = Some("stolen".to_owned()));
    loop {
        let said = seen(&mut fake.acknowledged).await;
        if said.generation == 7 && said.locked == "stolen" {
            break;
        }
    }
}

#[tokio::test]
async fn a_policy_in_a_session_that_does_not_say_locked_ends_the_lock() {
    let mut fake = Fake::start();
    let (mut desk, channels) = Desk::new();
    desk.status.send_replace(Status {
        generation: 7,
        digest: digest(POLICY),
        locked: Some("stolen".to_owned()),
        ..Status::default()
    });
    let _link = link(fake.address, channels);

    // So that the controller sends one, whatever it thinks that this host has.
    let session = seen(&mut fake.sessions).await;
    assert_eq!(session.policy_digest, Vec::<u8>::new());
    fake.direct(&snapshot(7, POLICY));

    assert!(matches!(desk.order().await, Order::Unlock));
}

#[tokio::test]
async fn a_lock_without_a_reason_is_a_lock_with_words_for_it() {
    let mut fake = Fake::start();
    let (mut desk, channels) = Desk::new();
    let _link = link(fake.address, channels);
    seen(&mut fake.sessions).await;

    fake.direct(&locked(" "));

    // An acknowledgement with an empty reason says that there is no lock.
    assert!(matches!(desk.order().await, Order::Lock(reason) if reason == "no reason was given"));
}

fn locked(reason: &str) -> Directive {
    Directive {
        directive: Some(Kind::Locked(wire::Locked {
            reason: reason.to_owned(),
        })),
    }
}

#[tokio::test]
async fn a_host_that_hears_that_it_belongs_to_the_fleet_no_more_is_locked_and_one_merely_refused_is_not()
 {
    let mut fake = Fake::start();
    let refused = tonic::Status::permission_denied("the certificate names nobody");
    let mut ended = refused.clone();
    let said = fleet::MEMBERSHIP_ENDED.parse().unwrap();
    ended.metadata_mut().insert(fleet::MEMBERSHIP, said);

    fake.state.lock().refuses_sessions = Some(refused);
    let (mut desk, channels) = Desk::new();
    let _link = link(fake.address, channels);
    let first = tokio::time::timeout(Duration::from_millis(300), desk.order()).await;
    assert!(first.is_err(), "{first:?}");
    fake.state.lock().refuses_sessions = Some(ended);

    let Order::Lock(reason) = desk.order().await else {
        panic!("not locked")
    };
    assert!(reason.contains("removed from its fleet"), "{reason}");
    desk.status
        .send_modify(|status| status.locked = Some(reason));
    // It joined again, or the controller was restored from a newer copy.
    fake.state.lock().refuses_sessions = None;
    loop {
        tokio::select! {
            _ = fake.sessions.recv() => fake.direct(&snapshot(7, POLICY)),
            order = desk.order() => if matches!(order, Order::Unlock) { break },
        }
    }
}
