//! Who asks the fleet's log for what, and who stays with it.

use std::collections::BTreeMap;
use std::time::Duration;

use controller::NewToken;
use fleet::wire::audit_client::AuditClient;
use fleet::wire::{AuditRecord, ListEventsRequest, PushEventsRequest};
use fleet::{Event, EventKind, EventRecord, Role};
use tokio::time::timeout;
use tonic::{Code, Streaming};

use crate::support::{Fleet, Joiner, Member, patiently};

const EPOCH: &str = "00112233445566778899aabbccddeeff";

/// A journal of `events` events: every second one is a refusal.
fn journal(events: u64) -> Vec<EventRecord> {
    let mut journal: Vec<EventRecord> = Vec::new();
    let mut chain = [0; 32];
    for seq in 1..=events {
        let kind = match seq % 2 {
            0 => EventKind::Refused,
            _ => EventKind::GrantOpened,
        };
        let mut event = Event::new(kind, 1_000_000 + seq);
        event.user = "alice".to_owned();
        event.generation = 1 + seq / 4;
        event.request_id = format!("{:032x}", seq / 2);
        event.replay_digest = format!("{:032x}{seq:032x}", seq / 2);
        let record = EventRecord::after(seq - 1, &chain, event);
        chain = record.chain.as_slice().try_into().unwrap();
        journal.push(record);
    }
    journal
}

async fn push(host: &Member, records: &[EventRecord]) {
    let request = PushEventsRequest {
        epoch: EPOCH.to_owned(),
        records: records.to_vec(),
        ..PushEventsRequest::default()
    };
    host.agent().push_events(request).await.unwrap();
}

async fn ask(
    member: &Member,
    request: ListEventsRequest,
) -> Result<Streaming<AuditRecord>, tonic::Status> {
    let mut client = AuditClient::new(member.channel.clone());
    client
        .list_events(request)
        .await
        .map(tonic::Response::into_inner)
}

/// The next record that is one, or the position.
async fn next(stream: &mut Streaming<AuditRecord>) -> AuditRecord {
    patiently(stream.message()).await.unwrap().unwrap()
}

/// What comes until `events` events have come: their numbers in the journal, and where that was.
async fn seqs(stream: &mut Streaming<AuditRecord>, events: usize) -> (Vec<u64>, u64) {
    let (mut seqs, mut last) = (Vec::new(), 0);
    while seqs.len() < events {
        let message = next(stream).await;
        last = message.id;
        if let Some(record) = message.record {
            seqs.push(record.seq);
        }
    }
    (seqs, last)
}

