//! The gate has the policy of other keys before anybody is told of them.

use spa::ExchangeSecret;

use super::*;
use crate::link::keys::OwnKeys;

fn secret(byte: u8) -> ExchangeSecret {
    ExchangeSecret::from_bytes([byte; 32])
}

fn for_a_user() -> String {
    let public = secret(9).public();
    format!("SOURCE ANY\nREQUIRE_USERNAME alice\nUSER_PUBLIC_KEY {public}\nOPEN_PORTS tcp/22\n")
}

/// A link with these keys.
fn link_of(address: SocketAddr, channels: Channels, keys: &OwnKeys) -> Link {
    let mut controller = controller(address);
    controller.keys = keys.clone();
    let (link, start) = Link::new(&channels);
    start.run(&Handle::current(), &link, controller, channels);
    link
}

async fn key_count(desk: &mut Desk) -> usize {
    let Order::ReplacePolicy(policy) = desk.order().await else {
        panic!("no policy")
    };
    policy.compiled.key_count()
}

#[tokio::test]
async fn a_policy_is_compiled_with_every_key_that_is_good_when_it_comes() {
    let mut fake = Fake::start();
    let (mut desk, channels) = Desk::new();
    let keys = OwnKeys::new(None, vec![secret(1)]);
    let _link = link_of(fake.address, channels, &keys);
    seen(&mut fake.sessions).await;
    fake.direct(&snapshot(7, &for_a_user()));
    assert_eq!(key_count(&mut desk).await, 1);

    keys.opening().await.secrets = vec![secret(1), secret(2)].into();
    fake.direct(&snapshot(8, &for_a_user()));

    assert_eq!(key_count(&mut desk).await, 2);
    let ordered = keys.opening().await.ordered;
    assert_eq!(ordered.map(|ordered| ordered.generation), Some(8));
}

#[tokio::test]
async fn while_keys_are_replaced_no_policy_is_ordered_that_was_compiled_with_fewer() {
    let mut fake = Fake::start();
    let (mut desk, channels) = Desk::new();
    let keys = OwnKeys::new(None, vec![secret(1)]);
    let _link = link_of(fake.address, channels, &keys);
    seen(&mut fake.sessions).await;

    let mut opening = keys.opening().await;
    fake.direct(&snapshot(7, &for_a_user()));
    let early = tokio::time::timeout(Duration::from_millis(100), desk.order()).await;
    assert!(
        early.is_err(),
        "ordered with the former key alone: {early:?}"
    );
    opening.secrets = vec![secret(1), secret(2)].into();
    drop(opening);

    assert_eq!(key_count(&mut desk).await, 2);
}
