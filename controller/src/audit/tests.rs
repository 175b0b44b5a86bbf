use std::path::Path;

use fleet::audit::{AuditKey, Succession};
use fleet::{Event, EventKind};

use super::*;
use crate::store::fixture::{self, NOW_MS};
use crate::store::model::{Cursor, EventFilter, KeyRotated};

const NOW: Timestamp = Timestamp::from_ms(NOW_MS);

fn after_secs(secs: u64) -> Timestamp {
    Timestamp::from_ms(NOW_MS + secs * 1_000)
}

/// A log with some records, and what signs it.
async fn log(dir: &Path) -> (Store, Checkpoints) {
    let store = fixture::open(dir).await;
    let checkpoints = Checkpoints::load(&store, "prod", NOW).await.unwrap();
    write(&store, 5).await;
    (store, checkpoints)
}

async fn write(store: &Store, records: usize) {
    for _ in 0..records {
        let event = fixture::event(EventKind::Operator, "something");
        store.record(event).await.unwrap();
    }
}

fn keeper(name: &str) -> Keeper {
    Keeper {
        name: name.to_owned(),
        host: None,
        origin: Origin::controller("ab".repeat(16)),
    }
}

async fn conflicts(store: &Store) -> Vec<Event> {
    let filter = EventFilter {
        kinds: vec![EventKind::AuditConflict.into()],
        ..EventFilter::default()
    };
    let rows = store.search(filter, Cursor::NEWEST, 100).await.unwrap();
    rows.iter().map(|row| row.event()).collect()
}

/// With the engine's own means, as whoever has the file can.
fn edit(dir: &Path, sql: &str) {
    let database = rusqlite::Connection::open(dir.join("controller.db")).unwrap();
    database.execute_batch(sql).unwrap();
}

async fn shown(checkpoints: &Checkpoints, store: &Store, who: &str, note: &str) -> Shown {
    let keeper = keeper(who);
    let shown = checkpoints.present(store, &keeper, note, after_secs(60));
    shown.await.unwrap()
}

#[tokio::test]
async fn the_log_is_signed_when_it_has_moved_and_by_the_same_key_after_a_restart() {
    let dir = tempfile::TempDir::new().unwrap();
    let (store, checkpoints) = log(dir.path()).await;

    checkpoints.sign(&store, NOW).await.unwrap();
    let first = checkpoints.shown();
    checkpoints.sign(&store, after_secs(5)).await.unwrap();
    assert_eq!(checkpoints.shown(), first);
    write(&store, 1).await;
    checkpoints.sign(&store, after_secs(10)).await.unwrap();

    let again = Checkpoints::load(&store, "prod", NOW).await.unwrap();
    assert_eq!(again.shown(), checkpoints.shown());
    assert_eq!((again.size(), again.key()), (6, first.key));
    assert!(conflicts(&store).await.is_empty());
}

#[tokio::test]
async fn whoever_keeps_a_checkpoint_of_the_log_is_told_that_it_goes_on_from_there() {
    let dir = tempfile::TempDir::new().unwrap();
    let (store, checkpoints) = log(dir.path()).await;
    checkpoints.sign(&store, NOW).await.unwrap();
    let kept = checkpoints.shown();
    write(&store, 3).await;
    checkpoints.sign(&store, after_secs(9)).await.unwrap();

    let told = shown(&checkpoints, &store, "host web-1", &kept.newest).await;

    let key = kept.key.parse().unwrap();
    let [kept, restated] = [&kept.newest, &told.restated].map(|it| Checkpoint::open(it, &key));
    assert_eq!(end_of(&kept.unwrap()), end_of(&restated.unwrap()));
    assert_eq!(told.newest, checkpoints.shown().newest);
    assert!(conflicts(&store).await.is_empty());
}

