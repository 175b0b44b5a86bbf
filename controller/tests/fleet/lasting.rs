//! What outlives the process, and what is noticed when it does not.

use fleet::wire::{AuditRecord, ClaimRequest, ListEventsRequest, ListHostsRequest, SessionRequest};
use fleet::{EventKind, Role};

use crate::support::prove_again;
use crate::support::{Fleet, policy};

const TEXT: &str = "NAME ssh\nSOURCE ANY\nOPEN_PORTS tcp/22\nREQUIRE_USERNAME mbr\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_everything() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let user = fleet.join(Role::User, "mbr").await;
    let host = fleet.join(Role::Host, "web-1").await;
    let text = format!("{TEXT}\n{}", crate::claims::STATIC);
    operator.apply(0, &text).await.unwrap();
    let before = policy(&mut host.session().await).await;
    host.acknowledge(&before, &[]).await;
    let claim = ClaimRequest {
        domain: crate::claims::static_domain().to_vec(),
        digest: vec![2; 32],
        seq: 1,
        forget_after_secs: 0,
        dated_secs: 0,
    };
    assert!(
        host.agent()
            .claim(claim.clone())
            .await
            .unwrap()
            .into_inner()
            .won
    );
    // That she reads it is in it from then on.
    let not_read = |mut events: Vec<AuditRecord>| {
        events.retain(|row| {
            let event = row.record.as_ref().unwrap().event().unwrap();
            !matches!(event.kind(), EventKind::Read | EventKind::SignIn)
        });
        events
    };
    let events = operator.events(ListEventsRequest::default()).await;
    let events = not_read(events);

    let fleet = fleet.restart().await;

    let channel = fleet.channel(&operator.answer.certificate_der, &operator.joiner);
    let operator = crate::support::Member {
        channel: channel.await,
        ..operator
    };
    let channel = fleet.channel(&host.answer.certificate_der, &host.joiner);
    let host = crate::support::Member {
        channel: channel.await,
        ..host
    };
    let again = operator.events(ListEventsRequest::default()).await;
    assert_eq!(not_read(again), events);
    let after = policy(&mut host.session().await).await;
    assert_eq!((after.generation, &after.digest), (1, &before.digest));
    assert_eq!(after.replay_floor_secs, before.replay_floor_secs);
    let other = ClaimRequest { seq: 2, ..claim };
    assert!(!host.agent().claim(other).await.unwrap().into_inner().won);
    let hosts = operator.operator().list_hosts(ListHostsRequest {}).await;
    let hosts = hosts.unwrap().into_inner().hosts;
    assert_eq!(hosts.len(), 1);
    assert!(hosts[0].in_sync);
    drop(user);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_put_back_from_a_backup_raises_the_replay_floor() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let host = fleet.join(Role::Host, "web-1").await;
    operator.apply(0, TEXT).await.unwrap();
    let data = fleet.dir.path().join("data");
    let long_ago = "UPDATE meta SET value = 1000 WHERE key = 'replay_floor_secs'";
    let database = rusqlite::Connection::open(data.join("controller.db")).unwrap();
    assert_eq!(database.execute(long_ago, []), Ok(1));
    prove_again(&data, &database);

    let fleet = fleet.restart().await;
    let ordinary = floor(&fleet, &host).await;
    // What the directory says when the database is an older one: a run that the database missed.
    std::fs::write(data.join("run"), "another").unwrap();
    let fleet = fleet.restart().await;
    let restored = floor(&fleet, &host).await;

    assert_eq!(ordinary, 1_000);
    assert!(restored > 1_700_000_000);
}

async fn floor(fleet: &Fleet, host: &crate::support::Member) -> u64 {
    let certificate = &host.answer.certificate_der;
    let channel = fleet.channel(certificate, &host.joiner).await;
    let mut agent = fleet::wire::agent_client::AgentClient::new(channel);
    let session = agent.session(SessionRequest::default()).await;
    policy(&mut session.unwrap().into_inner())
        .await
        .replay_floor_secs
}

#[tokio::test(flavor = "multi_thread")]
async fn one_directory_is_served_once_and_made_once() {
    let fleet = Fleet::start().await;
    let data = fleet.dir.path().join("data");

    let served = controller::Running::start(&data, "127.0.0.1:0".parse().ok()).await;
    let made = controller::init(&data, "controller.example:7443", "prod").await;

    assert!(
        served
            .unwrap_err()
            .to_string()
            .contains("another controller")
    );
    assert!(made.unwrap_err().to_string().contains("already"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_is_a_clear_error() {
    let fleet = Fleet::start().await;
    let data = fleet.dir.path().join("data");
    let Fleet { running, dir, .. } = fleet;
    running.stop().await;
    std::fs::write(data.join("controller.db"), "this is not a database, at all").unwrap();

    let error = controller::Running::start(&data, None).await.unwrap_err();

    let text = program::one_line(&error).to_string();
    assert!(text.contains("controller.db"), "{text}");
    assert!(text.contains("not a database"), "{text}");
    let hint = program::Failure::hint(&error).unwrap();
    assert!(hint.contains("backup"), "{hint}");
    drop(dir);
}
