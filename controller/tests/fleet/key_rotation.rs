//! Keys of members follow others, with a real controller and the library that members use.

use fleet::Role;
use fleet::wire::{
    RotateMemberRequest, ShowMemberRequest, ShowMemberResponse, SyncRequest, SyncResponse,
};
use member::{JoinOptions, Membership, Rotated, RotationStep, join};
use tempfile::TempDir;
use tonic::Code;

use crate::support::{Fleet, Member, policy};

const POLICY: &str = "NAME ssh\nSOURCE ANY\nREQUIRE_USERNAME alice\nOPEN_PORTS tcp/22\n";

async fn joined(fleet: &Fleet, role: Role, name: &str) -> (TempDir, Membership) {
    let mut token = fleet.token(role, name, &[]).await;
    token.address = fleet.running.address().to_string();
    let dir = TempDir::new().unwrap();
    let member = join(&token, dir.path(), JoinOptions::default()).await;
    (dir, member.unwrap())
}

async fn synced(member: &Membership) -> Result<SyncResponse, tonic::Status> {
    let channel = member.channel().await.unwrap();
    let mut directory = fleet::wire::directory_client::DirectoryClient::new(channel);
    let answer = directory.sync(SyncRequest {}).await;
    answer.map(tonic::Response::into_inner)
}

async fn shown(by: &Member, role: Role, name: &str) -> ShowMemberResponse {
    let question = ShowMemberRequest {
        role: fleet::wire::Role::from(role).into(),
        name: name.to_owned(),
    };
    let answer = by.operator().show_member(question).await;
    answer.unwrap().into_inner()
}

/// Names of its keys, each with the one that it follows.
async fn keys(by: &Member, role: Role, name: &str) -> Vec<(String, String)> {
    let shown = shown(by, role, name).await;
    let keys = shown.member.unwrap().keys.into_iter();
    keys.map(|key| (key.name, key.follows)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_keys_follow_one_another_at_a_controller_that_restarts_between_any_two_steps() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let host = fleet.join(Role::Host, "web-1").await;
    let (dir, mut alice) = joined(&fleet, Role::User, "alice").await;
    operator.apply(0, POLICY).await.unwrap();
    let mut session = host.session().await;
    let before = policy(&mut session).await;
    host.acknowledge(&before, &[]).await;
    let public = |member: &Membership| member.exchange_public().unwrap().to_string();
    let first = public(&alice);

    assert_eq!(alice.rotate_step().await.unwrap(), RotationStep::Made);
    let waits = RotationStep::WaitsFor(vec!["web-1".to_owned()]);
    assert_eq!(alice.rotate_step().await.unwrap(), waits);
    let both = policy(&mut session).await;
    assert!(both.text.contains(&first));
    assert_eq!(both.text.matches("USER_PUBLIC_KEY").count(), 2);
    assert_eq!(
        keys(&operator, Role::User, "alice").await,
        [
            ("default".to_owned(), String::new()),
            ("default (next)".to_owned(), "default".to_owned())
        ]
    );
    drop(session);

    // Where it listens is another port each time, which a profile would not have to learn.
    let fleet = fleet.restart().await;
    let moved = |dir: &std::path::Path, address: &str| {
        let path = dir.join("membership.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let mut file: serde_json::Value = serde_json::from_str(&text).unwrap();
        file["address"] = address.into();
        std::fs::write(&path, file.to_string()).unwrap();
        Membership::load(dir).unwrap()
    };
    let address = fleet.running.address().to_string();
    let mut alice = moved(dir.path(), &address);
    let (host, operator) = (host.again(&fleet).await, operator.again(&fleet).await);
    assert_eq!(alice.rotate_step().await.unwrap(), waits);
    host.acknowledge(&both, &[]).await;
    assert_eq!(alice.rotate_step().await.unwrap(), RotationStep::Switched);
    assert!(both.text.contains(&public(&alice)) && public(&alice) != first);

    let fleet = fleet.restart().await;
    let mut alice = moved(dir.path(), &fleet.running.address().to_string());
    let operator = operator.again(&fleet).await;
    let ended = RotationStep::Ended(Rotated::default());
    assert_eq!(alice.rotate_step().await.unwrap(), ended);
    assert_eq!(
        keys(&operator, Role::User, "alice").await,
        [("default".to_owned(), String::new())]
    );
    synced(&alice).await.unwrap();
    let again = Membership::load(dir.path()).unwrap();
    assert_eq!(public(&again), public(&alice));
    again.renew().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_asked_for_new_keys_hears_it_at_each_sync_until_she_has_them() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let (_alice, mut alice) = joined(&fleet, Role::User, "alice").await;
    let (_bob, bob) = joined(&fleet, Role::User, "bob").await;
    let ask = |name: &str| RotateMemberRequest {
        role: fleet::wire::Role::User.into(),
        name: name.to_owned(),
        key_name: String::new(),
        reason: "a year old".to_owned(),
    };
    let asked = operator.operator().rotate_member(ask("alice")).await;
    let member = asked.unwrap().into_inner().member.unwrap();
    assert!(member.keys[0].rotation_asked_ms > 0);
    let unknown = operator.operator().rotate_member(ask("alise")).await;
    let unknown = unknown.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    assert!(unknown.message().contains("alice"), "{unknown:?}");

    assert!(synced(&alice).await.unwrap().rotation_asked_ms > 0);
    assert_eq!(synced(&bob).await.unwrap().rotation_asked_ms, 0);
    while !matches!(alice.rotate_step().await.unwrap(), RotationStep::Ended(_)) {}
    assert_eq!(synced(&alice).await.unwrap().rotation_asked_ms, 0);

    // Those who only look, and users, ask nobody.
    let auditor = fleet.join(Role::Auditor, "eve").await;
    let refused = auditor.operator().rotate_member(ask("bob")).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_keys_follow_one_another_without_any_host() {
    let fleet = Fleet::start().await;
    let root = fleet.join(Role::Owner, "root").await;
    let (_dir, mut mbr) = joined(&fleet, Role::Operator, "mbr").await;
    let before = shown(&root, Role::Operator, "mbr").await.member.unwrap();
    while !matches!(mbr.rotate_step().await.unwrap(), RotationStep::Ended(_)) {}
    let after = shown(&root, Role::Operator, "mbr").await.member.unwrap();
    assert_eq!(after.keys.len(), 1);
    assert_ne!(after.keys[0].fingerprint, before.keys[0].fingerprint);
    mbr.channel().await.unwrap();

    // Who has other keys is still known by the token by which it came.
    let Fleet { dir, running, .. } = fleet;
    running.stop().await;
    let data = dir.path().join("data");
    let wrong = || {
        let findings = controller::check(&data, &mut |_, _| {}).unwrap();
        let wrong = findings.into_iter().filter(|finding| !finding.is_sound);
        wrong.map(|finding| finding.what).collect::<Vec<_>>()
    };
    assert_eq!(wrong(), [""; 0]);
    let database = rusqlite::Connection::open(data.join("controller.db")).unwrap();
    let edit = "UPDATE members SET role = 'auditor' WHERE name = 'mbr'";
    assert_eq!(database.execute(edit, []).unwrap(), 1);
    drop(database);
    assert!(wrong().contains(&"rows"));
}
