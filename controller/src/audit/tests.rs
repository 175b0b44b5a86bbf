use std::path::Path;

use fleet::{Event, EventKind};

use super::*;
use crate::store::fixture::{self, NOW_MS};
use crate::store::model::{Cursor, EventFilter};

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
