mod plans;
mod scoped;

use fleet::Role;

use super::exposure::Before;
use super::*;
use crate::app::fixture::{Fleet, NOW, caller, draft, root};
use crate::app::hosts;
use crate::store::model::{Acknowledgement, HostWord};

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
        .apply(2, &format!("PROTECT tcp/22\n\n# as before\n{SSH}"))
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
    let applied = rollback(&fleet.context, &root(), to, Public::Allowed, NOW)
        .await
        .unwrap();
    let unknown = rollback(
        &fleet.context,
        &root(),
        (9, String::new()),
        Public::Allowed,
        NOW,
    )
    .await;

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
    let difference = diff(&fleet.context, draft(&both), NOW).await.unwrap();

    assert_eq!(difference.base_generation, 1);
    let [change] = difference.hosts.as_slice() else {
        panic!("{:?}", difference.hosts);
    };
    assert_eq!(
        (change.host.as_str(), change.added.as_slice()),
        ("web-2", &["ssh".to_owned()][..])
    );
    assert_eq!(fleet.context.rollout.in_force().generation, 1);
    let same = diff(&fleet.context, draft(SSH), NOW).await.unwrap();
    assert!(same.hosts.is_empty());
}

#[tokio::test]
async fn nothing_that_is_shown_holds_a_secret() {
    let fleet = fleet().await;
    let applied = fleet.apply(0, SHARED).await.unwrap();

    let shown = show(&fleet.context, 0).await.unwrap();
    let rendered = render(&fleet.context, &root(), "web-1").unwrap();

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
        (
            render(&fleet.context, &root(), "web-1").map(drop),
            "applied yet",
        ),
        (render(&fleet.context, &root(), "web-9").map(drop), "web-9"),
    ] {
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
}

#[tokio::test]
async fn a_message_that_would_move_a_cursor_is_refused_whoever_types_it() {
    let fleet = fleet().await;
    fleet.apply(0, SSH).await.unwrap();
    fleet.apply(1, "PROTECT tcp/22\n").await.unwrap();

    for message in [
        "evil\r=cmd|calc",
        "a\nb",
        "\u{1b}[2K",
        "\u{9b}1A",
        "\u{202e}x",
    ] {
        let (context, public) = (&fleet.context, Public::Allowed);
        let text = draft("PROTECT tcp/443\n");
        let applied = apply(context, &root(), text, (2, message.to_owned()), public, NOW).await;
        let back = rollback(context, &root(), (1, message.to_owned()), public, NOW).await;
        for refused in [applied.map(drop), back.map(drop)] {
            let refused = refused.unwrap_err();
            let is_said = matches!(
                refused,
                Error::Invalid {
                    field: "message",
                    ..
                }
            );
            assert!(is_said, "{message:?} {refused}");
        }
    }
}

