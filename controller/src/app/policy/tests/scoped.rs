//! What somebody may apply whose business is some hosts only.

use super::*;
use crate::store::model::Scope;

const STAGE: &str = "NAME stage\nHOSTS env=stage\nSOURCE ANY\nREQUIRE_USERNAME alice\n\
                     OPEN_PORTS tcp/22\n\n";
const PROD: &str = "NAME prod\nHOSTS env=prod\nSOURCE ANY\nREQUIRE_USERNAME bob\n\
                    OPEN_PORTS tcp/22\n\n";

fn stage() -> Caller {
    Caller {
        role: Role::Operator,
        scope: Scope([("env".to_owned(), "stage".to_owned())].into()),
        ..root()
    }
}

async fn apply_as(fleet: &Fleet, base: u64, texts: &[&str]) -> Result<Applied, Error> {
    let (text, based) = (texts.concat(), (base, "because".to_owned()));
    let public = Public::Allowed;
    apply(&fleet.context, &stage(), draft(&text), based, public, NOW).await
}

async fn back_as(fleet: &Fleet, generation: u64) -> Result<Applied, Error> {
    let back = (generation, "because".to_owned());
    rollback(&fleet.context, &stage(), back, Public::Allowed, NOW).await
}

#[tokio::test]
async fn whoever_has_a_scope_changes_hosts_of_it_and_is_refused_what_would_change_another() {
    let fleet = Fleet::new().await;
    fleet.join_labelled("web-1", "prod").await;
    fleet.join_labelled("web-2", "stage").await;
    fleet.join(Role::User, "alice").await;
    fleet.join(Role::User, "bob").await;
    fleet.apply(0, &[STAGE, PROD].concat()).await.unwrap();
    let hers = STAGE.replace("tcp/22", "tcp/443");
    let theirs = PROD.replace("tcp/22", "tcp/443");

    let applied = apply_as(&fleet, 1, &[&hers, PROD]).await.unwrap();
    assert_eq!(applied.changed_hosts, ["web-2"]);
    let refused = apply_as(&fleet, 2, &[&hers, &theirs]).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "only hosts with env=stage are your business: 1 other host would have another policy"
    );
    assert_eq!(back_as(&fleet, 1).await.unwrap().changed_hosts, ["web-2"]);
    fleet.apply(3, &[STAGE, &theirs].concat()).await.unwrap();
    let refused = back_as(&fleet, 3).await.unwrap_err();
    assert!(matches!(refused, Error::OutOfScope { .. }), "{refused}");
}

#[tokio::test]
async fn what_would_change_on_hosts_outside_of_a_scope_is_counted_and_not_shown() {
    let fleet = Fleet::new().await;
    fleet.join_labelled("web-1", "prod").await;
    fleet.join_labelled("web-2", "stage").await;
    fleet.join(Role::User, "alice").await;
    fleet.join(Role::User, "bob").await;
    fleet.apply(0, &[STAGE, PROD].concat()).await.unwrap();
    let wider = [STAGE, PROD].concat().replace("tcp/22", "tcp/443");
    let text = format!("PROTECT tcp/443\n{wider}");

    let hers = diff_for(&fleet.context, &stage(), draft(&text), NOW).await;
    let hers = hers.unwrap();
    let all = diff_for(&fleet.context, &root(), draft(&text), NOW).await;
    let all = all.unwrap();

    let warning =
        "only hosts with env=stage are your business: 1 other host would have another policy";
    assert_eq!(hers.warnings[0], warning);
    assert!(!format!("{hers:?}").contains("web-1"), "{hers:?}");
    assert_eq!((hers.hosts.len(), hers.access.len()), (1, 1));
    assert_eq!((all.hosts.len(), all.access.len()), (2, 2));
    assert!(!all.warnings.contains(&warning.to_owned()));
}

