//! What an operator is told of a text before it counts, and when it does not.

use super::*;
use crate::app::fixture::after_secs;

const TESTED: &str = "\
%test allow mbr web-1 tcp/22
%test deny * web-2 tcp/22
NAME ssh
HOSTS name=web-1
SOURCE ANY
REQUIRE_USERNAME mbr
OPEN_PORTS tcp/22
";

fn of_file(text: &str) -> Draft {
    Draft {
        file: "fleet.conf".to_owned(),
        ..draft(text)
    }
}

async fn apply_file(fleet: &Fleet, base: u64, text: &str) -> Result<Applied, Error> {
    let based = (base, "because".to_owned());
    let public = Public::Allowed;
    apply(&fleet.context, &root(), of_file(text), based, public, NOW).await
}

#[tokio::test]
async fn a_text_that_is_in_force_already_makes_no_generation() {
    let fleet = fleet().await;
    fleet.apply(0, SSH).await.unwrap();
    let events = fleet.recorded().await.len();

    let again = fleet.apply(1, SSH).await.unwrap();
    // Nothing can be overwritten unseen by it.
    let from_elsewhere = fleet.apply(0, SSH).await.unwrap();
    let to = (1, "back".to_owned());
    let back = rollback(&fleet.context, &root(), to, Public::Refused, NOW).await;

    for applied in [again, from_elsewhere, back.unwrap()] {
        assert!(applied.unchanged, "{applied:?}");
        assert_eq!((applied.generation, applied.changed_hosts.len()), (1, 0));
    }
    assert_eq!(history(&fleet.context, 0).await.unwrap().len(), 1);
    assert_eq!(fleet.recorded().await.len(), events);
    assert!(
        diff(&fleet.context, draft(SSH), NOW)
            .await
            .unwrap()
            .unchanged
    );
    assert!(
        !fleet
            .apply(1, &format!("{SSH}# note\n"))
            .await
            .unwrap()
            .unchanged
    );
}

