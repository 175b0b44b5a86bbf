use parking_lot::Mutex;
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::store::seal::SealKey;

/// Counts to a billion: longer than any test waits.
const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
                       WHERE i < 1000000000) SELECT count(*) FROM n";
const HOUR: Duration = Duration::from_secs(3_600);

fn readers(dir: &TempDir) -> Arc<Readers> {
    let path = dir.path().join("controller.db");
    connection::writing(&path).unwrap();
    let key = SealKey::new(&[7; 32]).row_key();
    Arc::new(Readers::with_questions((&path, &key), 1))
}

fn endless(connection: &sql::Connection) -> Result<i64, StoreError> {
    Ok(connection.query_row(ENDLESS, [], |row| row.get(0))?)
}

fn was_interrupted(error: &StoreError) -> bool {
    let StoreError::Engine(error) = error else {
        return false;
    };
    let text = error.to_string();
    text.contains("interrupted")
}

#[tokio::test]
async fn what_the_fleet_waits_for_never_waits_for_a_question() {
    let dir = TempDir::new().unwrap();
    let readers = readers(&dir);
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let mut asked = Vec::new();
    for _ in 0..8 {
        let (readers, held) = (Arc::clone(&readers), Arc::clone(&held));
        asked.push(tokio::spawn(async move {
            let question = readers.ask((Allowance::QUESTION, Duration::ZERO), move |_| {
                let _ = held.lock().recv();
                Ok(())
            });
            question.await
        }));
    }
    tokio::task::yield_now().await;

    // Were there one lane, this would wait for ever: nothing releases the questions before.
    for _ in 0..100 {
        let one = readers.read(|connection| {
            Ok(connection.query_row("SELECT 1", [], |row| row.get::<_, i64>(0))?)
        });
        assert_eq!(one.await.unwrap(), 1);
    }

    drop(release);
    for question in asked {
        question.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_question_that_costs_too_much_is_given_up_after_the_same_work_on_every_machine() {
    let dir = TempDir::new().unwrap();
    let readers = readers(&dir);
    let allowance = Allowance {
        steps: 100_000,
        time: HOUR,
    };

    let error = readers
        .ask((allowance, Duration::ZERO), endless)
        .await
        .unwrap_err();
    let after = readers
        .ask((allowance, Duration::ZERO), |connection| {
            Ok(connection.query_row("SELECT 1", [], |row| row.get::<_, i64>(0))?)
        })
        .await;

    assert!(was_interrupted(&error), "{error:?}");
    assert_eq!(
        after.unwrap(),
        1,
        "the next question has a meter of its own"
    );
}

#[tokio::test]
async fn a_question_that_takes_too_long_is_given_up() {
    let dir = TempDir::new().unwrap();
    let allowance = Allowance {
        steps: u64::MAX,
        time: Duration::from_millis(20),
    };

    let error = readers(&dir)
        .ask((allowance, Duration::ZERO), endless)
        .await
        .unwrap_err();

    assert!(was_interrupted(&error), "{error:?}");
}

#[tokio::test]
async fn whoever_goes_away_takes_the_question_along() {
    let dir = TempDir::new().unwrap();
    let readers = readers(&dir);
    let allowance = Allowance {
        steps: u64::MAX,
        time: HOUR,
    };
    let (began, mut has_begun) = tokio::sync::mpsc::channel(1);
    let asking = {
        let readers = Arc::clone(&readers);
        tokio::spawn(async move {
            let question = readers.ask((allowance, Duration::ZERO), move |connection| {
                let _ = began.try_send(());
                endless(connection)
            });
            question.await
        })
    };
    has_begun.recv().await.unwrap();

    asking.abort();

    // The one place of the lane is free again only when the work itself has ended.
    assert!(
        readers
            .ask((allowance, Duration::ZERO), |_| Ok(()))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn whoever_has_not_begun_waits_for_the_one_in_the_place_however_many_go_on() {
    let dir = TempDir::new().unwrap();
    let readers = readers(&dir);
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let done = Arc::new(Mutex::new(Vec::new()));
    let mut asked = Vec::new();
    let wide = std::iter::repeat_n(Duration::from_secs(1), 8);
    for served in wide.chain([Duration::ZERO]) {
        let (readers, held, done) = (Arc::clone(&readers), Arc::clone(&held), Arc::clone(&done));
        asked.push(tokio::spawn(async move {
            let question = readers.ask((Allowance::QUESTION, served), move |_| {
                let _ = held.lock().recv();
                done.lock().push(served);
                Ok(())
            });
            question.await
        }));
        // Each is in line before the next comes.
        tokio::task::yield_now().await;
    }

    for _ in 0..asked.len() {
        release.send(()).unwrap();
    }
    for question in asked {
        question.await.unwrap().unwrap();
    }

    let done = done.lock();
    let waited = done.iter().position(Duration::is_zero);
    assert_eq!(waited, Some(1), "{done:?}");
}

#[tokio::test]
async fn a_place_goes_to_who_still_waits_and_comes_back_when_nobody_does() {
    let dir = TempDir::new().unwrap();
    let readers = readers(&dir);
    let lane = &readers.questions;
    let held = lane.permit(Duration::ZERO).await.unwrap();
    let waits = |served: u64| {
        let lane = Arc::clone(lane);
        tokio::spawn(async move { lane.permit(Duration::from_secs(served)).await })
    };
    let (gone, goes_on) = (waits(0), waits(1));
    tokio::task::yield_now().await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());

    drop(held);
    let next = goes_on.await.unwrap().unwrap();
    let never_taken = waits(0);
    tokio::task::yield_now().await;
    // Given to a task that ends before it looks.
    drop(next);
    never_taken.abort();
    let _ = never_taken.await;

    assert!(lane.permit(Duration::ZERO).await.is_ok());
    let last = waits(0);
    assert!(last.await.unwrap().is_ok());
    let held = lane.permit(Duration::ZERO).await.unwrap();
    let waiting = waits(0);
    tokio::task::yield_now().await;
    readers.close();
    assert!(matches!(waiting.await.unwrap(), Err(StoreError::Closed)));
    drop(held);
    assert!(matches!(
        lane.permit(Duration::ZERO).await,
        Err(StoreError::Closed)
    ));
}
