//! Locking, removing and replacing members while they are there.

use std::time::{Duration, Instant};

use fleet::Role;
use fleet::wire::audit_client::AuditClient;
use fleet::wire::{
    CreateTokenRequest, ListEventsRequest, ListHostsRequest, ListMembersRequest, LockMemberRequest,
    MemberProgress, RemoveMemberRequest, SyncRequest, UnlockMemberRequest,
};
use tonic::{Code, Streaming};

use crate::support::{Fleet, Joiner, Member, now_secs, patiently, policy};

const POLICY: &str = "\
NAME ssh\nSOURCE ANY\nREQUIRE_USERNAME alice\nOPEN_PORTS tcp/22\n
NAME db\nHOSTS name=db-1\nSOURCE ANY\nREQUIRE_USERNAME bob\nOPEN_PORTS tcp/5432\n";

fn lock(role: Role, name: &str, wait_secs: u32) -> LockMemberRequest {
    LockMemberRequest {
        role: fleet::wire::Role::from(role).into(),
        name: name.to_owned(),
        key_name: String::new(),
        reason: "laptop lost".to_owned(),
        wait_secs,
    }
}

async fn locked(by: &Member, request: LockMemberRequest) -> Streaming<MemberProgress> {
    let answer = by.operator().lock_member(request).await;
    answer.unwrap().into_inner()
}

