use super::*;
use crate::app::fixture::{Fleet, NOW, caller};

const POLICY: &str = "NAME mine\nSOURCE ANY\nREQUIRE_USERNAME mbr\nOPEN_PORTS tcp/22\n\
                      \nNAME hers\nSOURCE ANY\nREQUIRE_USERNAME eve\n\
                      \nNAME everybodys\nHOSTS name=web-2\nSOURCE ANY\n\
                      \nNAME shared\nSOURCE ANY\nKEY a-secret-thing\nHMAC_KEY another-secret\n";

#[tokio::test]
async fn a_user_is_shown_the_pairwise_stanzas_that_permit_her_and_no_other() {
    let fleet = Fleet::new().await;
    fleet.join(Role::Host, "web-1").await;
    fleet.join(Role::Host, "web-2").await;
    let user = caller(&fleet.join(Role::User, "mbr").await);
    fleet.apply(0, POLICY).await.unwrap();

    let directory = directory(&fleet.context, &user, NOW);

    let shown: Vec<_> = directory
        .entries
        .iter()
        .map(|entry| (entry.host.as_str(), entry.stanza.as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            ("web-1", "mine"),
            ("web-2", "mine"),
            ("web-2", "everybodys")
        ]
    );
    assert_eq!(directory.entries[0].ports, ["tcp/22"]);
    assert_eq!((directory.user.as_str(), directory.at), ("mbr", NOW));
}

#[tokio::test]
async fn a_locked_host_is_shown_as_locked_to_whoever_may_open_it_and_as_nothing_else() {
    let fleet = Fleet::new().await;
    fleet.join(Role::Host, "web-1").await;
    let user = caller(&fleet.join(Role::User, "mbr").await);
    fleet.apply(0, POLICY).await.unwrap();
    fleet.lock_host("web-1").await;

    let directory = directory(&fleet.context, &user, NOW);

    assert!(directory.entries.is_empty());
    let locked = directory.locked.iter();
    let locked: Vec<_> = locked
        .map(|entry| (entry.host.as_str(), entry.stanza.as_str()))
        .collect();
    assert_eq!(locked, [("web-1", "mine")]);
}

#[tokio::test]
async fn what_is_restricted_is_in_nobodys_directory() {
    let fleet = Fleet::new().await;
    fleet.join(Role::Host, "web-1").await;
    let alice = fleet.join(Role::User, "alice").await;
    let text = "NAME some\nSOURCE ANY\nOPEN_PORTS tcp/2222-2224\nRESTRICT_PORTS tcp/2223\n";
    fleet.apply(0, text).await.unwrap();

    let directory = directory(&fleet.context, &caller(&alice), NOW);

    assert_eq!(directory.entries[0].ports, ["tcp/2222", "tcp/2224"]);
}
