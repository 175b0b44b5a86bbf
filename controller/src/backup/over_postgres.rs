//! What holds of a controller's directory whose database is at a PostgreSQL server.

use std::path::{Path, PathBuf};

use fleet::EventKind;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;
use crate::Running;
use crate::store::fixture::event;
use crate::store::trial::Trial;

const FAST: &str = "fsync = off\nfull_page_writes = off";

/// A server with a database for each fleet, and directories.
struct Lab {
    trial: Trial,
    runtime: Runtime,
    dir: TempDir,
}

// === impl Lab ===

impl Lab {
    fn start() -> Self {
        Self {
            trial: Trial::start(FAST),
            runtime: Runtime::new().unwrap(),
            dir: TempDir::new().unwrap(),
        }
    }

    /// A controller over a new database of this name.
    fn made(&self, database: &str) -> PathBuf {
        self.trial
            .sql("postgres", &format!("CREATE DATABASE {database}"));
        let data = self.dir.path().join(database);
        let over = Some(self.trial.settings(database));
        let made = crate::init_over(&data, ("localhost:7443", "prod"), over);
        self.runtime.block_on(made).unwrap();
        self.serve(&data);
        data
    }

    /// Lets it serve for a moment, in which some things are recorded.
    fn serve(&self, data: &Path) {
        self.runtime.block_on(async {
            let listen = "127.0.0.1:0".parse().unwrap();
            let running = Running::start(data, Some(listen)).await.unwrap();
            let store = &running.context().store;
            for number in 0..3 {
                let event = event(EventKind::Refused, &format!("because {number}"));
                store.record(event).await.unwrap();
            }
            while store.index_some().await.unwrap() {}
            running.stop().await;
        });
    }
}

/// What is not sound, and what is to be thought of.
fn said(data: &Path) -> (Vec<&'static str>, Vec<&'static str>) {
    let findings = check(data, &mut |_, _| {}).unwrap().into_iter();
    let (sound, unsound): (Vec<_>, Vec<_>) = findings.partition(|it| it.is_sound);
    let warned = sound.into_iter().filter(|it| it.is_warning);
    (
        unsound.into_iter().map(|it| it.what).collect(),
        warned.map(|it| it.what).collect(),
    )
}

#[test]
fn a_directory_whose_database_is_at_a_server_is_checked_whole_and_each_thing_that_is_wrong_is_named()
 {
    let lab = Lab::start();
    let data = lab.made("fleet");
    let superuser = "database role";
    assert_eq!(said(&data), (vec![], vec![superuser]));
    // While it serves, too.
    lab.runtime.block_on(async {
        let listen = "127.0.0.1:0".parse().unwrap();
        let running = Running::start(&data, Some(listen)).await.unwrap();
        let asked = data.clone();
        let asked = tokio::task::spawn_blocking(move || {
            // Not in a task: the driver is a runtime of its own.
            std::thread::spawn(move || said(&asked)).join().unwrap()
        });
        assert_eq!(asked.await.unwrap(), (vec![], vec![superuser]));
        running.stop().await;
    });

    for (edit, back, expected) in [
        (
            "CREATE FUNCTION evil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
             CREATE TRIGGER evil BEFORE INSERT ON members EXECUTE FUNCTION evil()",
            "DROP TRIGGER evil ON members",
            "database triggers",
        ),
        (
            "CREATE RULE evil AS ON DELETE TO events DO INSTEAD NOTHING",
            "DROP RULE evil ON events",
            "database triggers",
        ),
        (
            "UPDATE events SET stored_at_ms = stored_at_ms + 1 WHERE id = 2",
            "UPDATE events SET stored_at_ms = stored_at_ms - 1 WHERE id = 2",
            "log",
        ),
        (
            "CREATE TABLE kept AS SELECT * FROM checkpoints; DELETE FROM checkpoints",
            "INSERT INTO checkpoints SELECT * FROM kept",
            "checkpoints",
        ),
        (
            "UPDATE event_words_end SET event = 1000",
            "UPDATE event_words_end SET event = (SELECT max(id) FROM events)",
            "searches",
        ),
        (
            "UPDATE schema_version SET schema = 99",
            "UPDATE schema_version SET schema = 14",
            "schema",
        ),
    ] {
        lab.trial.sql("fleet", edit);
        assert_eq!(said(&data).0, [expected], "{edit}");
        lab.trial.sql("fleet", back);
        assert!(said(&data).0.is_empty(), "{back}");
    }

    // What records are found by is made anew, with the controller stopped.
    lab.trial.sql("fleet", "DELETE FROM event_words");
    assert_eq!(said(&data).0, ["log"]);
    assert!(rebuild_searches(&data, &mut |_, _| {}).unwrap() > 3);
    assert!(said(&data).0.is_empty());
    lab.runtime.block_on(async {
        let listen = "127.0.0.1:0".parse().unwrap();
        let running = Running::start(&data, Some(listen)).await.unwrap();
        let refused = rebuild_searches(&data, &mut |_, _| {});
        assert!(
            matches!(refused, Err(BackupError::DataDir(_))),
            "{refused:?}"
        );
        running.stop().await;
    });
    // The seal key of another fleet, and a server that is not there.
    let other = lab.made("other");
    fs::copy(other.join("seal.key"), data.join("seal.key")).unwrap();
    assert!(said(&data).0.contains(&"seal key"), "{:?}", said(&data));
    drop(lab.trial);
    assert!(said(&other).0.contains(&"database"), "{:?}", said(&other));
}

#[test]
fn a_standby_that_no_commit_waits_for_is_said_by_check() {
    let lab = Lab::start();
    let data = lab.made("fleet");
    let superuser = "database role";
    let standby = lab.trial.standby();
    assert_eq!(said(&data), (vec![], vec![superuser]));

    for reset in [
        "ALTER SYSTEM RESET synchronous_standby_names",
        "SELECT pg_reload_conf()",
    ] {
        lab.trial.sql("postgres", reset);
    }
    let warned = said(&data);
    drop(standby);

    assert_eq!(warned, (vec![], vec!["standbys", superuser]));
}