#[tokio::test]
async fn a_log_that_was_cut_with_all_that_was_signed_is_found_once_with_the_evidence() {
    let dir = tempfile::TempDir::new().unwrap();
    let (store, checkpoints) = log(dir.path()).await;
    checkpoints.sign(&store, NOW).await.unwrap();
    let older = checkpoints.shown().newest;
    write(&store, 3).await;
    checkpoints.sign(&store, NOW).await.unwrap();
    let kept = checkpoints.shown().newest;
    edit(
        dir.path(),
        "DELETE FROM events WHERE id > 4; DELETE FROM checkpoints;",
    );
    // As after a restart: nothing in memory.
    let checkpoints = Checkpoints::load(&store, "prod", NOW).await.unwrap();
    checkpoints.sign(&store, NOW).await.unwrap();

    let told = shown(&checkpoints, &store, "host web-1", &kept).await;
    for who in ["host web-1", "host web-2"] {
        shown(&checkpoints, &store, who, &kept).await;
        shown(&checkpoints, &store, who, &older).await;
    }

    assert_eq!(told.restated, "");
    let found = conflicts(&store).await;
    let [event] = found.as_slice() else {
        panic!("{found:?}");
    };
    let reason = &event.reason;
    assert!(reason.contains("host web-1"), "{reason}");
    assert!(
        reason.contains("it had 8 records: it ends at record 4"),
        "{reason}"
    );
    let evidence = reason
        .split_once("Evidence: ")
        .unwrap()
        .1
        .replace('|', "\n")
        + "\n";
    let key = checkpoints.key().parse().unwrap();
    assert_eq!(Checkpoint::open(&evidence, &key).unwrap().size, 8);
    assert_eq!(store.conflicts().await.unwrap().0, 1);
}

#[tokio::test]
async fn a_second_loss_is_said_again() {
    let dir = tempfile::TempDir::new().unwrap();
    let (store, checkpoints) = log(dir.path()).await;
    for (secs, loss) in [(100, 1), (200, 2)] {
        let at = after_secs(secs);
        write(&store, 9).await;
        checkpoints.sign(&store, at).await.unwrap();
        edit(dir.path(), "DELETE FROM events WHERE id > 4");
        let found = checkpoints.sign(&store, after_secs(secs + 1)).await;
        found.unwrap();
        assert_eq!(
            conflicts(&store).await.len(),
            1,
            "the last one was cut, too"
        );
        assert_eq!(store.conflicts().await.unwrap().0, loss);
    }
}

#[tokio::test]
async fn a_log_that_was_rewritten_is_found_by_the_controller_and_by_whoever_keeps_a_checkpoint() {
    let dir = tempfile::TempDir::new().unwrap();
    let (store, checkpoints) = log(dir.path()).await;
    checkpoints.sign(&store, NOW).await.unwrap();
    let kept = checkpoints.shown();
    edit(
        dir.path(),
        "UPDATE events SET log_chain = zeroblob(32) WHERE id = 5",
    );
    write(&store, 1).await;

    checkpoints.sign(&store, after_secs(5)).await.unwrap();
    let told = shown(&checkpoints, &store, "auditor otto", &kept.newest).await;

    let key = kept.key.parse().unwrap();
    let restated = Checkpoint::open(&told.restated, &key).unwrap();
    assert_eq!((restated.size, restated.root), (5, [0; 32]));
    let found = conflicts(&store).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].reason.contains("this controller"), "{found:?}");
}

#[tokio::test]
async fn what_another_key_has_signed_is_no_evidence() {
    let dir = tempfile::TempDir::new().unwrap();
    let (store, checkpoints) = log(dir.path()).await;
    checkpoints.sign(&store, NOW).await.unwrap();
    let forged = Checkpoint {
        size: 9_000,
        root: [1; 32],
        at_ms: NOW_MS,
    };
    let forged = forged.sign(&AuditSigner::new("prod", &[9; 32]));

    for note in [forged.as_str(), "nonsense"] {
        let told = shown(&checkpoints, &store, "host web-1", note).await;
        assert_eq!(told, checkpoints.shown());
    }
    assert!(conflicts(&store).await.is_empty());
}

/// As beside a running controller: another process has the database open, too.
async fn rotate_beside(dir: &Path, at: Timestamp) -> KeyRotated {
    let beside = fixture::open(dir).await;
    let rotated = rotate::rotate(&beside, "prod", at).await.unwrap();
    beside.close().await;
    rotated
}

