//! A fleet with several controllers: where they are is told, kept, and dialled in the place of one that is away.

use fleet::Role;
use member::{JoinOptions, Membership, join};

use crate::fake::{Ca, Fake};
use crate::{joined, seen};

/// An address at which nobody listens.
fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn tell(fake: &Fake, controllers: &[&str]) {
    let controllers = controllers.iter().map(|&it| it.to_owned());
    *fake.state.controllers.lock().unwrap() = controllers.collect();
}

#[tokio::test]
async fn a_member_goes_on_at_another_controller_that_it_was_told_of_while_one_is_away() {
    let fake = Fake::start();
    let (dir, member) = joined(&fake).await;
    assert_eq!(member.controllers(), [fake.address.as_str()]);
    let away = nowhere();
    tell(&fake, &[&away, &fake.address, "nonsense"]);

    member.renew().await.unwrap();

    let loaded = Membership::load(dir.path()).unwrap();
    let mut known = loaded.controllers();
    assert_eq!(known.len(), 2);
    known.sort();
    let mut told = [away.clone(), fake.address.clone()];
    told.sort();
    assert_eq!(known, told);
    let (channel, address) = loaded.channel_and_address().await.unwrap();
    assert_eq!(address, fake.address);
    seen(channel).await;
    loaded.renew().await.unwrap();
}

#[tokio::test]
async fn a_controller_that_says_nothing_of_others_takes_nothing_back() {
    let fake = Fake::start();
    let (dir, member) = joined(&fake).await;
    tell(&fake, &["a.example:7443", &fake.address]);
    member.renew_at(&fake.address).await.unwrap();
    tell(&fake, &[]);

    member.renew_at(&fake.address).await.unwrap();

    let loaded = Membership::load(dir.path()).unwrap();
    assert_eq!(loaded.controllers().len(), 2);
}

#[tokio::test]
async fn who_joins_knows_all_controllers_at_once_and_in_another_fleet_none_of_the_former() {
    let fake = Fake::start();
    tell(&fake, &["a.example:7443", &fake.address]);
    let (dir, _) = joined(&fake).await;
    assert_eq!(Membership::load(dir.path()).unwrap().controllers().len(), 2);

    let other = Fake::start();
    let options = JoinOptions {
        force: true,
        ..JoinOptions::default()
    };
    let mut token = other.token(Role::Host, "web-1");
    token.secret = [8; 32];
    join(&token, dir.path(), options).await.unwrap();

    let loaded = Membership::load(dir.path()).unwrap();
    assert_eq!(loaded.controllers(), [other.address.as_str()]);
}

#[tokio::test]
async fn an_impostor_at_one_address_is_passed_over() {
    let fake = Fake::start();
    let (_dir, member) = joined(&fake).await;
    let impostor = Fake::start_with(
        Ca::new(),
        Ca::new().chain(fleet::SERVER_NAME, &Ca::new().pem),
    );
    let told = [impostor.address.clone(), fake.address.clone()];
    member.hear_controllers(&told).unwrap();
    let (_, address) = member.channel_and_address().await.unwrap();
    assert_eq!(address, fake.address);
}
