//! Members are told where the controllers of their fleet are.

use std::fs::OpenOptions;
use std::io::Write as _;

use fleet::Role;
use fleet::wire::SyncRequest;
use fleet::wire::directive::Directive as Kind;

use crate::support::{Fleet, next, now_secs};

const BOTH: [&str; 2] = ["controller.example:7443", "second.example:7443"];

async fn of_two() -> Fleet {
    let fleet = Fleet::start().await;
    let path = fleet.dir.path().join("data/controller.toml");
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    writeln!(file, "controllers = {BOTH:?}").unwrap();
    fleet.restart().await
}

#[tokio::test]
async fn every_member_is_told_where_the_controllers_are_when_it_joins_renews_syncs_or_opens_a_session()
 {
    let fleet = of_two().await;
    let host = fleet.join(Role::Host, "web-1").await;
    let user = fleet.join(Role::User, "alice").await;
    let owner = fleet.join(Role::Owner, "olga").await;

    for member in [&host, &user, &owner] {
        assert_eq!(member.answer.controllers, BOTH);
        let renewed = fleet.renew(member, now_secs()).await.unwrap();
        assert_eq!(renewed.controllers, BOTH);
    }
    let synced = user.directory().sync(SyncRequest {}).await.unwrap();
    assert_eq!(synced.into_inner().controllers, BOTH);
    let host = host.again(&fleet).await;
    let Kind::Opened(opened) = next(&mut host.session().await).await else {
        panic!("not opened")
    };
    assert_eq!(opened.controllers, BOTH);
}

#[tokio::test]
async fn a_fleet_that_names_no_controllers_says_nothing_of_them() {
    let fleet = Fleet::start().await;
    let host = fleet.join(Role::Host, "web-1").await.again(&fleet).await;

    let Kind::Opened(opened) = next(&mut host.session().await).await else {
        panic!("not opened")
    };

    assert!(host.answer.controllers.is_empty() && opened.controllers.is_empty());
}
