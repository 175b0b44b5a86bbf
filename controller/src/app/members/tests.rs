use super::*;
use crate::app::fixture::{Fleet, NOW, root};

#[tokio::test]
async fn a_ban_ends_the_session_the_name_and_the_target_at_once() {
    let fleet = Fleet::new().await;
    fleet.join(Role::Host, "web-1").await;
    fleet.apply(0, "PROTECT tcp/22\n").await.unwrap();
    let session = fleet.context.sessions.subscribe("web-1", || None);

    ban_host(&fleet.context, &root(), "web-1", "rooted", NOW)
        .await
        .unwrap();

    assert!(session.ended.is_cancelled());
    assert!(
        fleet
            .context
            .roster
            .find(Role::Host, "web-1")
            .unwrap()
            .banned
    );
    assert!(fleet.context.rollout.target("web-1").is_none());
    assert_eq!(
        fleet.recorded().await.last().unwrap(),
        "host web-1 banned: rooted"
    );
}

#[tokio::test]
async fn a_second_ban_is_done_already_and_not_recorded() {
    let fleet = Fleet::new().await;
    fleet.join(Role::Host, "web-1").await;
    ban_host(&fleet.context, &root(), "web-1", "", NOW)
        .await
        .unwrap();
    let recorded = fleet.recorded().await;

    ban_host(&fleet.context, &root(), "web-1", "", NOW)
        .await
        .unwrap();

    assert_eq!(fleet.recorded().await, recorded);
}

#[tokio::test]
async fn nobody_is_banned_by_a_name_that_no_host_has() {
    let fleet = Fleet::new().await;
    fleet.join(Role::User, "web-1").await;

    let refused = ban_host(&fleet.context, &root(), "web-1", "", NOW).await;

    assert!(
        matches!(refused, Err(Error::NotFound { .. })),
        "{refused:?}"
    );
    assert!(
        !fleet
            .context
            .roster
            .find(Role::User, "web-1")
            .unwrap()
            .banned
    );
}

#[tokio::test]
async fn a_ban_names_who_did_it_and_the_call() {
    let fleet = Fleet::new().await;
    fleet.join(Role::Host, "web-1").await;

    ban_host(&fleet.context, &root(), "web-1", "rooted", NOW)
        .await
        .unwrap();

    let by = ("operator/root".to_owned(), "root".to_owned());
    assert_eq!(fleet.newest_is_by().await, by);
}
