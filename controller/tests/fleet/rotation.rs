//! One authority follows another in a fleet that works, with the library that members use, with programs
//! of before, and with openssl.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use controller::{
    NewArchive, OldArchive, RestoreTo, RotateError, RotateStep, ca_status, rotate_ca,
};
use fleet::Role;
use fleet::wire::ListEventsRequest;
use member::{ConnectError, JoinOptions, Membership, join};
use tempfile::TempDir;

use crate::support::{Fleet, Joiner, now_secs, patiently};

/// A member that is joined as its programs do it, in a directory of its own.
async fn joined(fleet: &Fleet, name: &str) -> (TempDir, Membership) {
    let token = fleet.token(Role::Host, name, &[]).await;
    let dir = TempDir::new().unwrap();
    let member = join(&token, dir.path(), JoinOptions::default()).await;
    (dir, member.unwrap())
}

/// Renews until it is as expected: the controller looks at its directory once in a while.
async fn renewed_until(member: &Membership, expected: impl Fn(&Membership) -> bool) {
    patiently(async {
        while !expected(member) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            member.renew().await.unwrap();
        }
    })
    .await;
}

/// Whether openssl, which believes only the authority in this file, completes a handshake.
fn openssl_connects(address: SocketAddr, authority: &Path) -> bool {
    let status = Command::new("openssl")
        .args([
            "s_client",
            "-verify_return_error",
            "-verify",
            "9",
            "-x509_strict",
            "-tls1_3",
        ])
        .args([
            "-verify_hostname",
            fleet::SERVER_NAME,
            "-alpn",
            "h2",
            "-connect",
        ])
        .arg(address.to_string())
        .arg("-CAfile")
        .arg(authority)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.unwrap().success()
}

