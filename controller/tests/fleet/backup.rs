//! Backups of a controller that is at work, and what becomes of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use controller::{Archived, BackupError, DataDirError, NewArchive, OldArchive, RestoreTo, Running};
use fleet::wire::directive::Directive as Kind;
use fleet::wire::{
    ApplyPolicyRequest, ClaimRequest, ListEventsRequest, PushEventsRequest, SessionRequest,
};
use fleet::{Event, EventKind, EventRecord, Role};
use tonic::Code;

use crate::claims::{STATIC, static_domain};
use crate::support::{Fleet, Member, next};

const EPOCH: &str = "00112233445566778899aabbccddeeff";

/// Pushes events and claims messages until told to stop; gives how many of both.
async fn work(host: Member, stop: Arc<AtomicBool>) -> u64 {
    let (mut seq, mut chain) = (0, [0; 32]);
    while !stop.load(Ordering::SeqCst) {
        let record = EventRecord::after(seq, &chain, Event::new(EventKind::Drift, 1_000));
        chain = record.chain.as_slice().try_into().unwrap();
        seq += 1;
        let request = PushEventsRequest {
            epoch: EPOCH.to_owned(),
            events: Vec::new(),
            records: vec![record],
        };
        host.agent().push_events(request).await.unwrap();
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&seq.to_be_bytes());
        let request = ClaimRequest {
            domain: static_domain().to_vec(),
            digest: digest.to_vec(),
            seq,
            forget_after_secs: 4_000_000_000,
            dated_secs: 0,
        };
        assert!(host.agent().claim(request).await.unwrap().into_inner().won);
    }
    seq
}

async fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn serve(data: &Path) -> Running {
    let listen = "127.0.0.1:0".parse().unwrap();
    Running::start(data, Some(listen)).await.unwrap()
}

fn backup(data: &Path, to: &Path) -> Result<Archived, BackupError> {
    controller::backup(data, NewArchive::create(to)?)
}

fn move_to(data: &Path, to: &Path) -> Result<Archived, BackupError> {
    controller::move_to(data, NewArchive::create(to)?)
}

fn restore(from: &Path, data: &Path) -> Result<Archived, BackupError> {
    controller::restore(&OldArchive::open(from)?, data, (&RestoreTo::AsItWas, false))
}

/// Opens a session, and gives the pass that is told in it.
async fn open(host: &Member, generation: u64, pass: Vec<u8>) -> Vec<u8> {
    let request = SessionRequest {
        highest_generation: generation,
        session_pass: pass,
        run_id: vec![7; 16],
        ..SessionRequest::default()
    };
    let mut session = host.agent().session(request).await.unwrap().into_inner();
    loop {
        if let Kind::Opened(opened) = next(&mut session).await {
            return opened.session_pass;
        }
    }
}

fn sound(data: &Path) -> bool {
    let findings = controller::check(data, &mut |_, _| {}).unwrap();
    findings.iter().all(|finding| finding.is_sound)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_is_sound_and_what_is_restored_learns_that_it_was_set_back() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "olga").await;
    let host = fleet.join(Role::Host, "web-1").await.again(&fleet).await;
    let busy = fleet.join(Role::Host, "web-2").await;
    operator.apply(0, STATIC).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(work(busy, Arc::clone(&stop)));

    let data = fleet.dir.path().join("data");
    let mut files: Vec<PathBuf> = Vec::new();
    for number in 0..3 {
        let file = fleet.dir.path().join(format!("{number}.tar"));
        let (from, to) = (data.clone(), file.clone());
        in_background(move || backup(&from, &to).unwrap()).await;
        files.push(file);
    }
    // What happens now is in no backup.
    operator
        .apply(1, &format!("{STATIC}# more\n"))
        .await
        .unwrap();
    let pass = open(&host, 2, Vec::new()).await;
    let pass = open(&host, 2, pass).await;
    stop.store(true, Ordering::SeqCst);
    let pushed = load.await.unwrap();
    let Fleet {
        dir,
        running,
        first,
    } = fleet;
    running.stop().await;
    assert!(pushed > 3 && sound(&data));

    let restored: Vec<PathBuf> = (0..3)
        .map(|number| dir.path().join(format!("r{number}")))
        .collect();
    for (file, to) in files.iter().zip(&restored) {
        assert!(
            controller::check_archive(file, &mut |_, _| {})
                .unwrap()
                .iter()
                .all(|it| it.is_sound)
        );
        restore(file, to).unwrap();
        assert!(sound(to), "{:?}", controller::check(to, &mut |_, _| {}));
    }
    std::fs::rename(&data, dir.path().join("lost")).unwrap();
    std::fs::rename(&restored[2], &data).unwrap();
    let running = serve(&data).await;
    let fleet = Fleet {
        dir,
        running,
        first,
    };
    let [host, operator] = [host.again(&fleet).await, operator.again(&fleet).await];
    open(&host, 2, pass).await;
    let request = ListEventsRequest {
        kind: EventKind::ControllerSetBack.into(),
        ..ListEventsRequest::default()
    };
    let found = operator.events(request).await;
    let found = found.into_iter().map(fleet::export::Record::new);
    let reasons: Vec<String> = found.map(|record| record.event.reason).collect();
    let says = "host web-1 has seen generation 2, this copy ends at 1";
    assert!(
        reasons.iter().any(|reason| reason.contains(says)),
        "{reasons:?}"
    );
    let refused = operator.apply(1, STATIC).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    let request = ApplyPolicyRequest {
        text: STATIC.to_owned(),
        message: "after the restore".to_owned(),
        file: "access.conf".to_owned(),
        after_restore: true,
        base_generation: current(&operator).await,
        ..ApplyPolicyRequest::default()
    };
    let applied = operator
        .operator()
        .apply_policy(request)
        .await
        .unwrap()
        .into_inner();
    assert!(applied.generation > 2, "{applied:?}");
}