#[tokio::test]
async fn a_running_controller_signs_with_the_new_key_once_it_was_rotated_and_shows_how_it_followed()
{
    let dir = tempfile::TempDir::new().unwrap();
    let (store, checkpoints) = log(dir.path()).await;
    checkpoints.sign(&store, NOW).await.unwrap();
    let kept = checkpoints.shown();

    let first = rotate_beside(dir.path(), after_secs(1)).await;
    checkpoints.sign(&store, after_secs(5)).await.unwrap();
    let second = rotate_beside(dir.path(), after_secs(6)).await;
    checkpoints.sign(&store, after_secs(10)).await.unwrap();

    assert_eq!(first.former_key, kept.key);
    assert_eq!(second.former_key, first.audit_key);
    let told = shown(&checkpoints, &store, "host web-1", &kept.newest).await;
    assert_eq!(told.key, second.audit_key);
    assert!(told.is_of_former_key);
    let key: AuditKey = told.key.parse().unwrap();
    for note in [&told.newest, &told.restated] {
        assert!(Checkpoint::open(note, &key).is_ok(), "{note}");
    }
    let chain = KeyChain::of(key, told.successions.iter().map(String::as_str)).unwrap();
    let keys: Vec<_> = chain.keys().map(ToString::to_string).collect();
    assert_eq!(keys, [kept.key, first.audit_key, second.audit_key]);
    let last = &chain.successions()[0].checkpoint;
    assert_eq!(last.size, first.last_record);
    assert_eq!(Some(last.root), store.root_at(last.size).await.unwrap());
    assert!(conflicts(&store).await.is_empty());
    // The same after a restart, and to whom presents what the second key has signed only what came after.
    let again = Checkpoints::load(&store, "prod", NOW).await.unwrap();
    assert_eq!(again.shown(), checkpoints.shown());
    let told = shown(&again, &store, "host web-2", &checkpoints.shown().newest).await;
    assert!(told.successions.is_empty() && !told.is_of_former_key);
}

#[tokio::test]
async fn a_rotation_is_a_record_of_the_log_with_the_note_that_both_keys_have_signed() {
    let dir = tempfile::TempDir::new().unwrap();
    let (store, checkpoints) = log(dir.path()).await;
    checkpoints.sign(&store, NOW).await.unwrap();
    let rotated = rotate_beside(dir.path(), after_secs(1)).await;

    let rows = store
        .search(EventFilter::default(), Cursor::NEWEST, 1)
        .await;
    let event = rows.unwrap()[0].event();

    assert_eq!(event.kind(), EventKind::Operator);
    let (_, note) = event.reason.split_once("Succession: ").unwrap();
    let succession = Succession::open(&(note.replace('|', "\n") + "\n")).unwrap();
    assert_eq!(succession.from.to_string(), rotated.former_key);
    assert_eq!(succession.to.to_string(), rotated.audit_key);
    // The new key has signed that record already.
    let newest = store.newest_checkpoint().await.unwrap().unwrap();
    let signed = Checkpoint::open(&newest, &succession.to).unwrap();
    assert_eq!(signed.size, rotated.last_record + 1);
}

#[tokio::test]
async fn what_the_former_key_signed_of_a_log_that_was_cut_before_it_ended_is_evidence_still() {
    let dir = tempfile::TempDir::new().unwrap();
    let (store, checkpoints) = log(dir.path()).await;
    write(&store, 9).await;
    checkpoints.sign(&store, NOW).await.unwrap();
    let kept = checkpoints.shown().newest;
    drop(checkpoints);
    edit(
        dir.path(),
        "DELETE FROM events WHERE id > 4; DELETE FROM checkpoints;",
    );
    rotate_beside(dir.path(), after_secs(1)).await;
    let checkpoints = Checkpoints::load(&store, "prod", after_secs(2)).await;
    let checkpoints = checkpoints.unwrap();

    let told = shown(&checkpoints, &store, "host web-1", &kept).await;

    assert_eq!(
        (told.restated.as_str(), conflicts(&store).await.len()),
        ("", 1)
    );
}