#[tokio::test]
async fn an_apply_says_why() {
    let fleet = fleet().await;

    for message in ["", "  \n"] {
        let based = (0, message.to_owned());
        let refused = apply(
            &fleet.context,
            &root(),
            draft(SSH),
            based,
            Public::Refused,
            NOW,
        )
        .await;
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
    assert!(history(&fleet.context, 0).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_policy_whose_tests_fail_is_not_applied_and_not_brought_back() {
    let fleet = fleet().await;
    let applied = apply_file(&fleet, 0, TESTED).await.unwrap();
    let wrong = TESTED.replace("REQUIRE_USERNAME mbr", "REQUIRE_USERNAME carol");

    let refused = apply_file(&fleet, 1, &wrong).await;
    let difference = diff(&fleet.context, of_file(&wrong), NOW).await.unwrap();

    assert!(
        applied
            .tests
            .iter()
            .all(|test| test.result == TestResult::Passed)
    );
    let Err(error @ Error::TestsFailed(_)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(
        error.to_string(),
        "nothing was changed: a test of the policy fails\n\
         fleet.conf:1: %test allow mbr web-1 tcp/22: mbr on web-1: may not open tcp/22: stanza ssh \
         (fleet.conf:3): user `mbr` is not in REQUIRE_USERNAME"
    );
    assert_eq!(history(&fleet.context, 0).await.unwrap().len(), 1);
    assert_eq!(difference.tests[0].result, TestResult::Failed);
    assert_eq!(difference.tests[1].result, TestResult::Passed);
    // What held when it was applied may hold no longer: here because its host is another one.
    apply_file(&fleet, 1, SSH).await.unwrap();
    fleet.lock_host("web-1").await;
    fleet.lock_host("web-2").await;
    let to = (1, "back".to_owned());
    let back = rollback(&fleet.context, &root(), to, Public::Refused, NOW)
        .await
        .unwrap();
    // A host that is locked is judged by what it would be told.
    assert_eq!(back.generation, 3);
}

#[tokio::test]
async fn a_rolled_back_text_is_tested_again() {
    let fleet = fleet().await;
    let text = TESTED.replace("%test deny * web-2 tcp/22", "%test deny * role=web tcp/80");
    let text = format!("{text}ACCESS_EXPIRE_EPOCH {}\n", after_secs(60).secs());
    apply_file(&fleet, 0, &text).await.unwrap();
    apply_file(&fleet, 1, SSH).await.unwrap();

    let to = (1, "back".to_owned());
    let later = after_secs(61);
    let back = rollback(&fleet.context, &root(), to, Public::Refused, later).await;

    assert!(matches!(back, Err(Error::TestsFailed(_))), "{back:?}");
    assert_eq!(history(&fleet.context, 0).await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_apply_and_a_diff_say_what_people_gain_and_lose() {
    let fleet = fleet().await;
    fleet.join(Role::User, "alice").await;
    fleet.apply(0, SSH).await.unwrap();
    let narrow = SSH.replace("SOURCE ANY", "SOURCE ANY\nREQUIRE_USERNAME alice");

    let difference = diff(&fleet.context, draft(&narrow), NOW).await.unwrap();
    let applied = fleet.apply(1, &narrow).await.unwrap();
    let renamed = narrow.replace("NAME ssh", "NAME other");
    let same = diff(&fleet.context, draft(&renamed), NOW).await.unwrap();

    let [change] = difference.access.as_slice() else {
        panic!("{:?}", difference.access);
    };
    assert_eq!(change.holder, policy::Holder::User("mbr".into()));
    assert_eq!(
        (change.host.as_str(), change.loses.to_string()),
        ("web-1", "tcp/22".to_owned())
    );
    assert_eq!(applied.access, difference.access);
    assert!(same.access.is_empty() && !same.hosts.is_empty(), "{same:?}");
}

#[tokio::test]
async fn names_that_nobody_has_and_near_ends_are_warned_of() {
    let fleet = fleet().await;
    let text = format!(
        "%test deny zed web-9 tcp/1\nNAME ssh\nHOSTS name=web1\nSOURCE ANY\nREQUIRE_USERNAME mrb\n\
         OPEN_PORTS tcp/22\nACCESS_EXPIRE_EPOCH {}\n",
        after_secs(9 * 24 * 3_600).secs()
    );

    let warnings = diff(&fleet.context, of_file(&text), NOW)
        .await
        .unwrap()
        .warnings;

    for expected in [
        "fleet.conf:2: REQUIRE_USERNAME: stanza ssh: no user is called mrb yet (did you mean mbr?)",
        "fleet.conf:2: HOSTS: stanza ssh: its HOSTS select none of the hosts that have joined (did you mean name=web-1?)",
        "in 9 days",
        "fleet.conf:1: %test: no host is called web-9 yet",
        "fleet.conf:1: %test: no user is called zed yet",
    ] {
        assert!(
            warnings.iter().any(|warning| warning.contains(expected)),
            "{expected}: {warnings:#?}"
        );
    }
}

#[tokio::test]
async fn a_generation_keeps_what_its_file_was_called_through_a_rollback_and_a_restart() {
    let fleet = fleet().await;
    apply_file(&fleet, 0, SSH).await.unwrap();
    fleet.apply(1, "PROTECT tcp/443\n").await.unwrap();
    let to = (1, "back".to_owned());
    rollback(&fleet.context, &root(), to, Public::Allowed, NOW)
        .await
        .unwrap();

    let generations = history(&fleet.context, 0).await.unwrap();
    let files: Vec<&str> = generations
        .iter()
        .map(|generation| generation.file.as_str())
        .collect();
    let in_force = fleet.context.rollout.in_force();

    assert_eq!(files, ["fleet.conf", "", "fleet.conf"]);
    assert_eq!(
        in_force.policy.origin(0).unwrap().to_string(),
        "fleet.conf:1"
    );
    let odd = Draft {
        file: "a\nb".to_owned(),
        ..draft(SSH)
    };
    let based = (3, "because".to_owned());
    let refused = apply(&fleet.context, &root(), odd, based, Public::Allowed, NOW).await;
    assert!(
        matches!(refused, Err(Error::Invalid { field: "file", .. })),
        "{refused:?}"
    );
}
