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