#[tokio::test]
async fn a_host_that_does_not_know_that_keys_follow_is_told_nothing_once_another_signs() {
    let dir = tempfile::TempDir::new().unwrap();
    let (store, checkpoints) = log(dir.path()).await;
    checkpoints.sign(&store, NOW).await.unwrap();
    let kept = checkpoints.shown();
    assert_eq!(kept.clone().for_who_cannot_follow(), kept);
    rotate_beside(dir.path(), after_secs(1)).await;
    checkpoints.sign(&store, after_secs(5)).await.unwrap();

    let told = shown(&checkpoints, &store, "host web-1", &kept.newest).await;
    assert_eq!(told.for_who_cannot_follow(), Shown::default());
    // One that keeps nothing yet begins with the key of now.
    let told = checkpoints.shown().for_who_cannot_follow();
    assert_eq!(told.key, checkpoints.key());
    assert!(told.successions.is_empty());
}

#[tokio::test]
async fn nothing_is_rotated_before_there_is_a_key() {
    let dir = tempfile::TempDir::new().unwrap();
    let store = fixture::open(dir.path()).await;

    let refused = rotate::rotate(&store, "prod", NOW).await.unwrap_err();

    assert!(refused.to_string().contains("no key signs the log yet"));
    assert_eq!(store.audit_key().await.unwrap(), None);
}

/// What is on the disk of a directory, in whichever file.
fn has(dir: &Path, part: &[u8]) -> bool {
    let mut files = std::fs::read_dir(dir).unwrap();
    files.any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        bytes.windows(part.len()).any(|found| found == part)
    })
}

fn sealed(dir: &Path) -> Vec<Vec<u8>> {
    let database = rusqlite::Connection::open(dir.join("controller.db")).unwrap();
    let mut statement = database
        .prepare("SELECT sealed_seed FROM audit_keys ORDER BY id")
        .unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_rotation_that_is_killed_between_any_two_steps_is_done_or_not_and_the_old_secret_goes() {
    let dir = tempfile::TempDir::new().unwrap();
    let (store, checkpoints) = log(dir.path()).await;
    checkpoints.sign(&store, NOW).await.unwrap();
    let former = checkpoints.key();
    let old = sealed(dir.path()).remove(0);
    // The files as a kill leaves them: nothing of what is in memory, and no closing.
    let killed = |name: &str| {
        let copy = dir.path().join(name);
        std::fs::create_dir(&copy).unwrap();
        for file in ["controller.db", "controller.db-wal"] {
            std::fs::copy(dir.path().join(file), copy.join(file)).unwrap();
        }
        copy
    };
    let before = killed("before");
    let half = rusqlite::Connection::open(dir.path().join("controller.db")).unwrap();
    let undone = "BEGIN IMMEDIATE; UPDATE audit_keys SET sealed_seed = x'';";
    half.execute_batch(undone).unwrap();
    let within = killed("within");
    half.execute_batch("ROLLBACK").unwrap();
    drop(half);
    let new = Zeroizing::new([42; 32]);
    let origin = Origin::controller("ab".repeat(16));
    let event = origin.done(EventKind::Operator, NOW_MS);
    let done = store.rotate_audit_key("prod".to_owned(), new, event).await;
    let done = done.unwrap().unwrap();
    let after = killed("after");
    assert!(has(&after, &old), "in the write-ahead log");

    for (copy, key) in [
        (before, &former),
        (within, &former),
        (after, &done.audit_key),
    ] {
        let store = fixture::open(&copy).await;
        let checkpoints = Checkpoints::load(&store, "prod", NOW).await.unwrap();
        assert_eq!(checkpoints.key(), *key, "{copy:?}");
        checkpoints.sign(&store, after_secs(5)).await.unwrap();
        assert_eq!(has(&copy, &old), *key == former, "{copy:?}");
        // And goes on.
        let again = rotate::rotate(&store, "prod", after_secs(6)).await.unwrap();
        assert_eq!(again.former_key, *key);
        store.close().await;
        assert!(!has(&copy, &old), "{copy:?}");
        let sealed = sealed(&copy);
        let gone = sealed.iter().filter(|sealed| sealed.is_empty()).count();
        assert_eq!(gone + 1, sealed.len());
    }
}
