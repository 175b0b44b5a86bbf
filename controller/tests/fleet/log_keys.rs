//! The key that signs the log is replaced: who follows, who cannot, and what is done to the keys.

use fleet::Role;
use fleet::audit::{Checkpoint, KeyChain};
use fleet::wire::ReadLogRequest;
use rusqlite::Connection;

use crate::proof::{journal, log, opened, openssl_agrees, push, stopped, verify};
use crate::support::Fleet;

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_the_log_is_rotated_beside_a_running_controller_and_without_and_all_follow() {
    let fleet = Fleet::start().await;
    let host = fleet.join(Role::Host, "web-1").await;
    let auditor = fleet.join(Role::Auditor, "otto").await;
    let (before, verdict, kept) = verify(&auditor, "").await;
    assert_eq!(verdict.first(), None);
    let data = fleet.dir.path().join("data");

    let first = controller::rotate_audit_key(&data).await.unwrap();
    push(&host, &journal("alice")).await;
    let (begin, verdict, _) = verify(&auditor, &kept).await;
    assert_eq!(verdict.first(), None);
    assert_eq!(
        (&first.former_key, &first.audit_key),
        (&before.audit_key, &begin.audit_key)
    );
    assert_eq!(verdict.proven.unwrap().size, begin.records);
    for key in [&first.former_key, &first.audit_key] {
        openssl_agrees(key, &begin.successions[0]);
    }
    let Fleet {
        dir,
        running,
        first: owner,
    } = fleet;
    running.stop().await;
    let second = controller::rotate_audit_key(&data).await.unwrap();
    let (is_sound, detail) = log(&data);
    assert!(is_sound, "{detail}");
    let findings = controller::check(&data, &mut |_, _| {}).unwrap();
    let key = findings
        .iter()
        .find(|finding| finding.what == "audit key")
        .unwrap();
    assert!(
        key.is_sound && key.detail.contains("the last of 3"),
        "{key:?}"
    );
    let fleet = Fleet::start_again(dir, owner).await;
    let [host, auditor] = [host.again(&fleet).await, auditor.again(&fleet).await];

    // The auditor, and a host that was away over both.
    let (begin, verdict, _) = verify(&auditor, &kept).await;
    assert_eq!((verdict.first(), begin.successions.len()), (None, 2));
    assert_eq!(begin.audit_key, second.audit_key);
    let opened = opened(&host, &kept).await;
    assert_eq!(opened.audit_key, second.audit_key);
    let restated = Checkpoint::open(&opened.audit_restated, &second.audit_key.parse().unwrap());
    assert_eq!(restated.unwrap().size, before.records);
    let chain = opened.audit_successions.iter().map(String::as_str);
    let chain = KeyChain::of(second.audit_key.parse().unwrap(), chain).unwrap();
    assert!(chain.has(&before.audit_key.parse().unwrap()));
    fleet.running.stop().await;
    let database = Connection::open(data.join("controller.db")).unwrap();
    let count = |sql: &str| {
        database
            .query_row(sql, [], |row| row.get::<_, u32>(0))
            .unwrap()
    };
    assert_eq!(count("SELECT count(*) FROM events WHERE kind = 30"), 0);
    let secrets = "SELECT count(*) FROM audit_keys WHERE sealed_seed <> x''";
    assert_eq!(count(secrets), 1, "those of before are gone");
}

/// What programs of before say that they can do.
const BEFORE: &str = "postern-contract/2 (audit-filters event-records session-pass trust-set)";

#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_before_is_not_alarmed_and_an_auditor_of_before_verifies_by_the_new_key() {
    let fleet = Fleet::start().await;
    let host = fleet.join(Role::Host, "web-1").await;
    let auditor = fleet.join(Role::Auditor, "otto").await;
    let [host, auditor] = [
        host.again_as(&fleet, BEFORE).await,
        auditor.again_as(&fleet, BEFORE).await,
    ];
    let (_, _, kept) = verify(&auditor, "").await;
    let before = opened(&host, &kept).await;
    assert!(!before.audit_key.is_empty() && !before.audit_restated.is_empty());
    let data = fleet.dir.path().join("data");
    let rotated = controller::rotate_audit_key(&data).await.unwrap();
    push(&host, &journal("alice")).await;

    let (begin, _, newest) = verify(&auditor, "").await;
    let told = opened(&host, &kept).await;
    let new_here = opened(&host, "").await;

    // It keeps what it has, and a controller that makes no checkpoints is nothing that it says.
    let said = [
        &told.audit_key,
        &told.audit_checkpoint,
        &told.audit_restated,
    ];
    assert!(said.iter().all(|text| text.is_empty()), "{told:?}");
    assert!(told.audit_successions.is_empty());
    assert_eq!(new_here.audit_key, rotated.audit_key);
    // All that an auditor of before is sent, she opens with the one key that was said to her.
    let key = rotated.audit_key.parse().unwrap();
    assert_eq!(begin.audit_key, rotated.audit_key);
    assert_eq!(Checkpoint::open(&newest, &key).unwrap().size, begin.records);
    let mut parts = auditor
        .audit()
        .read_log(ReadLogRequest::default())
        .await
        .unwrap()
        .into_inner();
    let mut notes = Vec::new();
    while let Some(part) = parts.message().await.unwrap() {
        notes.extend(part.checkpoints);
    }
    assert!(
        notes
            .iter()
            .all(|note| Checkpoint::open(note, &key).is_ok())
    );
    // Upgraded, the host follows from what it kept.
    let host = host.again(&fleet).await;
    let told = opened(&host, &kept).await;
    assert_eq!(
        (told.audit_key, told.audit_successions.len()),
        (rotated.audit_key, 1)
    );
    fleet.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_to_the_keys_of_a_log_is_found() {
    let (mut stopped, _, _) = stopped().await;
    let data = stopped.dir.path().join("data");
    for _ in 0..2 {
        controller::rotate_audit_key(&data).await.unwrap();
    }
    let (is_sound, detail) = log(&data);
    assert!(is_sound, "{detail}");

    for (sql, why) in [
        (
            "UPDATE audit_keys SET succession = NULL WHERE id = 3",
            "do not lead to the key",
        ),
        (
            "UPDATE audit_keys SET succession = 'x' WHERE id = 2",
            "succession 1",
        ),
        (
            "UPDATE audit_keys SET succession = (SELECT succession FROM audit_keys WHERE id = 2)
             WHERE id = 3",
            "succession 2",
        ),
    ] {
        let data = stopped.edited(sql);
        let findings = controller::check(&data, &mut |_, _| {}).unwrap();
        let key = findings
            .iter()
            .find(|finding| finding.what == "audit key")
            .unwrap();
        assert!(!key.is_sound && key.detail.contains(why), "{sql}: {key:?}");
    }
    // The secret cannot be put back: what it signs is not what the database says.
    let data = stopped.edited(
        "UPDATE audit_keys SET public = (SELECT public FROM audit_keys WHERE id = 1) WHERE id = 3",
    );
    let findings = controller::check(&data, &mut |_, _| {}).unwrap();
    let key = findings
        .iter()
        .find(|finding| finding.what == "audit key")
        .unwrap();
    assert!(!key.is_sound, "{key:?}");
}
