use super::*;
use crate::app::fixture::{Fleet, NOW, after_secs, caller, root};
use crate::app::members::Act;
use crate::store::model::Whom;

const POLICY: &str = "PROTECT tcp/22\nSOURCE ANY\n";

fn hello() -> Hello {
    Hello {
        policy_digest: Vec::new(),
        policy_until_secs: None,
        packs: false,
        audit_checkpoint: String::new(),
        opening: Opening {
            agent_version: "0.1.0".to_owned(),
            ..Opening::default()
        },
    }
}

async fn open(fleet: &Fleet, host: &Caller) -> Result<Opened, Error> {
    open_session(&fleet.context, host, hello(), NOW, || NOW).await
}

async fn acknowledge_target(fleet: &Fleet, host: &Caller, rejected: &[&str]) {
    let target = fleet.context.rollout.target(&host.name).unwrap();
    let acknowledgement = Acknowledgement {
        generation: target.generation,
        digest: target.compiled.digest.to_vec(),
        rejected: rejected.iter().map(|reason| (*reason).to_owned()).collect(),
        ..Acknowledgement::default()
    };
    acknowledge(&fleet.context, host, acknowledgement, after_secs(5))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_host_is_in_sync_when_it_enforces_what_it_should() {
    let fleet = Fleet::new().await;
    let host = caller(&fleet.join(Role::Host, "web-1").await);
    fleet.apply(0, POLICY).await.unwrap();
    let in_sync = async || {
        show(&fleet.context, &root(), "web-1", NOW)
            .await
            .unwrap()
            .in_sync
    };

    assert!(!in_sync().await, "it has said nothing yet");
    acknowledge_target(&fleet, &host, &[]).await;
    assert!(in_sync().await);
    acknowledge_target(&fleet, &host, &["port 22 is not protected"]).await;
    assert!(!in_sync().await);
}

#[tokio::test]
async fn a_host_with_a_session_is_seen_now_and_another_when_it_spoke_last() {
    let fleet = Fleet::new().await;
    let host = caller(&fleet.join(Role::Host, "web-1").await);
    let opened = open(&fleet, &host).await.unwrap();

    let now = after_secs(60);
    let connected = show(&fleet.context, &root(), "web-1", now).await.unwrap();
    fleet.context.sessions.end("web-1");
    let gone = show(&fleet.context, &root(), "web-1", now).await.unwrap();

    assert_eq!(
        (connected.connected, connected.state.last_seen_ms),
        (true, now.ms())
    );
    assert_eq!((gone.connected, gone.state.last_seen_ms), (false, NOW.ms()));
    assert_eq!(gone.state.agent_version, "0.1.0");
    drop(opened);
}

#[tokio::test]
async fn a_host_whose_membership_has_ended_opens_no_session() {
    let fleet = Fleet::new().await;
    let old = caller(&fleet.join(Role::Host, "web-1").await);
    fleet.lock_host("web-1").await;
    let locked = open(&fleet, &old).await;
    let whom = Whom::host("web-1".to_owned());
    fleet.act(Act::Remove, whom).await.unwrap();

    let removed = open(&fleet, &old).await;
    fleet.join(Role::Host, "web-1").await;
    let replaced = open(&fleet, &old).await;

    assert!(matches!(locked, Err(Error::Locked { .. })), "{locked:?}");
    for refused in [removed, replaced] {
        assert!(matches!(refused, Err(Error::NotMember)), "{refused:?}");
    }
    assert!(!fleet.context.sessions.is_connected("web-1"));
}

#[tokio::test]
async fn what_a_host_says_is_kept_in_bounds() {
    let fleet = Fleet::new().await;
    let host = caller(&fleet.join(Role::Host, "web-1").await);
    let long = Acknowledgement {
        rejected: vec!["a\nb".to_owned(); 2 * REJECTED_MAX],
        drift: "\u{e9}".repeat(REASON_BYTES_MAX),
        word: HostWord {
            protected_ports: vec!["tcp/22".to_owned(), "; rm".to_owned()],
            warnings: vec!["x".repeat(2 * REASON_BYTES_MAX); 2 * WARNINGS_MAX],
            ..HostWord::default()
        },
        ..Acknowledgement::default()
    };
    let odd = Acknowledgement {
        digest: vec![1; 31],
        ..Acknowledgement::default()
    };

    let refused = acknowledge(&fleet.context, &host, odd, NOW).await;
    acknowledge(&fleet.context, &host, long, NOW).await.unwrap();

    assert!(matches!(
        refused,
        Err(Error::Invalid {
            field: "policy_digest",
            ..
        })
    ));
    let state = show(&fleet.context, &root(), "web-1", NOW)
        .await
        .unwrap()
        .state;
    assert_eq!(state.rejected, vec!["a b"; REJECTED_MAX]);
    assert_eq!(state.drift.len(), REASON_BYTES_MAX);
    assert_eq!(state.word.protected_ports, ["tcp/22"]);
    assert_eq!(
        state.word.warnings,
        vec!["x".repeat(REASON_BYTES_MAX); WARNINGS_MAX]
    );
}

#[tokio::test]
async fn a_host_that_nobody_knows_is_not_found() {
    let fleet = Fleet::new().await;
    fleet.join(Role::User, "web-1").await;

    let refused = show(&fleet.context, &root(), "web-1", NOW).await;

    assert!(
        matches!(refused, Err(Error::NotFound { .. })),
        "{refused:?}"
    );
    assert!(list(&fleet.context, &root(), NOW).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_host_whose_session_failed_before_it_was_served_is_not_connected() {
    let fleet = Fleet::new().await;
    let host = caller(&fleet.join(Role::Host, "web-1").await);
    let opened = open(&fleet, &host).await.unwrap();
    assert!(fleet.context.sessions.is_connected("web-1"));

    // Nobody serves it: its caller went away while the session was being opened.
    drop(opened);
    assert!(!fleet.context.sessions.is_connected("web-1"));

    fleet.context.store.close().await;
    assert!(open(&fleet, &host).await.is_err());
    assert!(!fleet.context.sessions.is_connected("web-1"));
}

#[tokio::test]
async fn what_a_host_says_again_is_not_written_again_and_when_it_was_heard_is() {
    let fleet = Fleet::new().await;
    let host = caller(&fleet.join(Role::Host, "web-1").await);
    fleet.apply(0, POLICY).await.unwrap();
    let _session = fleet.context.sessions.subscribe("web-1", || None);
    let said = |drift: &str| Acknowledgement {
        drift: drift.to_owned(),
        ..Acknowledgement::default()
    };
    let say = async |drift, secs| {
        let acknowledged = acknowledge(&fleet.context, &host, said(drift), after_secs(secs));
        acknowledged.await.unwrap();
    };
    let stored = async || {
        let found = fleet.context.store.host(host.id, u64::MAX).await.unwrap();
        let (_, state, _) = found.unwrap();
        (state.drift, state.last_seen_ms)
    };
    let at_ms = |secs| after_secs(secs).ms();

    say("a rule is gone", 1).await;
    say("a rule is gone", 2).await;
    assert_eq!(stored().await, ("a rule is gone".to_owned(), at_ms(1)));
    store_seen(&fleet.context).await.unwrap();
    assert_eq!(stored().await, ("a rule is gone".to_owned(), at_ms(2)));

    say("", 3).await;
    say("a rule is gone", 4).await;
    assert_eq!(stored().await, ("a rule is gone".to_owned(), at_ms(4)));

    // What was heard after that is newer, wherever it was.
    say("a rule is gone", 5).await;
    note_seen(&fleet.context, &host, after_secs(7))
        .await
        .unwrap();
    store_seen(&fleet.context).await.unwrap();
    assert_eq!(stored().await.1, at_ms(7));

    // In a new session nothing has been said.
    let _session = fleet.context.sessions.subscribe("web-1", || None);
    say("a rule is gone", 8).await;
    assert_eq!(stored().await.1, at_ms(8));
}