/// The generation in force, as the controller shows it.
async fn current(operator: &Member) -> u64 {
    let request = fleet::wire::PolicyHistoryRequest::default();
    let history = operator
        .operator()
        .policy_history(request)
        .await
        .unwrap()
        .into_inner();
    history
        .generations
        .iter()
        .map(|it| it.generation)
        .max()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_controller_goes_on_elsewhere_as_after_a_restart_and_serves_no_more_where_it_was() {
    let fleet = Fleet::start().await;
    let host = fleet.join(Role::Host, "web-1").await.again(&fleet).await;
    let pass = open(&host, 0, Vec::new()).await;
    let Fleet {
        dir,
        running,
        first,
    } = fleet;
    let [data, file] = ["data", "moved.tar"].map(|name| dir.path().join(name));

    let refused = move_to(&data, &file).unwrap_err();
    assert!(
        matches!(refused, BackupError::DataDir(DataDirError::Locked(_))),
        "{refused:?}"
    );
    running.stop().await;
    assert!(move_to(&data, &file).unwrap().moved);

    let listen = "127.0.0.1:0".parse().unwrap();
    let refused = Running::start(&data, Some(listen)).await.unwrap_err();
    assert!(refused.to_string().contains("was moved"), "{refused}");
    std::fs::rename(&data, dir.path().join("old")).unwrap();
    restore(&file, &data).unwrap();
    let running = serve(&data).await;
    let fleet = Fleet {
        dir,
        running,
        first,
    };
    let host = host.again(&fleet).await;
    open(&host, 0, pass).await;
    let auditor = fleet.join(Role::Auditor, "ada").await;
    for kind in [EventKind::ControllerSetBack, EventKind::HostSetBack] {
        let request = ListEventsRequest {
            kind: kind.into(),
            ..ListEventsRequest::default()
        };
        assert_eq!(auditor.events(request).await.len(), 0, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_controller_is_restored_once_and_a_backup_as_often_as_one_likes() {
    let Fleet { dir, running, .. } = Fleet::start().await;
    let [data, kept, moved] = ["data", "kept.tar", "moved.tar"].map(|name| dir.path().join(name));
    backup(&data, &kept).unwrap();
    running.stop().await;
    move_to(&data, &moved).unwrap();
    let to = |name: &str| dir.path().join(name);

    for name in ["k1", "k2"] {
        assert!(!restore(&kept, &to(name)).unwrap().moved);
    }
    let first = restore(&moved, &to("m1")).unwrap();
    assert!(first.moved && !first.unmarked);
    assert!(sound(&to("m1")));
    let before = std::fs::read(&moved).unwrap();
    let refused = restore(&moved, &to("m2")).unwrap_err();
    let [said, first] = [refused.to_string(), to("m1").display().to_string()];
    assert!(matches!(refused, BackupError::Taken { .. }), "{said}");
    assert!(
        said.contains("was restored already") && said.contains(&first),
        "{said}"
    );
    assert!(!to("m2").exists());
    assert_eq!(std::fs::read(&moved).unwrap(), before);

    // Whoever insists has what any backup gives: the start knows that something may have happened.
    let archive = OldArchive::open(&moved).unwrap();
    assert!(
        !controller::restore(&archive, &to("m2"), (&RestoreTo::AsItWas, true))
            .unwrap()
            .moved
    );
    assert!(sound(&to("m2")) && !to("m2").join("run").exists());
    assert!(to("m1").join("run").exists());
    assert!(
        controller::check_archive(&moved, &mut |_, _| {})
            .unwrap()
            .iter()
            .all(|it| it.is_sound)
    );
    let listed = std::process::Command::new("tar")
        .arg("-tf")
        .arg(&moved)
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.ends_with("postern-restored.json\n"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_overwritten_and_what_is_damaged_is_not_restored() {
    use std::os::unix::fs::PermissionsExt as _;
    let fleet = Fleet::start().await;
    let dir = fleet.dir.path().to_owned();
    let [data, file] = ["data", "backup.tar"].map(|name| dir.join(name));
    backup(&data, &file).unwrap();
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let good = std::fs::read(&file).unwrap();

    assert!(matches!(backup(&data, &file), Err(BackupError::Exists(_))));
    assert_eq!(std::fs::read(&file).unwrap(), good);
    let refused = restore(&file, &data).unwrap_err();
    assert!(matches!(
        refused,
        BackupError::DataDir(DataDirError::Initialised(_))
    ));
    let listed = std::process::Command::new("tar")
        .arg("-tf")
        .arg(&file)
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(
        listed.contains("controller.db") && !listed.contains("run"),
        "{listed}"
    );

    let middle = good.len() / 2;
    let mut changed = good.clone();
    changed[middle] ^= 1;
    let cut = good[..middle].to_vec();
    for (name, bytes) in [
        ("changed", changed),
        ("cut", cut),
        ("none", b"text".to_vec()),
    ] {
        let [file, to] = ["tar", "data"].map(|end| dir.join(format!("{name}.{end}")));
        std::fs::write(&file, bytes).unwrap();
        assert!(
            controller::check_archive(&file, &mut |_, _| {}).is_err(),
            "{name}"
        );
        let refused = restore(&file, &to).unwrap_err();
        assert!(
            matches!(refused, BackupError::Damaged { .. }),
            "{name}: {refused:?}"
        );
        // What was begun is taken back, so that it can be tried again.
        let left = std::fs::read_dir(&to).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{name}");
    }
    // Nothing is left beside the archive.
    let names = std::fs::read_dir(&dir)
        .unwrap()
        .map(|it| it.unwrap().file_name());
    assert!(
        !names
            .into_iter()
            .any(|name| name.to_string_lossy().starts_with('.'))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_a_changed_record_and_a_foreign_key() {
    let fleet = Fleet::start().await;
    fleet
        .join(Role::Operator, "olga")
        .await
        .apply(0, STATIC)
        .await
        .unwrap();
    let data = fleet.dir.path().join("data");
    assert!(sound(&data));
    fleet.running.stop().await;

    let database = rusqlite::Connection::open(data.join("controller.db")).unwrap();
    let sql = "UPDATE events SET body = CAST(body || x'00' AS BLOB) WHERE id = 2";
    database.execute(sql, []).unwrap();
    drop(database);
    // Also where it is packed.
    let packed = fleet.dir.path().join("packed.tar");
    backup(&data, &packed).unwrap();
    let inside = controller::check_archive(&packed, &mut |_, _| {}).unwrap();
    let unsound = inside.iter().filter(|it| !it.is_sound);
    assert_eq!(
        unsound.map(|it| it.what).collect::<Vec<_>>(),
        ["log"],
        "{inside:?}"
    );
    std::fs::write(data.join("seal.key"), "ab".repeat(32)).unwrap();
    let findings = controller::check(&data, &mut |_, _| {}).unwrap();

    let unsound: Vec<&str> = findings
        .iter()
        .filter(|it| !it.is_sound)
        .map(|it| it.what)
        .collect();
    assert_eq!(unsound, ["log", "seal key"], "{findings:?}");
    let log = findings.iter().find(|it| it.what == "log").unwrap();
    assert!(log.detail.contains("record 2"), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_what_a_start_could_not_read_and_what_has_gone_from_the_database() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "olga").await;
    operator.apply(0, STATIC).await.unwrap();
    operator
        .apply(1, &format!("{STATIC}# more\n"))
        .await
        .unwrap();
    let host = fleet.join(Role::Host, "web-1").await.again(&fleet).await;
    drop(host.session().await);
    let data = fleet.dir.path().join("data");
    fleet.running.stop().await;
    assert!(sound(&data));
    let path = data.join("controller.db");
    let kept = fleet.dir.path().join("kept.db");
    std::fs::copy(&path, &kept).unwrap();

    for (edit, what) in [
        ("DELETE FROM meta WHERE key = 'journal_epoch'", "fleet"),
        ("DELETE FROM meta WHERE key = 'replay_floor_secs'", "fleet"),
        (
            "DELETE FROM meta WHERE key = 'claim_dates_since_secs'",
            "fleet",
        ),
        ("DELETE FROM meta WHERE key = 'run'", "last run"),
        (
            "UPDATE meta SET value = 7 WHERE key = 'claim_epoch'",
            "rows",
        ),
        ("UPDATE policies SET author = 'eve'", "rows"),
        ("DELETE FROM members WHERE name = 'web-1'", "rows"),
        ("DELETE FROM audit_keys", "audit key"),
        ("DELETE FROM checkpoints", "checkpoints"),
        (
            "DELETE FROM checkpoints WHERE size = (SELECT max(size) FROM checkpoints)",
            "checkpoints",
        ),
        ("DELETE FROM host_passes", "passes"),
        ("UPDATE host_passes SET lineage = 'nonsense'", "passes"),
        ("DELETE FROM policies WHERE generation = 1", "policies"),
        ("DELETE FROM policies WHERE generation = 2", "policies"),
        (
            "UPDATE policies SET sealed_text = x'00' WHERE generation = 1",
            "policies",
        ),
        (
            "UPDATE members SET role = 'owner' WHERE name = 'web-1'",
            "rows",
        ),
        (
            "UPDATE members SET role = 'king' WHERE name = 'olga'",
            "rows",
        ),
        ("DELETE FROM event_words_end", "searches"),
        ("INSERT INTO event_words_end (event) VALUES (1)", "searches"),
        ("UPDATE event_words_end SET event = 0", "searches"),
        ("UPDATE event_words_end SET event = 99999", "searches"),
    ] {
        std::fs::copy(&kept, &path).unwrap();
        let database = rusqlite::Connection::open(&path).unwrap();
        assert_ne!(database.execute(edit, []).unwrap(), 0, "{edit}");
        drop(database);
        let findings = controller::check(&data, &mut |_, _| {}).unwrap();
        let wrong = findings.iter().filter(|it| !it.is_sound);
        let wrong: Vec<_> = wrong.map(|it| it.what).collect();
        assert!(wrong.contains(&what), "{edit}: {findings:?}");
        let mut remedies = findings.iter().map(controller::Finding::remedy);
        assert!(remedies.any(|it| it.is_some()), "{edit}");
        if what == "searches" {
            controller::rebuild_searches(&data, &mut |_, _| {}).unwrap();
            assert!(sound(&data), "{edit}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_is_what_the_controller_does_now_and_says_when_none_serves() {
    let fleet = Fleet::start().await;
    let host = fleet.join(Role::Host, "web-1").await;
    fleet.join(Role::Host, "web-2").await;
    fleet.join(Role::User, "alice").await;
    let _session = host.session().await;
    let data = fleet.dir.path().join("data");

    let serving = controller::status(&data).await.unwrap();
    backup(&data, &fleet.dir.path().join("b.tar")).unwrap();
    let after = controller::status(&data).await.unwrap();
    fleet.running.stop().await;
    let stopped = controller::status(&data).await.unwrap();

    assert!(serving.is_serving && serving.records > 0 && serving.pid == std::process::id());
    assert_eq!(
        (serving.hosts, serving.hosts_connected, serving.users),
        (2, 1, 1)
    );
    assert_eq!(serving.last_backup_at, "");
    assert!(after.last_backup_at.starts_with("20"), "{after:?}");
    assert!(
        !stopped.is_serving && stopped.database_bytes > 0,
        "{stopped:?}"
    );
    assert_eq!(stopped.fleet, serving.fleet);
    assert_eq!(stopped.last_backup_at, after.last_backup_at);
    assert!(!data.join("status.sock").exists());
}
