use super::*;
use crate::app::fixture::{Fleet, NOW, draft, root};

const SSH: &str = "NAME ssh\nHOSTS name=web-1\nSOURCE ANY\nOPEN_PORTS tcp/22\n";
const SHARED: &str = "NAME shared\nSOURCE ANY\nKEY a-rather-secret-thing\n\
                      HMAC_KEY another-secret-thing\nOPEN_PORTS tcp/22\n";

async fn fleet() -> Fleet {
    let fleet = Fleet::new().await;
    fleet.join(Role::Host, "web-1").await;
    fleet.join(Role::Host, "web-2").await;
    fleet.join(Role::User, "mbr").await;
    fleet
}

#[tokio::test]
async fn an_apply_names_the_hosts_whose_text_it_changed() {
    let fleet = fleet().await;
    let first = fleet.apply(0, "PROTECT tcp/22\n").await.unwrap();
    let second = fleet
        .apply(1, &format!("PROTECT tcp/22\n\n{SSH}"))
        .await
        .unwrap();
    let third = fleet
        .apply(2, &format!("PROTECT tcp/22\n\n{SSH}"))
        .await
        .unwrap();

    assert_eq!((first.generation, first.changed_hosts.len()), (1, 2));
    assert_eq!(second.changed_hosts, ["web-1"]);
    assert_eq!((third.generation, third.changed_hosts.len()), (3, 0));
}

#[tokio::test]
async fn an_apply_on_an_older_generation_changes_nothing() {
    let fleet = fleet().await;
    fleet.apply(0, SSH).await.unwrap();

    let refused = fleet.apply(0, "PROTECT tcp/443\n").await;

    assert!(
        matches!(
            refused,
            Err(Error::StaleBase {
                base: 0,
                current: 1
            })
        ),
        "{refused:?}"
    );
    assert_eq!(fleet.context.rollout.in_force().generation, 1);
    assert_eq!(history(&fleet.context, 0).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_policy_with_mistakes_is_not_stored() {
    let fleet = fleet().await;

    let refused = fleet.apply(0, "SUORCE ANY\n").await;

    assert!(
        matches!(refused, Err(Error::InvalidPolicy(_))),
        "{refused:?}"
    );
    assert!(history(&fleet.context, 0).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_rollback_is_a_new_generation_with_the_old_text_and_says_so() {
    let fleet = fleet().await;
    fleet.apply(0, SSH).await.unwrap();
    fleet.apply(1, "PROTECT tcp/443\n").await.unwrap();

    let to = (1, "mistake".to_owned());
    let applied = rollback(&fleet.context, &root(), to, NOW).await.unwrap();
    let unknown = rollback(&fleet.context, &root(), (9, String::new()), NOW).await;

    assert_eq!(applied.generation, 3);
    assert_eq!(show(&fleet.context, 3).await.unwrap().text, SSH);
    let newest = history(&fleet.context, 1).await.unwrap();
    assert_eq!(
        (newest[0].rollback_of, newest[0].author.as_str()),
        (1, "root")
    );
    assert_eq!(
        fleet.recorded().await.last().unwrap(),
        "rollback to 1: mistake"
    );
    assert!(
        matches!(unknown, Err(Error::NotFound { .. })),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn a_diff_says_what_would_change_and_changes_nothing() {
    let fleet = fleet().await;
    fleet.apply(0, SSH).await.unwrap();

    let both = SSH.replace("HOSTS name=web-1\n", "");
    let difference = diff(&fleet.context, draft(&both)).await.unwrap();

    assert_eq!(difference.base_generation, 1);
    let [change] = difference.hosts.as_slice() else {
        panic!("{:?}", difference.hosts);
    };
    assert_eq!(
        (change.host.as_str(), change.added.as_slice()),
        ("web-2", &["ssh".to_owned()][..])
    );
    assert_eq!(fleet.context.rollout.in_force().generation, 1);
    let same = diff(&fleet.context, draft(SSH)).await.unwrap();
    assert!(same.hosts.is_empty());
}

#[tokio::test]
async fn nothing_that_is_shown_holds_a_secret() {
    let fleet = fleet().await;
    let applied = fleet.apply(0, SHARED).await.unwrap();

    let shown = show(&fleet.context, 0).await.unwrap();
    let rendered = render(&fleet.context, "web-1").unwrap();

    let shared = |warning: &String| warning.contains("valid on 2 hosts");
    assert!(
        applied.warnings.iter().any(shared),
        "{:?}",
        applied.warnings
    );
    for text in [shown.text, rendered.text] {
        assert!(text.contains("shared"), "{text}");
        assert!(!text.contains("secret-thing"), "{text}");
    }
}

#[tokio::test]
async fn before_the_first_policy_there_is_nothing_to_show() {
    let fleet = fleet().await;

    for (refused, why) in [
        (show(&fleet.context, 0).await.map(drop), "applied yet"),
        (render(&fleet.context, "web-1").map(drop), "applied yet"),
        (render(&fleet.context, "web-9").map(drop), "web-9"),
    ] {
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
}

#[tokio::test]
async fn a_message_that_nobody_would_read_is_refused() {
    let fleet = fleet().await;
    let based = (0, "x".repeat(check::MESSAGE_BYTES_MAX + 1));

    let refused = apply(&fleet.context, &root(), draft(SSH), based, NOW).await;

    assert!(
        matches!(
            refused,
            Err(Error::Invalid {
                field: "message",
                ..
            })
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_policy_and_a_rollback_name_who_did_it_and_the_call() {
    let fleet = fleet().await;
    let by = ("operator/root".to_owned(), "root".to_owned());

    fleet.apply(0, SSH).await.unwrap();
    assert_eq!(fleet.newest_is_by().await, by);

    let to = (1, "mistake".to_owned());
    rollback(&fleet.context, &root(), to, NOW).await.unwrap();
    assert_eq!(fleet.newest_is_by().await, by);
}