#[tokio::test]
async fn a_stanza_that_would_select_hosts_that_are_to_join_is_refused_to_whoever_has_a_scope() {
    let fleet = Fleet::new().await;
    fleet.join_labelled("web-2", "stage").await;
    fleet.apply(0, STAGE).await.unwrap();

    for other in [PROD, "NAME all\nSOURCE ANY\nREQUIRE_USERNAME alice\n"] {
        let refused = apply_as(&fleet, 1, &[STAGE, other]).await.unwrap_err();
        assert!(matches!(refused, Error::OutOfScope { .. }), "{refused}");
    }
    let named = "NAME one\nHOSTS name=web-2\nSOURCE ANY\nREQUIRE_USERNAME alice\n";
    apply_as(&fleet, 1, &[STAGE, named]).await.unwrap();
}

#[tokio::test]
async fn tests_about_other_hosts_stay_as_they_are_when_somebody_with_a_scope_applies() {
    let fleet = Fleet::new().await;
    fleet.join_labelled("web-1", "prod").await;
    fleet.join_labelled("web-2", "stage").await;
    for name in ["alice", "bob", "carol"] {
        fleet.join(Role::User, name).await;
    }
    let group = "%group outside carol\n";
    let by_group = "%test deny @outside web-1 tcp/22\n";
    let by_label = "%test deny alice env=prod tcp/22\n";
    let hers = "%test deny bob web-2 tcp/22\n";
    let all = [group, by_group, by_label, hers, STAGE, PROD];
    fleet.apply(0, &all.concat()).await.unwrap();

    for texts in [
        &[group, by_group, hers, STAGE, PROD][..],
        &[by_label, hers, STAGE, PROD],
        &[
            "%group outside dave\n",
            by_group,
            by_label,
            hers,
            STAGE,
            PROD,
        ],
        &[
            group,
            by_group,
            by_label,
            hers,
            "%test deny carol web-1 tcp/80\n",
            STAGE,
            PROD,
        ],
    ] {
        let refused = apply_as(&fleet, 1, texts).await.unwrap_err();
        assert!(matches!(refused, Error::OutOfScope { .. }), "{refused}");
        let reason = "has to stay as it is";
        assert!(refused.to_string().contains(reason), "{refused}");
    }

    let without_hers = [group, by_group, by_label, STAGE, PROD];
    apply_as(&fleet, 1, &without_hers).await.unwrap();
}

#[tokio::test]
async fn a_text_that_was_shown_is_applied_with_the_keys_in_force_and_never_shows_them() {
    let fleet = Fleet::new().await;
    fleet.join_labelled("web-1", "prod").await;
    fleet.join_labelled("web-2", "stage").await;
    fleet.join(Role::User, "alice").await;
    let text = "NAME prod\nHOSTS env=prod\nSOURCE ANY\nKEY the-key-of-prod\nHMAC_KEY and-its-other\n\
                OPEN_PORTS tcp/22\n\nNAME stage\nHOSTS env=stage\nSOURCE ANY\nOPEN_PORTS tcp/22\n";
    fleet.apply(0, text).await.unwrap();
    let shown = show(&fleet.context, 0).await.unwrap().text;
    assert!(!shown.contains("the-key-of-prod"));
    let (prod, stage) = shown.split_once("NAME stage").unwrap();
    let hers = format!("{prod}NAME stage{}", stage.replace("tcp/22", "tcp/443"));
    let same = apply_as(&fleet, 1, &[&shown]).await.unwrap();
    let edited = apply_as(&fleet, 1, &[&hers]).await.unwrap();
    let widened = apply_as(&fleet, 2, &[&hers.replace("env=prod", "env=stage")]).await;

    assert!(same.unchanged, "with its keys it is what is in force");
    assert_eq!(
        (edited.generation, edited.changed_hosts),
        (2, vec!["web-2".to_owned()])
    );
    let stored = stored_text(&fleet.context, 2).await.unwrap();
    assert!(stored.contains("KEY the-key-of-prod\nHMAC_KEY and-its-other\n"));
    let refused = widened.unwrap_err().to_string();
    assert!(
        refused.contains("left out") && !refused.contains("the-key-of-prod"),
        "{refused}"
    );
}
