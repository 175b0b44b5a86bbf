//! What holds whatever becomes of the server, of the way to it, and of clocks: nothing is granted
//! twice, what was answered holds, and the log is whole.

mod load;
mod proxy;
mod schedule;
mod standby;

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use self::load::Load;
use self::proxy::{Cut, Proxy};
use super::trial::Trial;
use crate::store::place::PostgresSettings;

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
fn a_connection_that_falls_silent_is_lost_within_seconds_and_what_it_committed_is_known() {
    let trial = Trial::start(FAST);
    let way = Proxy::start(trial.socket());
    let load = Load::start([over(way.socket()), trial.settings("postgres")]);
    load.goes_on(&[0, 1]);

    for cut in [Cut::Before, Cut::Behind, Cut::Answer] {
        way.silence(cut);
        let began = crate::clock::instant();
        load.goes_on(&[0, 1]);
        // The server alone would end its transaction after 15 seconds, and the connection never.
        let waited = began.elapsed();
        assert!(waited < Duration::from_secs(14), "{cut:?}: {waited:?}");
    }

    let heard = load.end();
    heard.is_what_is_there(&trial.settings("postgres"));
    assert!(heard.unknown.is_empty(), "{:?}", heard.unknown);
}

#[test]
fn a_question_that_nobody_waits_for_any_more_ends_at_the_server() {
    let trial = Trial::start(FAST);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let engine = trial.engine();
    let ask = |sql: &'static str, times: usize| {
        let engine = engine.clone();
        runtime.spawn(async move {
            let work = move |connection: &crate::store::sql::Connection| {
                for _ in 0..times {
                    connection.prepare(sql)?.exists([])?;
                }
                Ok(())
            };
            engine.readers().ask(Duration::ZERO, work).await
        })
    };
    let asked = "SELECT count(*) FROM pg_stat_activity
        WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
    // One long statement, and many short ones, between which nothing could be ended.
    let questions = [
        ask("SELECT pg_sleep(60)", 1),
        ask("SELECT pg_sleep(0.01)", 6_000),
    ];
    let began = crate::clock::instant();
    while trial.count(asked) < 2 {
        assert!(began.elapsed() < Duration::from_secs(20));
    }

    for question in questions {
        question.abort();
    }

    // Both had all the places there are.
    let next = runtime.block_on(ask("SELECT 1", 1));
    next.unwrap().unwrap();
    let ended = || trial.count(asked) == 0;
    while !ended() && began.elapsed() < Duration::from_secs(20) {}
    assert!(ended());
    assert!(began.elapsed() < Duration::from_secs(9), "by itself");
}
