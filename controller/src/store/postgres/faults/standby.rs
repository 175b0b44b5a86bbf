//! Commits that wait for a synchronous standby, and whoever ends that wait.

use std::time::Duration;

use fleet::EventKind;
use nix::sys::signal::Signal;
use tokio::runtime::Runtime;

use super::FAST;
use crate::store::error::{NotCommitted, StoreError};
use crate::store::fixture::{NOW_MS, event};
use crate::store::model::{Claim, ClaimOutcome};
use crate::store::place::PostgresSettings;
use crate::store::postgres::trial::Trial;
use crate::store::seal::SealKey;
use crate::store::{Place, Store};

const SOON: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

fn fleet(runtime: &Runtime, settings: PostgresSettings) -> Store {
    let store = Store::open(&Place::Postgres(settings), SealKey::new(&[7; 32])).unwrap();
    let created = store.create_fleet("e".repeat(32), NOW_MS / 1000);
    runtime.block_on(created).unwrap();
    store
}

/// Waits until so many commits wait for the standby.
fn waits(primary: &Trial, connections: usize) {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    let began = crate::clock::instant();
    while primary.count(waiting) != connections {
        assert!(began.elapsed() < SOON, "{connections}");
        std::thread::sleep(PAUSE);
    }
}

/// Ends those waits: what was committed is in the primary's log, and seen from then on.
fn end(primary: &Trial, how: &str) {
    let ended =
        format!("SELECT count({how}(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
    primary.count(&ended);
}

fn is_answered_only_when_the_standby_has_it(how: &str, times: usize) {
    let primary = Trial::start(FAST);
    let mut standby = primary.standby();
    let mut settings = primary.settings("postgres");
    settings.url += " options='-c statement_timeout=300ms'";
    let runtime = Runtime::new().unwrap();
    let store = fleet(&runtime, settings);

    standby.kill(Signal::SIGQUIT);
    let of_task = store.clone();
    let answer = runtime.spawn(async move {
        let waits = event(EventKind::Operator, "waits");
        of_task.record(waits).await
    });
    for _ in 0..times {
        waits(&primary, 1);
        end(&primary, how);
        // Whoever asks for its fate waits for the standby, too.
        std::thread::sleep(Duration::from_millis(500));
        waits(&primary, 1);
        assert!(!answer.is_finished());
    }

    standby.run();
    runtime.block_on(answer).unwrap().unwrap();
    runtime.block_on(store.close());
    let there = "SELECT count(*) FROM events";
    // It has the log; what it shows comes a moment later.
    let began = crate::clock::instant();
    while standby.count(there) != primary.count(there) && began.elapsed() < SOON {
        std::thread::sleep(PAUSE);
    }
    assert_eq!(standby.count(there), primary.count(there));
}

#[test]
fn a_commit_that_the_synchronous_standby_does_not_have_is_not_answered() {
    is_answered_only_when_the_standby_has_it("pg_terminate_backend", 1);
}

#[test]
fn a_commit_whose_wait_for_the_standby_is_cancelled_again_and_again_is_not_answered() {
    is_answered_only_when_the_standby_has_it("pg_cancel_backend", 3);
}

#[test]
fn what_only_a_lost_primary_has_was_answered_to_nobody_and_is_won_once() {
    let mut primary = Trial::start(FAST);
    let mut standby = primary.standby();
    let runtime = Runtime::new().unwrap();
    let store = fleet(
        &runtime,
        PostgresSettings {
            url: format!(
                "host={},{} user=postgres dbname=postgres connect_timeout=2",
                primary.socket().display(),
                standby.socket().display()
            ),
            ..primary.settings("postgres")
        },
    );
    let claim = |host: &str| Claim {
        domain: [7; 32],
        digest: [1; 32],
        host: host.to_owned(),
        seq: 1,
        forget_after_secs: 0,
        dated_secs: 0,
        capped: false,
    };

    standby.kill(Signal::SIGQUIT);
    let (of_task, first) = (store.clone(), claim("web-1"));
    let first = runtime.spawn(async move { of_task.claim(first).await });
    waits(&primary, 1);
    end(&primary, "pg_cancel_backend");
    std::thread::sleep(Duration::from_millis(500));
    waits(&primary, 1);
    let there = "SELECT count(*) FROM claims";
    assert_eq!(primary.count(there), 1);
    primary.kill(Signal::SIGKILL);
    standby.run();
    standby.promote();

    let lost = runtime.block_on(first).unwrap();
    let is_lost = matches!(
        lost,
        Err(StoreError::NotCommitted(NotCommitted::RolledBack))
    );
    assert!(is_lost, "{lost:?}");
    let second = runtime.block_on(store.claim(claim("web-2"))).unwrap();
    assert_eq!(second, ClaimOutcome::Won);
}