async fn again(fleet: &Fleet, member: Member) -> Member {
    let channel = fleet.channel(&member.answer.certificate_der, &member.joiner);
    Member {
        channel: channel.await,
        ..member
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_follows_the_log_misses_and_repeats_nothing_over_a_restart() {
    let fleet = Fleet::start().await;
    let auditor = fleet.join(Role::Auditor, "eve").await;
    let host = fleet.join(Role::Host, "web-1").await;
    let journal = journal(40);
    push(&host, &journal[..10]).await;
    let refusals = ListEventsRequest {
        host: "web-1".to_owned(),
        kinds: vec![EventKind::Refused.into()],
        follow: true,
        limit: 2,
        ..ListEventsRequest::default()
    };

    let mut stream = ask(&auditor, refusals.clone()).await.unwrap();
    let (before, _) = seqs(&mut stream, 2).await;
    assert!(next(&mut stream).await.is_position);
    push(&host, &journal[10..20]).await;
    let (live, last) = seqs(&mut stream, 5).await;
    drop(stream);
    let fleet = fleet.restart().await;
    let (auditor, host) = (again(&fleet, auditor).await, again(&fleet, host).await);
    push(&host, &journal[20..30]).await;
    let went_on = ListEventsRequest {
        after_id: last,
        ..refusals
    };
    let mut stream = ask(&auditor, went_on).await.unwrap();
    push(&host, &journal[30..]).await;
    let (after, _) = seqs(&mut stream, 10).await;

    assert_eq!(before, [8, 10], "the newest, oldest first");
    assert_eq!(live, [12, 14, 16, 18, 20]);
    assert_eq!(after, (22..=40).step_by(2).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_follows_is_told_when_the_log_ends_before_the_place_that_she_knows() {
    let fleet = Fleet::start().await;
    let auditor = fleet.join(Role::Auditor, "eve").await;
    let request = ListEventsRequest {
        follow: true,
        after_id: 9_999,
        ..ListEventsRequest::default()
    };

    let mut stream = ask(&auditor, request).await.unwrap();
    let refused = patiently(stream.message()).await.unwrap_err();

    assert!(refused.message().contains("put back"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn following_ends_with_the_right_to_ask() {
    let fleet = Fleet::start().await;
    let owner = fleet.join(Role::Owner, "mbr").await;
    let auditor = fleet.join(Role::Auditor, "eve").await;
    let request = ListEventsRequest {
        follow: true,
        ..ListEventsRequest::default()
    };
    let mut stream = ask(&auditor, request).await.unwrap();
    assert!(next(&mut stream).await.is_position);

    let lock = fleet::wire::LockMemberRequest {
        role: fleet::wire::Role::Auditor.into(),
        name: "eve".to_owned(),
        ..fleet::wire::LockMemberRequest::default()
    };
    owner.operator().lock_member(lock).await.unwrap();
    let ended = async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                ended => break ended,
            }
        }
    };

    let ended = timeout(Duration::from_secs(5), ended).await.unwrap();
    assert!(!matches!(ended, Ok(Some(_))), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_nobody_knows_are_refused_and_those_who_left_are_known() {
    let fleet = Fleet::start().await;
    let auditor = fleet.join(Role::Auditor, "eve").await;
    let host = fleet.join(Role::Host, "web-1").await;
    push(&host, &journal(4)).await;
    let by = |user: &str, host: &str| ListEventsRequest {
        user: user.to_owned(),
        host: host.to_owned(),
        ..ListEventsRequest::default()
    };

    let unknown = ask(&auditor, by("alcie", "")).await.unwrap_err();
    let elsewhere = ask(&auditor, by("", "wbe-1")).await.unwrap_err();

    assert_eq!(
        (unknown.code(), elsewhere.code()),
        (Code::NotFound, Code::NotFound)
    );
    assert!(unknown.message().contains("`alcie`"), "{unknown:?}");
    assert!(
        unknown.message().contains("did you mean alice?"),
        "{unknown:?}"
    );
    assert!(
        elsewhere.message().contains("did you mean web-1?"),
        "{elsewhere:?}"
    );
    // Alice never joined: only the log knows her.
    assert_eq!(auditor.events(by("alice", "web-1")).await.len(), 4);
    assert!(ask(&auditor, by("", "controller")).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn generation_request_and_actor_are_asked_for() {
    let fleet = Fleet::start().await;
    let auditor = fleet.join(Role::Auditor, "eve").await;
    let host = fleet.join(Role::Host, "web-1").await;
    push(&host, &journal(12)).await;
    let found = async |request: ListEventsRequest| {
        let records = auditor.events(request).await;
        let seqs = records.iter().filter(|record| record.host == "web-1");
        seqs.map(|record| record.record.as_ref().unwrap().seq)
            .collect::<Vec<_>>()
    };

    let generation = ListEventsRequest {
        generation: 2,
        ..ListEventsRequest::default()
    };
    let request = ListEventsRequest {
        request_id: format!("{:032X}", 3),
        ..ListEventsRequest::default()
    };
    let actor = ListEventsRequest {
        actor: "controller".to_owned(),
        ..ListEventsRequest::default()
    };

    assert_eq!(found(generation).await, [7, 6, 5, 4]);
    assert_eq!(found(request).await, [7, 6]);
    let by_controller = auditor.events(actor).await;
    let is_by = |record: &AuditRecord| {
        let event = record.record.as_ref().unwrap().event().unwrap();
        event.actor == "controller"
    };
    assert!(!by_controller.is_empty() && by_controller.iter().all(is_by));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_helpdesk_sees_refusals_only() {
    let fleet = Fleet::start().await;
    let helpdesk = fleet.join(Role::Helpdesk, "desk").await;
    let host = fleet.join(Role::Host, "web-1").await;
    push(&host, &journal(6)).await;

    let all = helpdesk.events(ListEventsRequest::default()).await;
    let grants = ListEventsRequest {
        kinds: vec![EventKind::GrantOpened.into()],
        ..ListEventsRequest::default()
    };
    let refused = ask(&helpdesk, grants).await.unwrap_err();

    assert_eq!(all.len(), 3);
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_scope_is_shown_events_of_its_hosts_only() {
    let fleet = Fleet::start().await;
    let host = fleet
        .join_labelled(Role::Host, "web-1", &[("env", "stage")])
        .await;
    let other = fleet
        .join_labelled(Role::Host, "web-2", &[("env", "prod")])
        .await;
    push(&host, &journal(2)).await;
    push(&other, &journal(3)).await;
    let wanted = NewToken {
        role: Role::Auditor,
        name: "eve".to_owned(),
        labels: BTreeMap::new(),
        scope: [("env".to_owned(), "stage".to_owned())].into(),
        ttl: Duration::ZERO,
        key_name: String::new(),
        replaces: false,
    };
    let token = fleet.running.invite(wanted).await.unwrap();
    let joiner = Joiner::new();
    let answer = fleet.redeem(&token, &joiner).await.unwrap();
    let channel = fleet.channel(&answer.certificate_der, &joiner).await;
    let auditor = Member {
        joiner,
        answer,
        channel,
    };
    let of = |host: &str| ListEventsRequest {
        host: host.to_owned(),
        ..ListEventsRequest::default()
    };

    let all = auditor.events(of("")).await;
    let refused = ask(&auditor, of("web-2")).await.unwrap_err();

    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|record| record.host == "web-1"));
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
}
