use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;

use fleet::{EventKind, EventRecord, Role};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use super::*;
use crate::audit::Checkpoints;
use crate::data_dir::DataDir;
use crate::data_dir::DataDirError;
use crate::database::{DatabaseCopied, DatabaseCopyError, copy_by};
use crate::settings::Settings;
use crate::start::error::StartError;
use crate::store::Store;
use crate::store::fixture::{NOW_MS, apply, change, event, join};
use crate::store::model::{Claim, ClaimOutcome, Member, Origin};
use crate::store::place::PostgresSettings;
use crate::store::postgres::trial::Trial;
use crate::timestamp::Timestamp;

const FAST: &str = "fsync = off\nsynchronous_commit = off\nfull_page_writes = off";
/// Rows in one transaction: several of them for each table.
const FEW: usize = 4;
/// What tells the child of a test where it copies from and to, and when it is killed.
const CHILD: &str = "POSTERN_TEST_COPY";
/// The test that it is a part of.
const KILLED: &str =
    "a_copy_that_is_killed_anywhere_goes_on_where_it_was_and_nobody_serves_from_half_of_it";
const TEXT: &str = "SOURCE ANY\nKEY a-static-key\nOPEN_PORTS tcp/22\n";

fn place_of(dir: &Path) -> Place {
    let text = std::fs::read_to_string(dir.join("controller.toml")).unwrap();
    match Settings::parse(&text).unwrap().database {
        Some(settings) => Place::Postgres(settings),
        None => dir.join("controller.db").into(),
    }
}

fn open(dir: &Path) -> Store {
    let seal = DataDir::open(dir).unwrap().seal_key().unwrap();
    Store::open(&place_of(dir), seal).unwrap()
}

fn claim(host: &str, digest: u8) -> Claim {
    Claim {
        domain: [7; 32],
        digest: [digest; 32],
        host: host.to_owned(),
        seq: 1,
        forget_after_secs: u64::from(digest) + 1_000_000,
        dated_secs: 0,
        capped: false,
    }
}

/// A stopped controller with something in most tables.
fn made(runtime: &Runtime) -> TempDir {
    let temp = TempDir::new().unwrap();
    runtime.block_on(async {
        let made = crate::init(temp.path(), "127.0.0.1:7443", "prod");
        made.await.unwrap();
        let store = open(temp.path());
        let host = join(&store, Role::Host, "web-1").await;
        for name in ["ada", "bob", "eve"] {
            join(&store, Role::User, name).await;
        }
        let locked = store.lock(change(Role::User, "bob", None), EventKind::Banned);
        locked.await.unwrap();
        store.remove(change(Role::User, "eve", None)).await.unwrap();
        for base in 0..3 {
            apply(&store, base, TEXT).await;
        }
        for digest in 0..9 {
            store.claim(claim("web-1", digest)).await.unwrap();
        }
        let (mut chain, mut records) = ([0; 32], Vec::new());
        for seq in 1..=30 {
            let mut event = event(EventKind::Refused, &format!("refused {}\0", seq % 7));
            event.user = format!("a\0{seq}");
            event.source = "192.0.2.1".to_owned();
            let record = EventRecord::after(seq - 1, &chain, event);
            chain = record.chain.as_slice().try_into().unwrap();
            records.push(record);
        }
        let (of, found) = (
            (host.id, host.name.clone()),
            Origin::controller("ab".repeat(16)),
        );
        let pushed = store.push_events(of, "a".repeat(32), records, found, NOW_MS);
        pushed.await.unwrap();
        sign(&store).await;
        store.index_some().await.unwrap();
        store.close().await;
    });
    temp
}

async fn sign(store: &Store) {
    let now = Timestamp::from_ms(NOW_MS);
    let checkpoints = Checkpoints::load(store, "prod", now).await.unwrap();
    checkpoints.sign(store, now).await.unwrap();
}

fn copy_to(
    dir: &TempDir,
    to: Option<&PostgresSettings>,
) -> Result<DatabaseCopied, DatabaseCopyError> {
    copy_by(dir.path(), to, FEW, &mut |_| {})
}

