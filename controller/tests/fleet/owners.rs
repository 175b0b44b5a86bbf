//! Those who were operators before there were owners.

use fleet::Role;
use fleet::wire::{ListHostsRequest, ListMembersRequest};

use crate::support::prove_again;
use crate::support::{Fleet, now_secs};

/// What the migration does to the members, and nothing else of it.
fn made_owners() -> &'static str {
    let migration = include_str!("../../../migrations/sqlite/0009_people.sql");
    let (_, from) = migration.split_once("-- Before there were owners").unwrap();
    let (_, statements) = from.split_once('\n').unwrap();
    let end = "UPDATE members SET role = 'owner' WHERE role = 'operator';";
    let at = statements.find(end).unwrap();
    &statements[..at + end.len()]
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_an_operator_before_there_were_owners_is_an_owner_with_the_certificate_that_she_has()
 {
    let fleet = Fleet::start().await;
    let root = fleet.join(Role::Operator, "root").await;
    let Fleet {
        dir,
        running,
        first,
    } = fleet;
    running.stop().await;
    let database = rusqlite::Connection::open(dir.path().join("data/controller.db")).unwrap();
    database.execute_batch(made_owners()).unwrap();
    prove_again(&dir.path().join("data"), &database);
    drop(database);
    let fleet = Fleet::start_again(dir, first).await;

    // As her program knows her: by the name that is in the certificate, which it renews by it.
    let renewed = fleet.renew(&root, now_secs()).await.unwrap();
    let channel = fleet.channel(&renewed.certificate_der, &root.joiner).await;
    let mut operator = fleet::wire::operator_client::OperatorClient::new(channel);
    operator.list_hosts(ListHostsRequest {}).await.unwrap();
    let members = operator.list_members(ListMembersRequest { role: 0 }).await;
    let members = members.unwrap().into_inner().members;
    let owner = fleet::wire::Role::Owner;
    assert!(
        members.len() == 1 && members[0].role() == owner,
        "{members:?}"
    );

    // The name is free, and whoever takes it is somebody else.
    let other = fleet.join(Role::Operator, "root").await;
    let refused = other
        .operator()
        .list_members(ListMembersRequest { role: 0 })
        .await;
    assert_eq!(refused.unwrap().into_inner().members.len(), 2);
    fleet.renew(&root, now_secs()).await.unwrap();
    fleet.renew(&other, now_secs()).await.unwrap();
}
