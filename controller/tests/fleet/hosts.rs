//! Hosts that are given another name, address or label while they are there.

use fleet::event::{Event, EventKind, EventRecord};
use fleet::wire::{
    ClaimRequest, ClaimResponse, ListEventsRequest, PushEventsRequest, RenameHostRequest,
    SetHostRequest, ShowHostRequest,
};
use fleet::{Outcome, Role};
use tonic::Code;

use crate::claims::{STATIC, static_domain};
use crate::support::{Fleet, Member, now_secs, patiently, policy};

/// A journal of so many events.
fn journal(length: u64) -> Vec<EventRecord> {
    let mut records: Vec<EventRecord> = Vec::new();
    let (mut seq, mut chain) = (0, [0; 32]);
    for _ in 0..length {
        let mut event = Event::new(EventKind::GrantOpened, now_secs() * 1000);
        event.user = "alice".to_owned();
        event.set_outcome(Outcome::Success);
        let record = EventRecord::after(seq, &chain, event);
        (seq, chain) = (record.seq, record.chain.as_slice().try_into().unwrap());
        records.push(record);
    }
    records
}

async fn push(host: &Member, records: &[EventRecord]) -> u64 {
    let request = PushEventsRequest {
        epoch: "5".repeat(32),
        records: records.to_vec(),
        ..PushEventsRequest::default()
    };
    let answer = host.agent().push_events(request).await.unwrap();
    answer.into_inner().acknowledged_seq
}

async fn claim(host: &Member, seq: u64) -> ClaimResponse {
    let request = ClaimRequest {
        domain: static_domain().to_vec(),
        digest: vec![1; 32],
        seq,
        forget_after_secs: 4_000_000_000,
        dated_secs: 0,
    };
    host.agent().claim(request).await.unwrap().into_inner()
}

async fn rename(operator: &Member, name: &str, new_name: &str) {
    let request = RenameHostRequest {
        name: name.to_owned(),
        new_name: new_name.to_owned(),
        ..RenameHostRequest::default()
    };
    operator.operator().rename_host(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_host_goes_on_with_its_certificate_its_journal_and_what_it_has_claimed() {
    let fleet = Fleet::start().await;
    let owner = fleet.join(Role::Owner, "root").await;
    let mut host = fleet.join(Role::Host, "web-1").await;
    owner.apply(0, STATIC).await.unwrap();
    let mut session = host.session().await;
    let snapshot = policy(&mut session).await;
    host.acknowledge(&snapshot, &[]).await;
    let journal = journal(6);
    assert_eq!(push(&host, &journal[..3]).await, 3);
    assert!(claim(&host, 7).await.won);

    rename(&owner, "web-1", "www-1").await;

    // Its session ends in order, so that it comes back at once, and is nobody at no time.
    let ended = patiently(session.message()).await;
    let ended = ended.unwrap_err();
    assert_eq!(ended.code(), Code::Aborted, "{ended:?}");
    let mut session = host.session().await;
    policy(&mut session).await;
    assert_eq!(push(&host, &journal).await, 6);
    assert!(claim(&host, 7).await.won, "what it has won before");
    assert_eq!(claim(&host, 8).await.held_by, "www-1");
    let renewed = fleet.renew(&host, now_secs()).await.unwrap();
    host.channel = fleet.channel(&renewed.certificate_der, &host.joiner).await;
    host.session().await;
    let events = owner.events(ListEventsRequest::default()).await;
    let of_it = events
        .iter()
        .filter(|record| record.epoch == "5".repeat(32));
    let mut of_it: Vec<_> = of_it
        .map(|record| {
            (
                record.record.as_ref().unwrap().seq,
                record.host.as_str(),
                record.flaw.as_str(),
            )
        })
        .collect();
    of_it.sort_unstable();
    let (old, new) = ("web-1", "www-1");
    let meant = [
        (1, old, ""),
        (2, old, ""),
        (3, old, ""),
        (4, new, ""),
        (5, new, ""),
        (6, new, ""),
    ];
    assert_eq!(of_it, meant);
    let fleet = fleet.restart().await;
    let channel = fleet.channel(&renewed.certificate_der, &host.joiner).await;
    host.channel = channel;
    host.session().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_name_of_a_host_is_free_and_whoever_takes_it_is_another_one() {
    let fleet = Fleet::start().await;
    let owner = fleet.join(Role::Owner, "root").await;
    let first = fleet.join(Role::Host, "web-1").await;
    rename(&owner, "web-1", "www-1").await;
    let second = fleet.join(Role::Host, "web-1").await;

    let (_one, _other) = (first.session().await, second.session().await);
    fleet.renew(&first, now_secs()).await.unwrap();
    fleet.renew(&second, now_secs()).await.unwrap();
    for name in ["web-1", "www-1"] {
        let name = name.to_owned();
        let shown = owner.operator().show_host(ShowHostRequest { name }).await;
        assert!(shown.unwrap().into_inner().host.unwrap().connected);
    }
    let back = RenameHostRequest {
        name: "www-1".to_owned(),
        new_name: "web-1".to_owned(),
        ..RenameHostRequest::default()
    };
    let taken = owner.operator().rename_host(back).await.unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists, "{taken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_gets_another_label_has_its_other_policy_in_the_same_session() {
    let fleet = Fleet::start().await;
    let owner = fleet.join(Role::Owner, "root").await;
    fleet.join(Role::User, "alice").await;
    let host = fleet
        .join_labelled(Role::Host, "web-1", &[("env", "prod")])
        .await;
    let text = "NAME ssh\nHOSTS env=stage\nSOURCE ANY\nREQUIRE_USERNAME alice\nOPEN_PORTS tcp/22\n";
    owner.apply(0, text).await.unwrap();
    let mut session = host.session().await;
    assert!(!policy(&mut session).await.text.contains("alice"));

    let request = SetHostRequest {
        name: "web-1".to_owned(),
        set_labels: [("env".to_owned(), "stage".to_owned())].into(),
        ..SetHostRequest::default()
    };
    let answer = owner
        .operator()
        .set_host(request)
        .await
        .unwrap()
        .into_inner();

    assert_eq!(answer.hosts[0].added, ["ssh"]);
    assert!(policy(&mut session).await.text.contains("alice"));
}