async fn next(stream: &mut Streaming<MemberProgress>) -> Option<MemberProgress> {
    patiently(stream.message()).await.unwrap()
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a lock takes is what is asked"
)]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_user_is_refused_everything_and_each_host_is_told_of_as_it_acknowledges() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let alice = fleet.join(Role::User, "alice").await;
    let hosts = [
        fleet.join(Role::Host, "web-1").await,
        fleet.join(Role::Host, "web-2").await,
    ];
    fleet.join(Role::Host, "web-3").await;
    operator.apply(0, POLICY).await.unwrap();
    let mut sessions = Vec::new();
    for host in &hosts {
        let mut session = host.session().await;
        let snapshot = policy(&mut session).await;
        assert!(snapshot.text.contains("alice"));
        host.acknowledge(&snapshot, &[]).await;
        sessions.push(session);
    }
    alice.directory().sync(SyncRequest {}).await.unwrap();

    let began = now();
    let mut progress = locked(&operator, lock(Role::User, "alice", 2)).await;
    let first = next(&mut progress).await.unwrap();
    let states: Vec<_> = first
        .hosts
        .iter()
        .map(|host| (host.host.as_str(), host.acknowledged, host.connected))
        .collect();
    assert_eq!(
        states,
        [
            ("web-1", false, true),
            ("web-2", false, true),
            ("web-3", false, false)
        ]
    );
    assert!(first.member.unwrap().locked);
    assert!(first.warnings.iter().any(|it| it.contains("web-3 is away")));
    let refused = alice.directory().sync(SyncRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let renewal = fleet.renew(&alice, now_secs()).await.unwrap_err();
    assert!(renewal.message().contains("locked"), "{renewal:?}");
    for (host, session) in hosts.iter().zip(&mut sessions) {
        let snapshot = policy(session).await;
        assert!(!snapshot.text.contains("alice"), "{}", snapshot.text);
        host.acknowledge(&snapshot, &[]).await;
        let heard = next(&mut progress).await.unwrap().hosts;
        assert!(heard.len() == 1 && heard[0].acknowledged, "{heard:?}");
        assert_eq!(heard[0].host, host.answer.name);
    }
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "two of three have heard"
    );
    assert_eq!(
        next(&mut progress).await,
        None,
        "the third is not waited for any longer"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_locked_operator_has_begun_ends_at_once_and_it_comes_back_when_unlocked() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Owner, "root").await;
    let thief = fleet.join(Role::Operator, "mbr").await;
    fleet.join(Role::Host, "web-1").await;
    operator.apply(0, POLICY).await.unwrap();
    fleet.join(Role::User, "alice").await;
    // A stream that would go on for a minute: the host is away.
    let mut stream = locked(&thief, lock(Role::User, "alice", 60)).await;
    next(&mut stream).await.unwrap();

    locked(&operator, lock(Role::Operator, "mbr", 1)).await;

    let ended = patiently(stream.message()).await.unwrap_err();
    assert_eq!(ended.code(), Code::PermissionDenied, "{ended:?}");
    let refused = thief.operator().list_hosts(ListHostsRequest {}).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    let mut audit = AuditClient::new(thief.channel.clone());
    let asked = audit.list_events(ListEventsRequest::default()).await;
    assert_eq!(asked.unwrap_err().code(), Code::PermissionDenied);
    let unlock = UnlockMemberRequest {
        role: fleet::wire::Role::Operator.into(),
        name: "mbr".to_owned(),
        ..UnlockMemberRequest::default()
    };
    operator.operator().unlock_member(unlock).await.unwrap();
    let back = thief.operator().list_hosts(ListHostsRequest {}).await;
    assert_eq!(back.unwrap().into_inner().hosts.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_users_new_laptop_works_and_the_old_one_does_not_from_the_moment_of_redeeming() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let old = fleet.join(Role::User, "alice").await;
    let request = CreateTokenRequest {
        role: fleet::wire::Role::User.into(),
        name: "alice".to_owned(),
        replace: true,
        ..CreateTokenRequest::default()
    };
    let answer = operator.operator().create_token(request).await.unwrap();
    let token: fleet::Token = answer.into_inner().token.parse().unwrap();
    old.directory().sync(SyncRequest {}).await.unwrap();

    let joiner = Joiner::new();
    let answer = fleet.redeem(&token, &joiner).await.unwrap();
    let channel = fleet.channel(&answer.certificate_der, &joiner).await;
    let new = Member {
        joiner,
        answer,
        channel,
    };

    new.directory().sync(SyncRequest {}).await.unwrap();
    fleet.renew(&new, now_secs()).await.unwrap();
    let refused = old.directory().sync(SyncRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let renewal = fleet.renew(&old, now_secs()).await.unwrap_err();
    assert_eq!(renewal.code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_keys_of_a_user_each_renews_by_itself_and_a_removed_one_never() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let laptop = fleet.join(Role::User, "alice").await;
    let request = CreateTokenRequest {
        role: fleet::wire::Role::User.into(),
        name: "alice".to_owned(),
        key_name: "phone".to_owned(),
        ..CreateTokenRequest::default()
    };
    let answer = operator.operator().create_token(request).await.unwrap();
    let token: fleet::Token = answer.into_inner().token.parse().unwrap();
    let joiner = Joiner::new();
    let answer = fleet.redeem(&token, &joiner).await.unwrap();
    assert_eq!(answer.key_name, "phone");
    let channel = fleet.channel(&answer.certificate_der, &joiner).await;
    let phone = Member {
        joiner,
        answer,
        channel,
    };

    for member in [&laptop, &phone] {
        fleet.renew(member, now_secs()).await.unwrap();
        member.directory().sync(SyncRequest {}).await.unwrap();
    }
    let lock = LockMemberRequest {
        key_name: "phone".to_owned(),
        ..lock(Role::User, "alice", 1)
    };
    operator.operator().lock_member(lock).await.unwrap();
    let sync = phone.directory().sync(SyncRequest {}).await.unwrap_err();
    let renewal = fleet.renew(&phone, now_secs()).await.unwrap_err();
    for refused in [sync, renewal] {
        let said = refused.message();
        assert!(
            said.contains("the key phone of user alice is locked"),
            "{said}"
        );
    }
    laptop.directory().sync(SyncRequest {}).await.unwrap();
    let remove = RemoveMemberRequest {
        role: fleet::wire::Role::User.into(),
        name: "alice".to_owned(),
        key_name: "phone".to_owned(),
        ..RemoveMemberRequest::default()
    };
    operator.operator().remove_member(remove).await.unwrap();

    fleet.renew(&laptop, now_secs()).await.unwrap();
    laptop.directory().sync(SyncRequest {}).await.unwrap();
    assert!(phone.directory().sync(SyncRequest {}).await.is_err());
    assert!(fleet.renew(&phone, now_secs()).await.is_err());
    let request = ListMembersRequest {
        role: fleet::wire::Role::User.into(),
    };
    let members = operator.operator().list_members(request).await.unwrap();
    let members = members.into_inner().members;
    assert_eq!((members.len(), members[0].keys.len()), (1, 1));
}
