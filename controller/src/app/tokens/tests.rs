use super::*;
use crate::app::fixture::{CALL, Fleet, NOW};

#[tokio::test]
async fn a_token_names_who_made_it_and_the_call() {
    let fleet = Fleet::new().await;

    fleet.token(Role::Host, "web-1").await;

    let by = ("operator/root".to_owned(), "root".to_owned());
    assert_eq!(fleet.newest_is_by().await, by);
}

#[tokio::test]
async fn a_token_that_no_member_made_is_the_controllers_own() {
    let fleet = Fleet::new().await;
    let new = NewToken {
        role: Role::Operator,
        name: String::new(),
        labels: BTreeMap::new(),
        ttl: Duration::ZERO,
    };
    let creator = ("init", Origin::controller(CALL.id.to_string()));
    let context = &fleet.context;

    issue(&context.store, &context.endpoint, new, creator, NOW)
        .await
        .unwrap();

    let by = ("controller".to_owned(), "init".to_owned());
    assert_eq!(fleet.newest_is_by().await, by);
}