fn names(waiting: &[controller::Waiting]) -> Vec<&str> {
    waiting.iter().map(|it| it.name.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_strands_neither_who_follows_nor_who_was_away_nor_a_token_of_before() {
    let fleet = Fleet::start().await;
    let data = fleet.dir.path().join("data");
    let first = fleet.dir.path().join("first.pem");
    std::fs::copy(data.join("ca.pem"), &first).unwrap();
    let (_here, here) = joined(&fleet, "here").await;
    let (_away, away) = joined(&fleet, "away").await;
    let old = fleet.join(Role::Host, "old-program").await;
    let token = fleet.token(Role::Host, "late", &[]).await;

    rotate_ca(&data, RotateStep::Begin).await.unwrap();
    renewed_until(&here, |it| it.authorities().len() == 2).await;
    let status = ca_status(&data).await.unwrap();
    assert_eq!(status.stage, "announced");
    assert_eq!(names(&status.waits_for), ["away", "old-program"]);
    let again = rotate_ca(&data, RotateStep::Begin).await;
    assert!(matches!(again, Err(RotateError::NotNow(_))), "{again:?}");

    rotate_ca(&data, RotateStep::Issue).await.unwrap();
    let before = here.ca_der().to_vec();
    renewed_until(&here, |it| it.authorities().first() != Some(&before)).await;
    here.channel().await.unwrap();
    assert!(openssl_connects(fleet.running.address(), &first), "issuing");
    assert!(openssl_connects(
        fleet.running.address(),
        &data.join("ca.pem")
    ));
    // One of before is served by the authority that it knows.
    let renewed = fleet.renew(&old, now_secs()).await.unwrap();
    assert_eq!(renewed.ca_der, before);
    let late = TempDir::new().unwrap();
    let late = join(&token, late.path(), JoinOptions::default())
        .await
        .unwrap();
    assert_eq!(late.authorities(), here.authorities());

    let refused = rotate_ca(&data, RotateStep::Finish { force: false }).await;
    let Err(RotateError::Stranded(stranded)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(names(&stranded), ["old-program"]);
    let finished = rotate_ca(&data, RotateStep::Finish { force: true })
        .await
        .unwrap();
    assert_eq!(names(&finished.must_join), ["old-program"]);
    let fleet = fleet.restart().await;
    assert!(
        openssl_connects(fleet.running.address(), &first),
        "finished"
    );

    let address = fleet.running.address().to_string();
    away.renew_at(&address).await.unwrap();
    assert_eq!(away.authorities(), here.authorities());
    away.channel_to(&address).await.unwrap();
    let status = ca_status(&data).await.unwrap();
    assert_eq!(status.stage, "none");
    assert_eq!(names(&status.waits_for), ["old-program"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_before_a_rotation_is_a_controller_for_who_has_followed_it() {
    let fleet = Fleet::start().await;
    let data = fleet.dir.path().join("data");
    let archive = fleet.dir.path().join("before.tar");
    let (_dir, member) = joined(&fleet, "web-1").await;
    controller::backup(&data, NewArchive::create(&archive).unwrap()).unwrap();
    for step in [
        RotateStep::Begin,
        RotateStep::Issue,
        RotateStep::Finish { force: true },
    ] {
        rotate_ca(&data, step).await.unwrap();
    }
    let first = member.ca_der().to_vec();
    renewed_until(&member, |it| it.authorities().first() != Some(&first)).await;
    let Fleet { dir, running, .. } = fleet;
    running.stop().await;

    let again = dir.path().join("again");
    let archive = OldArchive::open(&archive).unwrap();
    controller::restore(&archive, &again, (&RestoreTo::AsItWas, false)).unwrap();
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let running = controller::Running::start(&again, Some(listen))
        .await
        .unwrap();
    let address = running.address().to_string();

    member.renew_at(&address).await.unwrap();
    assert_eq!(member.authorities(), [first]);
    member.channel_to(&address).await.unwrap();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_compromise_who_was_told_before_goes_on_and_the_others_are_named() {
    let fleet = Fleet::start().await;
    let data = fleet.dir.path().join("data");
    let (_told, told) = joined(&fleet, "told").await;
    let (_away, away) = joined(&fleet, "away").await;
    rotate_ca(&data, RotateStep::Begin).await.unwrap();
    renewed_until(&told, |it| it.authorities().len() == 2).await;

    let rotated = rotate_ca(&data, RotateStep::Compromised).await.unwrap();

    assert_eq!(names(&rotated.must_join), ["away"]);
    let fleet = fleet.restart().await;
    let address = fleet.running.address().to_string();
    told.renew_at(&address).await.unwrap();
    assert_eq!(told.authorities().len(), 1);
    told.channel_to(&address).await.unwrap();
    let refused = away.renew_at(&address).await;
    assert!(
        matches!(refused, Err(ConnectError::NotTheController { .. })),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_ends_when_the_authority_of_its_certificate_is_disowned_and_not_when_one_follows_it()
 {
    let fleet = Fleet::start().await;
    let data = fleet.dir.path().join("data");
    let host = fleet.join(Role::Host, "web-1").await;
    let auditor = fleet.join(Role::Auditor, "eve").await;
    let (_dir, member) = joined(&fleet, "web-2").await;
    let mut session = host.session().await;
    let follow = ListEventsRequest {
        follow: true,
        ..ListEventsRequest::default()
    };
    let mut events = auditor
        .audit()
        .list_events(follow)
        .await
        .unwrap()
        .into_inner();

    // Nobody lacks a key for that, so nothing ends.
    for step in [
        RotateStep::Begin,
        RotateStep::Issue,
        RotateStep::Finish { force: true },
    ] {
        rotate_ca(&data, step).await.unwrap();
    }
    let first = member.ca_der().to_vec();
    renewed_until(&member, |it| it.authorities().first() != Some(&first)).await;
    let question = ListEventsRequest::default;
    auditor.audit().list_events(question()).await.unwrap();

    rotate_ca(&data, RotateStep::Compromised).await.unwrap();

    let unknown = |status: &tonic::Status| {
        let said = status.metadata().get(fleet::MEMBERSHIP);
        said.is_some_and(|said| said == fleet::AUTHORITY_UNKNOWN)
    };
    let ended = patiently(last_word(&mut session)).await;
    assert!(unknown(&ended), "{ended:?}");
    let ended = patiently(last_word(&mut events)).await;
    assert!(unknown(&ended), "{ended:?}");
    // The connection may still be there, and is good for nothing.
    let listed = auditor.audit().list_events(question()).await;
    assert!(listed.is_err());
}

/// With what a stream ends.
async fn last_word<T>(stream: &mut tonic::Streaming<T>) -> tonic::Status {
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a word"),
            Err(status) => return status,
        }
    }
}

/// Another authority, in a directory whose controller may run.
async fn rotate_whole(data: &Path) {
    for step in [
        RotateStep::Begin,
        RotateStep::Issue,
        RotateStep::Finish { force: true },
    ] {
        rotate_ca(data, step).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_missed_many_authorities_is_served_by_its_first_call_and_is_named_before_it_is_left_behind()
 {
    let fleet = Fleet::start().await;
    let data = fleet.dir.path().join("data");
    let (_dir, away) = joined(&fleet, "away").await;
    let (_gone, _never) = joined(&fleet, "gone").await;
    for _ in 0..6 {
        rotate_whole(&data).await;
    }
    let fleet = fleet.restart().await;
    let address = fleet.running.address().to_string();
    let channel = away.channel_to(&address).await.unwrap();
    let mut agent = fleet::wire::agent_client::AgentClient::new(channel);
    agent
        .session(fleet::wire::SessionRequest::default())
        .await
        .unwrap();

    let refused = rotate_ca(&data, RotateStep::Begin).await;
    let Err(RotateError::TooFar(far)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(names(&far), ["gone"]);
    assert_eq!(ca_status(&data).await.unwrap().stage, "none");
    let begun = rotate_ca(&data, RotateStep::BeginAnyway).await.unwrap();
    assert_eq!(names(&begun.must_join), ["gone"]);
    // Who is left behind is not asked about again.
    rotate_ca(&data, RotateStep::Issue).await.unwrap();
    rotate_ca(&data, RotateStep::Finish { force: true })
        .await
        .unwrap();
    rotate_ca(&data, RotateStep::Begin).await.unwrap();
    let told = ca_status(&data).await.unwrap();
    let gone = told.waits_for.iter().find(|it| it.name == "gone").unwrap();
    assert!(gone.last_seen >= gone.last_renewed);
    assert_eq!(
        gone.certificate_of.len(),
        64,
        "none of those that are known"
    );
    let away = told.waits_for.iter().find(|it| it.name == "away").unwrap();
    assert!(away.certificate_of.starts_with("gone "), "{away:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_that_are_printed_when_a_key_has_leaked_let_each_member_join_anew() {
    let fleet = Fleet::start().await;
    let data = fleet.dir.path().join("data");
    for (role, name) in [
        (Role::Host, "web-1"),
        (Role::User, "alice"),
        (Role::Operator, "olga"),
    ] {
        fleet.join(role, name).await;
    }
    let run = |words: &[&str]| {
        let program = env!("CARGO_BIN_EXE_postern-controller");
        let mut command = Command::new(program);
        let command = command
            .args(words)
            .env("POSTERN_CONTROLLER_DATA", &data)
            .stdin(Stdio::null());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        let [stdout, stderr] =
            [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
        (stdout, stderr)
    };

    let (_, said) = run(&["ca", "rotate", "--compromised"]);
    let fleet = fleet.restart().await;

    let here = said.lines().filter_map(|line| {
        let (_, command) = line.split_once("here:")?;
        command.trim().strip_prefix("postern-controller ")
    });
    let mut came = Vec::new();
    for command in here {
        let words: Vec<&str> = command.split(' ').collect();
        let (token, _) = run(&words);
        let token = token.trim().parse().unwrap();
        let answer = fleet.redeem(&token, &Joiner::new()).await.unwrap();
        came.push(answer.name);
    }
    came.sort_unstable();
    assert_eq!(came, ["alice", "olga", "web-1"], "{said}");
}