fn unsound(dir: &TempDir) -> Vec<String> {
    let findings = crate::check(dir.path(), &mut |_, _| {}).unwrap();
    let wrong = findings.iter().filter(|it| !it.is_sound);
    wrong
        .map(|it| format!("{}: {}", it.what, it.detail))
        .collect()
}

/// What is seen of it through the store.
fn seen(runtime: &Runtime, dir: &TempDir) -> (Vec<Member>, u64, String, ClaimOutcome) {
    runtime.block_on(async {
        let store = open(dir.path());
        let members = store.members().await.unwrap();
        let newest = store.newest_record().await.unwrap();
        let text = store.policy_text(3).await.unwrap().unwrap().to_string();
        let lost = store.claim(claim("web-2", 3)).await.unwrap();
        store.close().await;
        (members, newest, text, lost)
    })
}

#[test]
fn a_database_goes_to_postgresql_and_back_and_is_what_it_was_with_what_came_meanwhile() {
    let (trial, runtime) = (Trial::start(FAST), Runtime::new().unwrap());
    let dir = made(&runtime);
    let (before, wrong) = (seen(&runtime, &dir), unsound(&dir));
    let settings = std::fs::read_to_string(dir.path().join("controller.toml")).unwrap();
    let to = trial.settings("postgres");

    let there = copy_to(&dir, Some(&to)).unwrap();

    assert!(!there.is_resumed && there.rows > 100, "{there:?}");
    assert_eq!(there.records, before.1);
    assert_eq!(place_of(dir.path()), Place::Postgres(to.clone()));
    assert_eq!(seen(&runtime, &dir), before);
    let twice = copy_to(&dir, Some(&to));
    assert!(
        matches!(twice, Err(DatabaseCopyError::There(_))),
        "{twice:?}"
    );
    // She who was removed had the last id; it is not given again.
    let last = trial.count("SELECT id FROM last_ids WHERE name = 'members'") as u64;
    let joined = runtime.block_on(async {
        let store = open(dir.path());
        let joined = join(&store, Role::User, "zoe").await;
        sign(&store).await;
        store.close().await;
        joined
    });
    assert_eq!(joined.id, last + 1);
    assert!(before.0.iter().all(|member| member.id < last));

    let refused = copy_to(&dir, None);
    assert!(
        matches!(
            refused,
            Err(DatabaseCopyError::Copy(CopyError::NotEmpty(_)))
        ),
        "{refused:?}"
    );
    std::fs::rename(
        dir.path().join("controller.db"),
        dir.path().join("controller.db.before"),
    )
    .unwrap();
    let back = copy_to(&dir, None).unwrap();

    assert!(back.records > there.records, "{back:?}");
    assert_eq!(unsound(&dir), wrong);
    let (members, newest, text, lost) = seen(&runtime, &dir);
    assert_eq!(newest, back.records);
    assert_eq!((text, lost), (before.2, before.3));
    assert_eq!(members.len(), before.0.len() + 1);
    assert!(before.0.iter().all(|member| members.contains(member)));
    let now = std::fs::read_to_string(dir.path().join("controller.toml")).unwrap();
    assert_eq!(now, settings);
    // Rows have their proof again, and who writes past the controller is told.
    assert!(dir.path().join("rows-proven").exists());
    let file = rusqlite::Connection::open(dir.path().join("controller.db")).unwrap();
    file.execute("UPDATE members SET locked_at_ms = NULL", [])
        .unwrap();
    drop(file);
    let altered = copy_to(&dir, Some(&trial.settings("postgres")));
    let is_told = matches!(
        altered,
        Err(DatabaseCopyError::Copy(CopyError::Store(
            StoreError::Altered { .. }
        )))
    );
    assert!(is_told, "{altered:?}");
}

/// Copies in another process, which is killed when it says this for the so-manieth time.
fn killed_at(dir: &TempDir, to: &PostgresSettings, when: &str) {
    let done = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("store::copying::tests::{KILLED}")])
        .env_remove("NEXTEST")
        .env(CHILD, format!("{}|{}|{when}", dir.path().display(), to.url))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert_eq!(done.status.signal(), Some(9), "{when}: {said}");
}