#[tokio::test]
async fn a_message_that_nobody_would_read_is_refused() {
    let fleet = fleet().await;
    let based = (0, "x".repeat(check::MESSAGE_BYTES_MAX + 1));

    let refused = apply(
        &fleet.context,
        &root(),
        draft(SSH),
        based,
        Public::Allowed,
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

#[tokio::test]
async fn a_policy_and_a_rollback_name_who_did_it_and_the_call() {
    let fleet = fleet().await;
    let by = ("owner/root".to_owned(), "root".to_owned());

    fleet.apply(0, SSH).await.unwrap();
    assert_eq!(fleet.newest_is_by().await, by);

    let to = (1, "mistake".to_owned());
    rollback(&fleet.context, &root(), to, Public::Allowed, NOW)
        .await
        .unwrap();
    assert_eq!(fleet.newest_is_by().await, by);
}

// === what becomes public ===

const HIDDEN: &str = "PROTECT tcp/22\n\nNAME web\nHOSTS name=web-1\nSOURCE ANY\nOPEN_PORTS tcp/22\n\
                      PROTECT tcp/443\n";

async fn apply_carefully(fleet: &Fleet, base: u64, text: &str) -> Result<Applied, Error> {
    let based = (base, "because".to_owned());
    apply(
        &fleet.context,
        &root(),
        draft(text),
        based,
        Public::Refused,
        NOW,
    )
    .await
}

fn said(exposure: &[HostExposure]) -> Vec<String> {
    let line = |change: &HostExposure| {
        let HostExposure { host, exposure } = change;
        format!(
            "{host} -{} +{}",
            exposure.becomes_public, exposure.becomes_hidden
        )
    };
    exposure.iter().map(line).collect()
}

#[tokio::test]
async fn nothing_that_is_hidden_becomes_public_without_an_operators_word() {
    let fleet = fleet().await;
    let first = apply_carefully(&fleet, 0, HIDDEN).await.unwrap();
    assert_eq!(
        said(&first.exposure),
        ["web-1 - +tcp/22,tcp/443", "web-2 - +tcp/22"]
    );
    for (text, named) in [
        // The last line that hides, a selector with a mistake, a stanza that is gone, everything.
        (
            HIDDEN.replace("PROTECT tcp/22", ""),
            "tcp/22 on web-1, web-2",
        ),
        (
            HIDDEN.replace("name=web-1", "name=wbe-1"),
            "tcp/443 on web-1",
        ),
        ("PROTECT tcp/22\n".to_owned(), "tcp/443 on web-1"),
        (String::new(), "tcp/22 on web-1, web-2; tcp/443 on web-1"),
    ] {
        let refused = apply_carefully(&fleet, 1, &text).await.unwrap_err();

        assert!(matches!(refused, Error::BecomesPublic(_)), "{refused:?}");
        assert!(refused.to_string().contains(named), "{refused}");
        assert_eq!(history(&fleet.context, 0).await.unwrap().len(), 1);
    }

    let applied = fleet.apply(1, "").await.unwrap();

    assert_eq!(
        said(&applied.exposure),
        ["web-1 -tcp/22,tcp/443 +", "web-2 -tcp/22 +"]
    );
}

#[tokio::test]
async fn a_rollback_makes_nothing_public_without_an_operators_word_either() {
    let fleet = fleet().await;
    fleet.apply(0, "PROTECT tcp/22\n").await.unwrap();
    fleet.apply(1, "PROTECT tcp/22, tcp/80\n").await.unwrap();
    let by = root();
    let to = |public| rollback(&fleet.context, &by, (1, String::new()), public, NOW);

    let refused = to(Public::Refused).await.unwrap_err().to_string();
    let done = to(Public::Allowed).await.unwrap();

    assert!(refused.contains("tcp/80 on web-1, web-2"), "{refused}");
    assert_eq!(done.generation, 3);
    assert_eq!(said(&done.exposure), ["web-1 -tcp/80 +", "web-2 -tcp/80 +"]);
}

#[tokio::test]
async fn what_a_host_hides_by_its_own_configuration_does_not_become_public() {
    let fleet = fleet().await;
    fleet.apply(0, "PROTECT tcp/22\n").await.unwrap();
    let host = fleet.context.roster.find(Role::Host, "web-1").unwrap();
    let word = HostWord {
        protected_ports: vec!["tcp/22".to_owned(), "udp/53".to_owned()],
        own_protected_ports: vec!["tcp/22".to_owned(), "udp/53".to_owned()],
        ..HostWord::default()
    };
    let acknowledgement = Acknowledgement {
        word,
        ..Acknowledgement::default()
    };
    let caller = caller(&host);
    hosts::acknowledge(&fleet.context, &caller, acknowledgement, NOW)
        .await
        .unwrap();

    let difference = diff(&fleet.context, draft("PROTECT udp/53\n"), NOW)
        .await
        .unwrap();

    assert_eq!(said(&difference.exposure), ["web-2 -tcp/22 +udp/53"]);
}

#[tokio::test]
async fn after_a_restore_what_hosts_hide_counts_and_not_only_what_the_copy_knows() {
    let fleet = fleet().await;
    fleet.apply(0, "").await.unwrap();
    let host = fleet.context.roster.find(Role::Host, "web-1").unwrap();
    let acknowledgement = Acknowledgement {
        word: HostWord {
            protected_ports: vec!["tcp/22".to_owned()],
            ..HostWord::default()
        },
        ..Acknowledgement::default()
    };
    hosts::acknowledge(&fleet.context, &caller(&host), acknowledgement, NOW)
        .await
        .unwrap();
    let (old, new) = (Arc::default(), Policy::default());
    let known = exposure::hosts(&fleet.context).await.unwrap();

    let said_of = |before| said(&exposure::between(&known, &before, &new));

    assert!(said_of(Before::Policy(&old)).is_empty());
    assert_eq!(said_of(Before::Older(&old)), ["web-1 -tcp/22 +"]);
    assert_eq!(said_of(Before::Unread), ["web-1 -tcp/22 +"]);
}

#[tokio::test]
async fn an_apply_on_an_older_base_is_told_so_before_anything_else() {
    let fleet = fleet().await;
    fleet.apply(0, "PROTECT tcp/22\n").await.unwrap();

    let refused = apply_carefully(&fleet, 0, "").await;

    assert!(
        matches!(refused, Err(Error::StaleBase { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_nobody_can_open_and_what_selects_nobody_is_warned_of() {
    let fleet = fleet().await;
    let text = "NAME ssh\nHOSTS name=web-1\nSOURCE ANY\nREQUIRE_USERNAME mbr\nOPEN_PORTS tcp/22\n\
                PROTECT tcp/22, tcp/25\n\nNAME db\nHOSTS role=bd\nSOURCE ANY\nREQUIRE_USERNAME mbr\n\
                OPEN_PORTS tcp/5432\nPROTECT tcp/5432\n";

    let warnings = diff(&fleet.context, draft(text), NOW)
        .await
        .unwrap()
        .warnings;

    let has = |words: &str| warnings.iter().any(|warning| warning.contains(words));
    assert!(has("tcp/25 becomes hidden on web-1"), "{warnings:?}");
    assert!(!has("tcp/22 becomes hidden"), "{warnings:?}");
    assert!(has("stanza db: its HOSTS select none"), "{warnings:?}");
    let nobody = text.replace("REQUIRE_USERNAME mbr", "REQUIRE_USERNAME alice");
    let warnings = diff(&fleet.context, draft(&nobody), NOW)
        .await
        .unwrap()
        .warnings;
    let has = |words: &str| warnings.iter().any(|warning| warning.contains(words));
    assert!(has("tcp/22 becomes hidden on web-1"), "{warnings:?}");
}
