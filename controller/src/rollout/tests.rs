use tempfile::TempDir;

use super::*;
use crate::store::fixture;

struct Fleet {
    store: Store,
    roster: Arc<Roster>,
    sessions: Arc<Registry>,
    _dir: TempDir,
}

impl Fleet {
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let store = fixture::open(dir.path()).await;
        fixture::join(&store, Role::Host, "web-1").await;
        Self {
            roster: Arc::new(Roster::load(&store).await.unwrap()),
            sessions: Arc::default(),
            store,
            _dir: dir,
        }
    }

    async fn load(&self) -> Rollout {
        let (roster, sessions) = (Arc::clone(&self.roster), Arc::clone(&self.sessions));
        let rollout = Rollout::load(self.store.clone(), roster, sessions);
        rollout.await.unwrap()
    }
}

#[tokio::test]
async fn the_stored_policy_is_in_force_after_a_restart() {
    let fleet = Fleet::new().await;
    assert!(fleet.load().await.target("web-1").is_none());

    fixture::apply(&fleet.store, 0, "PROTECT tcp/22\n").await;
    let rollout = fleet.load().await;

    assert_eq!(rollout.in_force().generation, 1);
    assert_eq!(rollout.target("web-1").unwrap().generation, 1);
}

#[tokio::test]
async fn a_stored_policy_that_is_not_read_leaves_hosts_with_what_they_have() {
    let fleet = Fleet::new().await;
    fixture::apply(&fleet.store, 0, "PROTECT tcp/22\n").await;
    let rollout = fleet.load().await;
    // As a version that allows more would leave it behind.
    fixture::apply(&fleet.store, 1, "KEYWORD_OF_TOMORROW yes\n").await;

    rollout.publish(None).await.unwrap();
    let restarted = fleet.load().await;

    assert_eq!(rollout.in_force().generation, 1);
    assert!(rollout.target("web-1").is_some());
    assert_eq!(restarted.in_force().generation, 0);
    assert!(restarted.target("web-1").is_none());
}

#[tokio::test]
async fn a_host_keeps_the_generation_at_which_its_text_last_changed() {
    let fleet = Fleet::new().await;
    fixture::apply(&fleet.store, 0, "PROTECT tcp/22\n").await;
    let rollout = fleet.load().await;

    fixture::apply(&fleet.store, 1, "# a remark\nPROTECT tcp/22\n").await;
    rollout.publish(None).await.unwrap();

    assert_eq!(rollout.in_force().generation, 2);
    assert_eq!(rollout.target("web-1").unwrap().generation, 1);
    assert!(rollout.targets().changed_at(2).is_empty());
}

#[tokio::test]
async fn a_session_that_is_open_hears_of_a_new_policy_and_one_that_opens_has_it() {
    let fleet = Fleet::new().await;
    let rollout = fleet.load().await;
    let open = fleet
        .sessions
        .subscribe("web-1", || rollout.target("web-1"));

    fixture::apply(&fleet.store, 0, "PROTECT tcp/22\n").await;
    rollout.publish(None).await.unwrap();
    let opened = fleet
        .sessions
        .subscribe("web-1", || rollout.target("web-1"));

    assert!(open.targets.borrow().is_some());
    assert!(opened.targets.borrow().is_some());
    assert!(!opened.targets.has_changed().unwrap());
}

#[tokio::test]
async fn trying_a_policy_out_changes_nothing() {
    let fleet = Fleet::new().await;
    fixture::apply(&fleet.store, 0, "PROTECT tcp/22\n").await;
    let rollout = fleet.load().await;
    let other = policy::parse("policy", "PROTECT tcp/443\n", &NoIncludes).unwrap();

    let targets = rollout.try_out(Arc::new(other)).await.unwrap();

    let tried = targets.get("web-1").unwrap().compiled.digest;
    assert_ne!(tried, rollout.target("web-1").unwrap().compiled.digest);
    assert_eq!(rollout.in_force().generation, 1);
}
