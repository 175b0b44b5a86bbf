//! What holds whatever becomes of the server, of the way to it, and of clocks: nothing is granted
//! twice, what was answered holds, and the log is whole.

mod load;
mod proxy;

use std::path::Path;
use std::time::Duration;

use fleet::EventKind;
use nix::sys::signal::Signal;

use self::load::Load;
use self::proxy::{Cut, Proxy};
use super::trial::Trial;
use crate::store::fixture::{NOW_MS, event};
use crate::store::place::PostgresSettings;
use crate::store::seal::SealKey;
use crate::store::{Place, Store};

/// A process that is killed loses nothing that it has written, with these, either.
const FAST: &str = "fsync = off\nfull_page_writes = off\nrestart_after_crash = off";

fn over(socket: &Path) -> PostgresSettings {
    PostgresSettings {
        url: format!("host={} user=postgres dbname=postgres", socket.display()),
        password_file: None,
        ca_file: None,
    }
}

#[test]
fn a_server_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    let mut trial = Trial::start(FAST);
    let load = Load::start([trial.settings("postgres"), trial.settings("postgres")]);

    for _ in 0..4 {
        load.goes_on(&[0, 1]);
        trial.kill(Signal::SIGKILL);
        trial.run();
    }
    load.goes_on(&[0, 1]);

    let heard = load.end();
    heard.is_what_is_there(&trial.settings("postgres"));
    assert!(heard.unknown.is_empty(), "{:?}", heard.unknown);
    assert!(heard.errors.iter().sum::<usize>() > 0);
}

#[test]
fn what_was_committed_is_answered_as_committed_though_the_answer_of_the_server_is_lost() {
    let trial = Trial::start(FAST);
    let ways = [Proxy::start(trial.socket()), Proxy::start(trial.socket())];
    let load = Load::start(ways.each_ref().map(|way| over(way.socket())));
    load.goes_on(&[0, 1]);

    for way in &ways {
        way.cut_every(3);
    }
    let all = [Cut::Before, Cut::Behind, Cut::Answer];
    while ways
        .iter()
        .any(|way| all.iter().any(|cut| way.cuts(*cut) < 5))
    {
        load.goes_on(&[0, 1]);
    }
    for way in &ways {
        way.cut_every(0);
    }

    let heard = load.end();
    heard.is_what_is_there(&trial.settings("postgres"));
    assert!(heard.unknown.is_empty(), "{:?}", heard.unknown);
    assert!(!heard.refused.is_empty());
}

#[test]
fn a_controller_whose_connection_hangs_loses_nothing_and_keeps_nobody_waiting_for_long() {
    let trial = Trial::start(FAST);
    let way = Proxy::start(trial.socket());
    let mut settings = [over(way.socket()), trial.settings("postgres")];
    for settings in &mut settings {
        settings.url += " options='-c idle_in_transaction_session_timeout=2s'";
    }
    let load = Load::start(settings);
    load.goes_on(&[0, 1]);

    way.hang();
    let began = crate::clock::instant();
    load.goes_on(&[1]);
    let waited = began.elapsed();
    way.go_on();
    load.goes_on(&[0, 1]);

    let heard = load.end();
    heard.is_what_is_there(&trial.settings("postgres"));
    // The server's own limit would be 15 seconds.
    assert!(waited < Duration::from_secs(12), "{waited:?}");
    assert!(heard.errors[0] > 0, "it held nothing when it hung");
}

#[test]
fn a_failover_to_a_synchronous_standby_loses_and_doubles_nothing() {
    let mut primary = Trial::start(FAST);
    let standby = primary.standby();
    let mut both = over(primary.socket());
    both.url = format!(
        "host={},{} user=postgres dbname=postgres connect_timeout=2",
        primary.socket().display(),
        standby.socket().display()
    );
    let load = Load::start([both.clone(), both.clone()]);
    load.goes_on(&[0, 1]);

    primary.kill(Signal::SIGKILL);
    standby.promote();
    load.goes_on(&[0, 1]);

    let heard = load.end();
    heard.is_what_is_there(&both);
    assert!(heard.unknown.is_empty(), "{:?}", heard.unknown);
}

#[test]
fn a_commit_that_the_synchronous_standby_does_not_have_is_not_answered() {
    let primary = Trial::start(FAST);
    let mut standby = primary.standby();
    let mut settings = primary.settings("postgres");
    settings.url += " options='-c statement_timeout=300ms'";
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = Store::open(&Place::Postgres(settings), SealKey::new(&[7; 32])).unwrap();
    let created = store.create_fleet("e".repeat(32), NOW_MS / 1000);
    runtime.block_on(created).unwrap();

    standby.kill(Signal::SIGQUIT);
    let of_task = store.clone();
    let answer = runtime.spawn(async move {
        let waits = event(EventKind::Operator, "waits");
        of_task.record(waits).await
    });
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    let wait = |connections| {
        let began = crate::clock::instant();
        while primary.count(waiting) != connections {
            assert!(began.elapsed() < Duration::from_secs(20), "{connections}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait(1);
    // It is in the primary's log, and would be seen from now on.
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE wait_event = 'SyncRep'";
    primary.count(ended);
    // Whoever asks for its fate waits for the standby, too.
    std::thread::sleep(Duration::from_millis(500));
    wait(1);
    assert!(!answer.is_finished());

    standby.run();
    runtime.block_on(answer).unwrap().unwrap();
    runtime.block_on(store.close());
    let there = "SELECT count(*) FROM events";
    // It has the log; what it shows comes a moment later.
    let began = crate::clock::instant();
    while standby.count(there) != primary.count(there) && began.elapsed() < Duration::from_secs(20)
    {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(standby.count(there), primary.count(there));
}
