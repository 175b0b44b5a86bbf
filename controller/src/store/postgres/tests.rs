//! What holds over PostgreSQL: everything that holds over SQLite, and what is its own.

use std::collections::BTreeMap;
use std::process::Command;

use super::trial::Trial;
use crate::store::sqlite::migrations as of_sqlite;

/// Tests of what is SQLite's alone.
const OF_SQLITE: [&str; 11] = [
    "a_policys_text_is_not_in_the_files_of_the_store",
    // A file and what lies in it.
    "a_trigger_or_view_that_lies_in_the_database_does_not_run_in_the_controller",
    "a_database_of_before_gets_its_macs_once_and_never_again_beside_the_mark",
    // A rotation wants to be alone.
    "a_pass_that_was_given_before_the_seal_key_was_rotated_is_ours_for_many_rotations",
    // Whoever has the file changes it behind the controller's back.
    "nothing_of_what_retention_has_emptied_is_found_by_anything",
    "a_record_that_somebody_else_empties_is_found_beside_what_retention_has_emptied",
    "a_log_that_was_cut_with_all_that_was_signed_is_found_once_with_the_evidence",
    "a_log_that_was_rewritten_is_found_by_the_controller_and_by_whoever_keeps_a_checkpoint",
    "a_rotation_that_is_killed_between_any_two_steps_is_done_or_not_and_the_old_secret_goes",
    "a_second_loss_is_said_again",
    "what_the_former_key_signed_of_a_log_that_was_cut_before_it_ended_is_evidence_still",
];
/// Tests of what the store is used by, and its own.
const WITH_A_STORE: [&str; 4] = ["store::tests::", "app::", "audit::tests::", "rows::tests::"];
/// Durability is tested by itself.
const FAST: &str = "fsync = off\nsynchronous_commit = off\nfull_page_writes = off";

/// Runs tests of this program over a server, and says how many passed.
fn run_over(trial: &Trial, which: &[&str]) -> usize {
    let (name, socket) = trial.for_children();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(which).args(["--test-threads", "4"]);
    for test in OF_SQLITE {
        command.args(["--skip", test]);
    }
    // Of the runner that this test runs under.
    command.env_remove("NEXTEST").env(name, socket);
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}");
    let passed = said.split("test result: ok. ").nth(1).unwrap();
    passed.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn the_store_over_postgresql_does_what_it_does_over_sqlite() {
    let trial = Trial::start(FAST);

    let passed = run_over(&trial, &WITH_A_STORE);

    assert!(passed >= 150, "{passed}");
    // Most had a schema of their own.
    let found = trial.count("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 't%'");
    assert!(found > 100, "{found}");
}

#[test]
fn both_engines_have_the_same_tables_and_columns() {
    let trial = Trial::start(FAST);
    trial.sql("postgres", "CREATE DATABASE fleet");
    let server = super::Server::of(&trial.settings("fleet")).unwrap();
    let server = server.to_write().unwrap();
    super::migrations::bring_up_to_date(&server).unwrap();
    // Again, as the next start does.
    super::migrations::bring_up_to_date(&server).unwrap();
    let mut sqlite = rusqlite::Connection::open_in_memory().unwrap();
    of_sqlite::apply(&mut sqlite).unwrap();

    let columns = |connection: &crate::store::sql::Connection, sql: &str| {
        let mut found = BTreeMap::new();
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| {
            let of: (String, String) = (row.get(0)?, row.get(1)?);
            let is: (String, bool) = (row.get(2)?, row.get(3)?);
            Ok((of, is))
        });
        found.extend(rows.unwrap().map(Result::unwrap));
        found
    };
    let ours = columns(
        &sqlite,
        "SELECT t.name, c.name,
                CASE c.type WHEN 'INTEGER' THEN 'bigint' WHEN 'TEXT' THEN 'text'
                            WHEN 'BLOB' THEN 'bytea' WHEN 'ANY' THEN 'bit varying' ELSE c.type END,
                c.\"notnull\" OR c.pk > 0
         FROM sqlite_schema t JOIN pragma_table_info(t.name) c
         WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'",
    );
    let theirs = columns(
        &server,
        "SELECT CAST(table_name AS text), CAST(column_name AS text), CAST(data_type AS text),
                is_nullable = 'NO'
         FROM information_schema.columns WHERE table_schema = 'public'
             AND table_name NOT IN ('last_ids', 'writers', 'schema_version')",
    );

    assert_eq!(ours, theirs);
    assert!(ours.len() > 150, "{}", ours.len());
    let newest = super::migrations::STEPS.last().map(|(schema, _)| *schema);
    assert_eq!(newest, Some(crate::store::sqlite::schema::SCHEMA));
}

