//! The file that holds the authorities is the one that the database knows, or nothing is served.

use std::net::SocketAddr;
use std::path::Path;

use controller::{
    AuthorityDoubt, NewArchive, OldArchive, RestoreTo, RotateError, RotateStep, Running,
    StartError, check, rotate_ca,
};
use fleet::Role;
use program::Failure as _;

use crate::support::Fleet;

const FILES: [&str; 3] = ["authority.json", "ca.pem", "ca-key.pem"];

/// A controller that was stopped, in its directory.
async fn stopped() -> tempfile::TempDir {
    let fleet = Fleet::start().await;
    fleet.join(Role::Host, "web-1").await;
    let Fleet { dir, running, .. } = fleet;
    running.stop().await;
    dir
}

fn copy_all(from: &Path, to: &Path, names: &[&str]) {
    std::fs::create_dir_all(to).unwrap();
    for name in names {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

async fn start(data: &Path) -> Result<Running, StartError> {
    Running::start(data, Some(SocketAddr::from(([127, 0, 0, 1], 0)))).await
}

/// What is wrong by `check`, and by the program that should serve.
async fn refused(data: &Path) -> (Vec<String>, Option<AuthorityDoubt>) {
    let findings = check(data, &mut |_, _| {}).unwrap();
    let wrong = findings.into_iter().filter(|finding| !finding.is_sound);
    let wrong = wrong.map(|finding| format!("{}: {}", finding.what, finding.detail));
    let doubt = match start(data).await {
        Ok(running) => {
            running.stop().await;
            None
        }
        Err(StartError::AuthorityFile { path, doubt }) => {
            assert_eq!(path, data.join("authority.json"));
            let hint = StartError::AuthorityFile { path, doubt };
            assert!(hint.hint().unwrap().contains("put back the authority.json"));
            Some(doubt)
        }
        Err(other) => panic!("{other:?}"),
    };
    (wrong.collect(), doubt)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_file_that_is_older_foreign_or_gone_is_refused_and_said_by_check() {
    let dir = stopped().await;
    let other = stopped().await;
    let (data, kept) = (dir.path().join("data"), dir.path().join("kept"));
    let newest = dir.path().join("newest");
    copy_all(&data, &kept, &FILES);
    rotate_ca(&data, RotateStep::Compromised).await.unwrap();
    copy_all(&data, &newest, &FILES);
    assert_eq!(refused(&data).await, (Vec::new(), None));

    for (from, doubt) in [
        (kept.as_path(), AuthorityDoubt::Older),
        (&other.path().join("data"), AuthorityDoubt::Foreign),
    ] {
        copy_all(from, &data, &FILES);
        let (wrong, found) = refused(&data).await;
        assert_eq!(found, Some(doubt));
        assert!(wrong[0].starts_with("authority file: "), "{wrong:?}");
    }
    std::fs::remove_file(data.join("authority.json")).unwrap();
    let (wrong, found) = refused(&data).await;
    assert_eq!(found, Some(AuthorityDoubt::Missing));
    assert_eq!(wrong.len(), 1, "{wrong:?}");

    copy_all(&newest, &data, &FILES);
    assert_eq!(refused(&data).await, (Vec::new(), None));
    // The way out where no file is left.
    std::fs::remove_file(data.join("authority.json")).unwrap();
    rotate_ca(&data, RotateStep::Compromised).await.unwrap();
    assert_eq!(refused(&data).await, (Vec::new(), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_put_back_is_served_with_the_newer_authorities_and_keys_of_others_are_found()
 {
    let dir = stopped().await;
    let data = dir.path().join("data");
    let (archive, again) = (dir.path().join("before.tar"), dir.path().join("again"));
    controller::backup(&data, NewArchive::create(&archive).unwrap()).unwrap();
    rotate_ca(&data, RotateStep::Begin).await.unwrap();
    controller::restore(
        &OldArchive::open(&archive).unwrap(),
        &again,
        (&RestoreTo::AsItWas, false),
    )
    .unwrap();
    copy_all(&data, &again, &FILES);
    // It was the directory of the last run.
    assert_eq!(refused(&again).await, (Vec::new(), None));
    assert_eq!(refused(&again).await, (Vec::new(), None));

    // The key of the controller's certificate is another's, or gone: both are made anew.
    let key = again.join("server-key.pem");
    std::fs::copy(again.join("ca-key.pem"), &key).unwrap();
    for _ in 0..2 {
        let (wrong, found) = refused(&again).await;
        assert!(wrong[0].starts_with("server certificate: "), "{wrong:?}");
        assert_eq!((wrong.len(), found), (1, None));
        assert_eq!(refused(&again).await, (Vec::new(), None));
        std::fs::remove_file(&key).unwrap();
    }
    let _ = refused(&again).await;
    // A key in the file that is not that of its certificate.
    let path = again.join("authority.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut kept: serde_json::Value = serde_json::from_str(&text).unwrap();
    kept["current"]["key"] = kept["next"]["key"].clone();
    std::fs::write(&path, kept.to_string()).unwrap();
    let findings = check(&again, &mut |_, _| {}).unwrap();
    assert!(
        findings
            .iter()
            .any(|it| it.what == "authority" && !it.is_sound)
    );
    let refused = start(&again).await;
    assert!(
        matches!(refused, Err(StartError::AuthorityKey)),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_authority_is_made_by_a_clock_far_from_what_was_seen_last_and_one_that_is_begins_no_later()
 {
    let dir = stopped().await;
    let data = dir.path().join("data");
    // As if the clock were 40 days ahead of all that the controller knows.
    let long_ago = "UPDATE events SET stored_at_ms = stored_at_ms - 40 * 86400000;
                    UPDATE member_keys SET renewed_at_ms = renewed_at_ms - 40 * 86400000;";
    let database = rusqlite::Connection::open(data.join("controller.db")).unwrap();
    database.execute_batch(long_ago).unwrap();
    drop(database);
    let before = std::fs::read(data.join("authority.json")).unwrap();

    let refused = rotate_ca(&data, RotateStep::Begin).await.unwrap_err();
    assert!(matches!(refused, RotateError::Clock { .. }), "{refused:?}");
    assert!(refused.hint().unwrap().contains("--force"));
    assert_eq!(std::fs::read(data.join("authority.json")).unwrap(), before);

    rotate_ca(&data, RotateStep::BeginAnyway).await.unwrap();
    rotate_ca(&data, RotateStep::Issue).await.unwrap();
    let made = std::fs::read(data.join("ca.pem")).unwrap();
    let (_, made) = x509_parser::pem::parse_x509_pem(&made).unwrap();
    let made = made.parse_x509().unwrap().validity().not_before.timestamp();
    let day = 24 * 3600;
    let now = crate::support::now_secs().cast_signed();
    assert!(made < now - 39 * day, "{made}");
}
