//! Several controllers: the link goes on at another one where one fails.

use fleet::wire::SessionOpened;

use super::*;

/// A link that knows these controllers.
fn link_of(addresses: &[SocketAddr], channels: Channels) -> Link {
    let controller = controllers(addresses, channels.state.clone());
    let (link, start) = Link::new(&channels);
    start.run(&Handle::current(), &link, controller, channels);
    link
}

/// Whatever happens there, the link is soon at this address.
async fn is_at(state: &LinkState, address: SocketAddr) {
    let wait = async {
        loop {
            let report = state.report(clock::now());
            if report.is_connected && report.controller == address.to_string() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.unwrap();
}

fn opened(controllers: &[SocketAddr]) -> Directive {
    Directive {
        directive: Some(Kind::Opened(SessionOpened {
            controllers: controllers.iter().map(SocketAddr::to_string).collect(),
            ..SessionOpened::default()
        })),
    }
}

#[tokio::test]
async fn where_the_first_is_away_the_next_is_dialled_at_once() {
    let mut fake = Fake::start();
    let (_desk, channels) = Desk::new();
    let state = channels.state.clone();

    let _link = link_of(&[nowhere(), fake.address], channels);

    seen(&mut fake.sessions).await;
    is_at(&state, fake.address).await;
}

#[tokio::test]
async fn a_controller_that_ends_is_left_for_another_that_was_learned_of_from_it() {
    let mut first = Fake::start();
    let mut second = Fake::start();
    let (mut desk, channels) = Desk::new();
    let state = channels.state.clone();
    let _link = link_of(&[first.address], channels);
    seen(&mut first.sessions).await;
    first.direct(&opened(&[first.address, second.address]));
    first.direct(&snapshot(7, POLICY));
    desk.adopt().await;
    let all = [first.address, second.address].map(|it| it.to_string());
    assert_eq!(state.report(clock::now()).controllers, all);

    drop(first);

    let session = seen(&mut second.sessions).await;
    assert_eq!(session.generation, 7);
    is_at(&state, second.address).await;
    second.state.lock().lost_answers = 1;
    assert_eq!(desk.claim(1).await, ClaimAnswer::Won);
}

#[tokio::test]
async fn events_that_one_controller_did_not_take_are_pushed_to_the_other_once() {
    let first = Fake::start();
    let second = Fake::start();
    let (mut desk, channels) = Desk::new();
    let _link = link_of(&[first.address, second.address], channels);
    desk.record(3);
    desk.acknowledged(3).await;

    drop(first);
    desk.record(2);
    desk.acknowledged(5).await;

    let seqs: Vec<_> = second.state.lock().events.keys().copied().collect();
    assert_eq!(seqs, [4, 5]);
}

/// The same of a host that goes back to an earlier one soon.
fn link_that_returns(addresses: &[SocketAddr], channels: Channels) -> Link {
    let wait = Duration::from_millis(20);
    let controller = controllers_left_after(wait, addresses, channels.state.clone());
    let (link, start) = Link::new(&channels);
    start.run(&Handle::current(), &link, controller, channels);
    link
}

#[tokio::test]
async fn who_is_at_another_goes_back_to_its_first_and_says_and_hears_nothing_twice() {
    let mut first = Fake::start();
    let mut second = Fake::start();
    let (mut desk, channels) = Desk::new();
    let state = channels.state.clone();
    let _link = link_that_returns(&[second.address], channels);
    seen(&mut second.sessions).await;
    second.direct(&snapshot(7, POLICY));
    desk.adopt().await;
    desk.record(3);
    desk.acknowledged(3).await;

    // It is the second of two from now on.
    second.direct(&opened(&[first.address, second.address]));

    let session = seen(&mut first.sessions).await;
    assert_eq!(session.generation, 7);
    assert_eq!(session.journal.unwrap().seq, 3);
    is_at(&state, first.address).await;
    assert_eq!(state.report(clock::now()).returns_in_secs, None);
    // Who says again what is in force changes nothing, and what happens is said to the first alone.
    first.direct(&snapshot(7, POLICY));
    desk.record(1);
    desk.acknowledged(4).await;
    let pushed = |fake: &Fake| fake.state.lock().events.keys().copied().collect::<Vec<_>>();
    assert_eq!((pushed(&second), pushed(&first)), (vec![1, 2, 3], vec![4]));
    assert_eq!(desk.claim(1).await, ClaimAnswer::Won);
    assert_eq!(first.state.lock().claim_calls, 1);
    assert!(second.sessions.try_recv().is_err());
}

#[tokio::test]
async fn whose_first_is_away_stays_where_it_is_without_a_moment_alone() {
    let mut fake = Fake::start();
    let (_desk, channels) = Desk::new();
    let (state, refuses) = (channels.state.clone(), Fake::start());
    refuses.state.lock().refuses_sessions = Some(tonic::Status::unavailable("not yet"));
    let _link = link_that_returns(&[nowhere(), refuses.address, fake.address], channels);
    seen(&mut fake.sessions).await;
    is_at(&state, fake.address).await;

    // Several times as long as it waits.
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let report = state.report(clock::now());
        assert!(report.is_connected && report.controller == fake.address.to_string());
        assert!(report.returns_in_secs.is_some());
    }
    assert!(fake.sessions.try_recv().is_err());
}

#[test]
fn what_the_owner_of_a_host_says_comes_before_what_the_fleet_says_and_instead_of_where_was_joined()
{
    let list = |addresses: &[&str]| {
        addresses
            .iter()
            .map(|&it| it.to_owned())
            .collect::<Vec<_>>()
    };

    assert_eq!(laid_over(&[], list(&["a:1"])), ["a:1"]);
    assert_eq!(laid_over(&list(&["x:1"]), list(&["a:1"])), ["x:1"]);
    assert_eq!(
        laid_over(&list(&["x:1"]), list(&["b:1", "a:1"])),
        ["x:1", "b:1", "a:1"]
    );
}