/// What such a process does.
fn copy_until_killed(told: &str) -> ! {
    let [dir, url, what, count] = *told.split('|').collect::<Vec<_>>() else {
        panic!("{told}");
    };
    let to = PostgresSettings {
        url: url.to_owned(),
        password_file: None,
        ca_file: None,
    };
    let mut left: u32 = count.parse().unwrap();
    let copied = copy_by(Path::new(dir), Some(&to), FEW, &mut |step| {
        if step.what == what {
            left -= 1;
        }
        if left == 0 {
            kill(Pid::this(), Signal::SIGKILL).unwrap();
        }
    });
    panic!("not killed: {copied:?}");
}

#[test]
fn a_copy_that_is_killed_anywhere_goes_on_where_it_was_and_nobody_serves_from_half_of_it() {
    if let Ok(told) = std::env::var(CHILD) {
        copy_until_killed(&told);
    }
    let (trial, runtime) = (Trial::start(FAST), Runtime::new().unwrap());
    let dir = made(&runtime);
    let before = seen(&runtime, &dir);
    let settings = dir.path().join("controller.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    let to = trial.settings("postgres");
    let mut rows = 0;

    for when in [
        "copied|2",
        "copied|9",
        "copied|1",
        "copied|14",
        "compared|3",
        "verified|1",
    ] {
        killed_at(&dir, &to, when);

        assert_eq!(std::fs::read_to_string(&settings).unwrap(), text);
        let found = trial.count("SELECT CAST(sum(copied) AS bigint) FROM db_copy");
        assert!(found >= rows, "{when}: {found} of {rows}");
        rows = found;
        let seal = DataDir::open(dir.path()).unwrap().seal_key().unwrap();
        let half = Store::open(&Place::Postgres(to.clone()), seal);
        assert!(matches!(half, Err(StoreError::HalfCopied)), "{half:?}");
    }
    let copied = copy_to(&dir, Some(&to)).unwrap();

    assert!(copied.is_resumed, "{copied:?}");
    assert_eq!(copied.rows, rows as u64);
    assert_eq!(seen(&runtime, &dir), before);
    // Killed after the copy was whole and before the settings were changed.
    std::fs::write(&settings, &text).unwrap();
    let again = copy_to(&dir, Some(&to)).unwrap();
    assert_eq!(again, copied);
}

#[test]
fn half_a_copy_of_another_fleet_and_a_source_that_is_used_are_refused_and_one_that_went_on_is_copied_anew()
 {
    let (trial, runtime) = (Trial::start(FAST), Runtime::new().unwrap());
    let (ours, theirs) = (made(&runtime), made(&runtime));
    let to = trial.settings("postgres");
    killed_at(&ours, &to, "copied|9");

    let foreign = copy_to(&theirs, Some(&to));
    assert!(
        matches!(foreign, Err(DatabaseCopyError::Copy(CopyError::Foreign(_)))),
        "{foreign:?}"
    );
    let serving = DataDir::open(ours.path()).unwrap().lock().unwrap();
    let locked = copy_to(&ours, Some(&to));
    let is_locked = matches!(
        locked,
        Err(DatabaseCopyError::Start(StartError::DataDir(
            DataDirError::Locked(_)
        )))
    );
    assert!(is_locked, "{locked:?}");
    drop(serving);

    // It served again, with half a copy of it left behind.
    runtime.block_on(async {
        let store = open(ours.path());
        store
            .record(event(EventKind::Operator, "later"))
            .await
            .unwrap();
        let fresh = Zeroizing::new([9; 32]);
        store
            .audit_keys("prod".to_owned(), fresh, NOW_MS)
            .await
            .unwrap();
        store.close().await;
    });
    let copied = copy_to(&ours, Some(&to)).unwrap();
    assert!(!copied.is_resumed, "{copied:?}");

    let other = runtime.block_on(async { open(ours.path()) });
    let parked = ours.path().join("controller.db.before");
    std::fs::rename(ours.path().join("controller.db"), parked).unwrap();
    let used = copy_to(&ours, None);
    assert!(
        matches!(
            used,
            Err(DatabaseCopyError::Copy(CopyError::Store(
                StoreError::InUse(_)
            )))
        ),
        "{used:?}"
    );
    runtime.block_on(other.close());
    assert_eq!(copy_to(&ours, None).unwrap().rows, copied.rows);
}