#[test]
fn a_controller_is_made_and_serves_over_postgresql_and_another_fleet_is_left_alone() {
    let trial = Trial::start(FAST);
    trial.sql("postgres", "CREATE DATABASE fleet");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::TempDir::new().unwrap();
    let (first, second) = (dir.path().join("a"), dir.path().join("b"));
    let named = ("localhost:7443", "prod");
    let over = || Some(trial.settings("fleet"));

    runtime.block_on(async {
        crate::init_over(&first, named, over()).await.unwrap();
        let twice = crate::init_over(&second, named, over()).await;
        assert!(
            matches!(twice, Err(crate::StartError::FleetExists)),
            "{twice:?}"
        );
        assert!(!second.exists(), "nothing of what was refused is left");
        for _ in 0..2 {
            let listen = "127.0.0.1:0".parse().unwrap();
            let running = crate::Running::start(&first, Some(listen)).await.unwrap();
            running.context().store.try_to_write().await.unwrap();
            running.stop().await;
        }
    });

    assert!(!first.join("controller.db").exists());
    let backed_up = crate::data_dir::DataDir::open(&first)
        .unwrap()
        .existing_database();
    let said = backed_up.unwrap_err().to_string();
    assert!(said.contains("at a PostgreSQL server"), "{said}");
}

#[test]
fn a_write_undoes_itself_alone_whatever_it_makes_of_a_statement_that_failed() {
    let trial = Trial::start(FAST);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let engine = trial.engine();
    let write = |numbers: &'static [i64], is_told: bool| {
        let engine = engine.clone();
        runtime.spawn(async move {
            let work = move |connection: &crate::store::sql::Connection| {
                for number in numbers {
                    let insert = "INSERT INTO claim_dates_won (host, through_secs) VALUES (?1, 0)";
                    let done = connection.execute(insert, [format!("{number}")]);
                    if is_told {
                        done?;
                    }
                }
                Ok(())
            };
            engine.write(work).await
        })
    };
    // They meet in one transaction: another holds the lock until all of them wait.
    let lock = super::Server::of(&trial.settings("postgres")).unwrap();
    let lock = lock.to_write().unwrap();
    lock.batch(&format!("BEGIN; {}", super::LOCK)).unwrap();
    let lots: [&[i64]; 7] = [&[1], &[2, 1], &[3, 1], &[4], &[5, 4], &[6], &[7, 6]];
    let writes = lots.map(|lot| (lot, write(lot, ![3, 5].contains(&lot[0]))));
    std::thread::sleep(std::time::Duration::from_millis(300));
    lock.batch("COMMIT").unwrap();
    let (mut kept, mut expected) = (0, 0);
    for (lot, write) in writes {
        if runtime.block_on(write).unwrap().is_ok() {
            kept += 1;
            expected += lot.iter().sum::<i64>();
        }
    }

    runtime.block_on(engine.close());
    let there = "SELECT CAST(sum(CAST(host AS bigint)) AS bigint) FROM claim_dates_won";
    assert_eq!(i64::try_from(trial.count(there)).unwrap(), expected);
    // Of those that want the same, the first.
    assert_eq!(kept, 3);
}

#[test]
fn what_a_controller_of_the_schema_before_executes_is_prepared_on_this_schema() {
    let before = crate::store::sqlite::schema::SCHEMA - 1;
    let folder = format!("{}/../migrations/older", env!("CARGO_MANIFEST_DIR"));
    let trial = Trial::start(FAST);
    drop(trial.engine());
    let at = trial.settings("postgres").url;
    let mut client = postgres::Client::connect(&at, postgres::NoTls).unwrap();

    for schema in super::migrations::OLDEST_PROGRAM..=before {
        let file = format!("{folder}/{schema}.sql");
        let kept = match std::fs::read_to_string(&file) {
            // Of those farther back, which are not refused, some may never have been one before.
            Err(_) if schema < before => continue,
            kept => kept.unwrap_or_else(|error| panic!("{file}: {error}: `make older` makes it")),
        };
        let mut prepared = 0;
        for sql in kept.lines().filter(|line| !line.starts_with("--")) {
            if let Err(error) = client.prepare(sql) {
                panic!("{file}: {sql}: {error:?}");
            }
            prepared += 1;
        }
        assert!(prepared > 150, "{prepared}");
    }
}

#[test]
fn where_rows_have_their_macs_no_controller_starts_that_makes_none() {
    let trial = Trial::start(FAST);
    for _ in 0..2 {
        let engine = trial.engine();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let oldest = engine.write(crate::store::sqlite::meta::oldest_program);
        let oldest = runtime.block_on(oldest).unwrap().unwrap().0;
        assert_eq!(oldest, super::proving::PROVES_SINCE);
        runtime.block_on(engine.close());
    }
    // Else the one before may go on, over either engine.
    let before = crate::store::sqlite::schema::SCHEMA - 1;
    assert!(super::migrations::OLDEST_PROGRAM <= before);
    assert!(of_sqlite::OLDEST_PROGRAM <= before);
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let dir = tempfile::TempDir::new().unwrap();
    let settings = crate::PostgresSettings {
        url: format!("host={} user=postern port=5433", dir.path().display()),
        password_file: None,
        ca_file: None,
    };

    let error = super::Postgres::open(&settings, &super::SealKey::new(&[7; 32]), None)
        .unwrap_err()
        .to_string();

    let socket = format!("{}/.s.PGSQL.5433", dir.path().display());
    assert_eq!(error, format!("the database cannot be reached at {socket}"));
}
