use fleet::Role;
use tempfile::TempDir;

use super::*;
use crate::roster::Roster;
use crate::store::fixture;

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// A store with one host and one policy, published.
async fn publisher(dir: &TempDir) -> Arc<Publisher> {
    let store = fixture::open(dir.path()).await;
    fixture::join(&store, Role::Host, "web-1").await;
    fixture::apply(&store, 0, "PROTECT tcp/22\nSOURCE ANY\n").await;
    let roster = Arc::new(Roster::load(&store).await.unwrap());
    Arc::new(Publisher::load(store, roster).await.unwrap())
}

fn open(
    publisher: &Arc<Publisher>,
    policy_valid: Option<Duration>,
    has_digest: Vec<u8>,
) -> (Session, mpsc::Receiver<Result<Directive, Status>>) {
    let (directives, received) = mpsc::channel(QUEUE_MAX);
    let session = Session {
        host: "web-1".to_owned(),
        publisher: Arc::clone(publisher),
        subscription: publisher.subscribe("web-1"),
        directives,
        policy_valid,
        replay_floor_secs: 5,
        has_digest,
    };
    (session, received)
}

async fn snapshot(received: &mut mpsc::Receiver<Result<Directive, Status>>) -> PolicySnapshot {
    match received.recv().await.unwrap().unwrap().directive {
        Some(Kind::Policy(snapshot)) => snapshot,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_policy_is_sent_again_when_half_of_its_life_has_passed() {
    let dir = TempDir::new().unwrap();
    let publisher = publisher(&dir).await;
    let valid = Duration::from_secs(2);
    let (session, mut received) = open(&publisher, Some(valid), Vec::new());
    tokio::spawn(session.run(Vec::new()));

    let first = snapshot(&mut received).await;
    let again = snapshot(&mut received).await;

    assert_eq!(again.digest, first.digest);
    assert!(again.not_after_secs > first.not_after_secs);
    assert_eq!(again.replay_floor_secs, 5);
}

#[tokio::test]
async fn a_policy_lives_for_a_week_and_is_due_again_after_half_of_it() {
    let dir = TempDir::new().unwrap();
    let publisher = publisher(&dir).await;
    let (mut session, mut received) = open(&publisher, Some(WEEK), Vec::new());

    let due = session.first_policy().await.unwrap();

    let lives = snapshot(&mut received).await.not_after_secs - clock::now_secs();
    let second = Duration::from_secs(1);
    assert!(Duration::from_secs(lives).abs_diff(WEEK) <= second);
    assert!(due.abs_diff(WEEK / 2) <= second, "{due:?}");
}

#[tokio::test]
async fn a_policy_that_is_valid_for_ever_is_not_due_again() {
    let dir = TempDir::new().unwrap();
    let publisher = publisher(&dir).await;
    let (mut session, mut received) = open(&publisher, None, Vec::new());

    let due = session.first_policy().await;

    assert_eq!(due, Some(Duration::MAX));
    assert_eq!(snapshot(&mut received).await.not_after_secs, 0);
}

#[tokio::test]
async fn only_an_acknowledged_policy_is_left_out_at_the_next_session() {
    let dir = TempDir::new().unwrap();
    let publisher = publisher(&dir).await;
    let (mut session, mut received) = open(&publisher, Some(WEEK), Vec::new());
    session.first_policy().await.unwrap();
    let first = snapshot(&mut received).await;

    // It has the text, but whether the new date reached it is not known.
    let (mut session, mut received) = open(&publisher, Some(WEEK), first.digest.clone());
    session.first_policy().await.unwrap();
    let second = snapshot(&mut received).await;
    publisher.note_applied("web-1", &second.digest);
    let (mut session, mut received) = open(&publisher, Some(WEEK), first.digest);
    session.first_policy().await.unwrap();

    assert!(received.try_recv().is_err(), "nothing is sent");
}
