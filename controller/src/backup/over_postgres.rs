//! What holds of a controller's directory whose database is at a PostgreSQL server.

use std::path::{Path, PathBuf};

use fleet::{EventKind, Role};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;
use crate::store::Store;
use crate::store::fixture::{apply, change, event, join};
use crate::store::model::{Claim, ClaimOutcome};
use crate::store::trial::{Trial, sql_at};
use crate::{Running, clock};

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

/// The first to serve from this directory, with a policy, members and a claim; then something is done beside it.
fn serving<T>(lab: &Lab, data: &Path, beside: impl AsyncFnOnce(&Store) -> T) -> T {
    lab.runtime.block_on(async {
        let listen = "127.0.0.1:0".parse().unwrap();
        let running = Running::start(data, Some(listen)).await.unwrap();
        let store = running.context().store.clone();
        let done = beside(&store).await;
        running.stop().await;
        done
    })
}

/// Does what the commands do, which are not in a task, beside one.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let working = move || std::thread::spawn(work).join().unwrap();
    tokio::task::spawn_blocking(working).await.unwrap()
}

fn claim(host: &str, digest: u8) -> Claim {
    Claim {
        domain: [7; 32],
        digest: [digest; 32],
        host: host.to_owned(),
        seq: digest.into(),
        forget_after_secs: u64::MAX / 4,
        dated_secs: clock::now().secs(),
        capped: false,
    }
}

/// Who is a member, and from when on packets are taken.
async fn seen(store: &Store) -> (Vec<String>, u64) {
    let members = store.members().await.unwrap().into_iter();
    let floor = store.fleet_state().await.unwrap().replay_floor_secs;
    (members.map(|member| member.name).collect(), floor)
}

fn backed_up(data: &Path, name: &str) -> PathBuf {
    let file = data.with_file_name(name);
    backup(data, NewArchive::create(&file).unwrap()).unwrap();
    file
}

fn restored(file: &Path, data: &Path, to: &RestoreTo) -> Result<Archived, BackupError> {
    restore(&OldArchive::open(file)?, data, (to, false))
}

#[test]
fn a_backup_made_while_controllers_serve_is_restored_to_a_server_or_into_a_file_and_refuses_what_may_have_been_claimed_since()
 {
    let lab = Lab::start();
    let data = lab.made("fleet");
    let file = serving(&lab, &data, async |store| {
        join(store, Role::Host, "web-1").await;
        join(store, Role::User, "ada").await;
        apply(
            store,
            0,
            "SOURCE ANY\nKEY a-static-key\nOPEN_PORTS tcp/22\n",
        )
        .await;
        store.claim(claim("web-1", 1)).await.unwrap();
        // Somebody writes all the time.
        let writing = store.clone();
        let writer = tokio::spawn(async move {
            loop {
                let event = event(EventKind::Refused, "meanwhile");
                writing.record(event).await.unwrap();
            }
        });
        let asked = data.clone();
        let file = beside(move || backed_up(&asked, "fleet.tar")).await;
        writer.abort();
        let status = crate::status(&data).await.unwrap();
        assert!(
            status.database_bytes > 1 << 20 && status.is_serving,
            "{status:?}"
        );
        store.claim(claim("web-1", 2)).await.unwrap();
        join(store, Role::User, "late").await;
        file
    });
    let stopped = lab.runtime.block_on(crate::status(&data)).unwrap();
    assert!(
        stopped.database_bytes > 1 << 20 && !stopped.is_serving,
        "{stopped:?}"
    );
    let findings = check_archive(&file, &mut |_, _| {}).unwrap();
    assert!(findings.iter().all(|it| it.is_sound), "{findings:?}");
    let (members, floor) = serving(&lab, &data, seen);
    assert!(members.contains(&"late".to_owned()));

    // Where it was there is a fleet, and nothing is left of the attempt.
    let to = |name: &str| lab.dir.path().join(name);
    let refused = restored(&file, &to("again"), &RestoreTo::AsItWas).unwrap_err();
    assert!(
        matches!(refused, BackupError::Copy(CopyError::NotEmpty(_))),
        "{refused:?}"
    );
    assert!(!to("again").exists());

    lab.trial.sql("postgres", "CREATE DATABASE empty");
    let other = RestoreTo::Postgres(lab.trial.settings("empty"));
    for (name, place) in [("again", &other), ("file", &RestoreTo::File)] {
        let of = restored(&file, &to(name), place).unwrap();
        assert!(!of.moved && of.fleet == "prod", "{of:?}");
        assert_eq!(to(name).join("controller.db").exists(), name == "file");
        assert_eq!(said(&to(name)).0, Vec::<&str>::new(), "{name}");
        serving(&lab, &to(name), async |store| {
            let (now, raised) = seen(store).await;
            let before: Vec<_> = members.iter().filter(|name| *name != "late").collect();
            assert_eq!(now.iter().collect::<Vec<_>>(), before, "{name}");
            assert!(raised > floor, "{name}: {raised} {floor}");
            // What was won before is not won by another, nor what may have been won since.
            for digest in [1, 2] {
                let won = store.claim(claim("web-2", digest)).await.unwrap();
                assert!(!matches!(won, ClaimOutcome::Won), "{name}: {won:?}");
            }
            assert!(store.policy_text(1).await.unwrap().is_some());
        });
    }
    // And of the file that was restored one is made that any program reads.
    let again = backed_up(&to("file"), "file.tar");
    lab.trial.sql("postgres", "CREATE DATABASE third");
    let third = RestoreTo::Postgres(lab.trial.settings("third"));
    restored(&again, &to("third"), &third).unwrap();
    assert_eq!(said(&to("third")).0, Vec::<&str>::new());
    // Another controller of before that is pointed to what was restored takes it for set back, too.
    let text = fs::read_to_string(data.join("controller.toml")).unwrap();
    let text = text.replace("dbname=fleet", "dbname=empty");
    fs::write(data.join("controller.toml"), text).unwrap();
    let (_, before) = serving(&lab, &to("again"), seen);
    std::thread::sleep(std::time::Duration::from_secs(2));
    let (_, raised) = serving(&lab, &data, seen);
    assert!(raised > before, "{raised} {before}");
}

#[test]
fn a_controller_moves_without_the_database_at_its_server_and_goes_on_there_while_others_serve() {
    let lab = Lab::start();
    let data = lab.made("fleet");
    let to = |name: &str| lab.dir.path().join(name);
    let seal = DataDir::open(&data).unwrap().seal_key_bytes().unwrap();
    let over = lab.trial.settings("fleet");
    let second = to("second");
    let joined = crate::init_join(&second, "localhost:7444", over, &seal);
    lab.runtime.block_on(joined).unwrap();
    let (_, floor) = serving(&lab, &data, seen);
    let file = to("moved.tar");

    let serve = Running::start(&data, Some("127.0.0.1:0".parse().unwrap()));
    let serves = lab.runtime.block_on(serve).unwrap();
    let refused = move_to(&data, NewArchive::create(&file).unwrap()).unwrap_err();
    assert!(
        matches!(refused, BackupError::DataDir(DataDirError::Locked(_))),
        "{refused:?}"
    );
    lab.runtime.block_on(serves.stop());
    let moved = serving(&lab, &to("second"), async |_| {
        let (data, file) = (data.clone(), file.clone());
        beside(move || move_to(&data, NewArchive::create(&file).unwrap()).unwrap()).await
    });

    assert!(moved.moved && moved.bytes < 1 << 20, "{moved:?}");
    let gone = DataDir::open(&data).unwrap_err();
    assert!(matches!(gone, DataDirError::Moved(_)), "{gone:?}");
    let findings = check_archive(&file, &mut |_, _| {}).unwrap();
    assert!(findings.iter().all(|it| it.is_sound), "{findings:?}");
    let refused = restored(&file, &to("new"), &RestoreTo::File).unwrap_err();
    assert!(
        matches!(refused, BackupError::NoDatabase { .. }),
        "{refused:?}"
    );
    lab.made("other");
    let other = RestoreTo::Postgres(lab.trial.settings("other"));
    let refused = restored(&file, &to("new"), &other).unwrap_err();
    assert!(
        matches!(refused, BackupError::OtherDatabase(_)),
        "{refused:?}"
    );
    restored(&file, &to("new"), &RestoreTo::AsItWas).unwrap();
    let twice = restored(&file, &to("twice"), &RestoreTo::AsItWas).unwrap_err();
    assert!(matches!(twice, BackupError::Taken { .. }), "{twice:?}");
    assert_eq!(said(&to("new")).0, Vec::<&str>::new());
    assert_eq!(serving(&lab, &to("new"), seen).1, floor);
    assert_eq!(serving(&lab, &to("second"), seen).1, floor);
}

#[test]
fn rows_of_a_server_that_something_else_has_written_are_not_made_the_controllers_own_by_anything() {
    let lab = Lab::start();
    let data = lab.made("fleet");
    serving(&lab, &data, async |store| {
        join(store, Role::Owner, "root").await;
        join(store, Role::User, "alice").await;
        join(store, Role::User, "bob").await;
    });
    assert!(data.join("rows-proven").exists());
    lab.trial.sql(
        "fleet",
        "UPDATE members SET role = 'owner' WHERE name = 'alice'",
    );
    assert_eq!(said(&data).0, ["rows"]);

    // Not by a rotation of the seal key, a backup, or a copy to another place.
    crate::rotate_seal_key(&data).unwrap();
    assert_eq!(said(&data).0, ["rows"]);
    let file = backed_up(&data, "fleet.tar");
    let inside = check_archive(&file, &mut |_, _| {}).unwrap();
    let inside: Vec<_> = inside
        .iter()
        .filter(|it| !it.is_sound)
        .map(|it| it.what)
        .collect();
    assert_eq!(inside, ["rows"]);
    let copied = crate::copy_database(&data, None, &mut |_| {}).unwrap_err();
    assert!(
        program::one_line(&copied).to_string().contains("alice"),
        "{copied:?}"
    );

    // Not by a trigger that changes what the controller writes, or adds to it.
    lab.trial.sql(
        "fleet",
        "CREATE FUNCTION evil() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN NEW.role := ''owner''; RETURN NEW; END';
         CREATE TRIGGER evil BEFORE INSERT OR UPDATE ON members FOR EACH ROW EXECUTE FUNCTION evil()",
    );
    serving(&lab, &data, async |store| {
        let locked = store
            .lock(change(Role::User, "bob", None), EventKind::Locked)
            .await;
        assert!(
            matches!(locked, Err(StoreError::Altered { .. })),
            "{locked:?}"
        );
    });
    lab.trial.sql("fleet", "DROP TRIGGER evil ON members");
    serving(&lab, &data, async |store| {
        store
            .remove(change(Role::Owner, "alice", None))
            .await
            .unwrap();
        store
            .lock(change(Role::User, "bob", None), EventKind::Locked)
            .await
            .unwrap();
    });
    assert!(said(&data).0.is_empty(), "{:?}", said(&data));

    // Nor by taking away all that says so.
    let taken: Vec<String> = [
        "members",
        "member_keys",
        "tokens",
        "meta",
        "journals",
        "audit_keys",
    ]
    .map(|table| format!("UPDATE {table} SET mac = NULL;"))
    .to_vec();
    lab.trial.sql("fleet", &taken.concat());
    lab.trial
        .sql("fleet", "DELETE FROM meta WHERE key = 'rows_proven'");
    let words = refused(&lab, &data);
    assert!(
        words.contains("nobody can tell what else has changed it"),
        "{words}"
    );
    // Unless its owner says that it is right.
    fs::remove_file(data.join("rows-proven")).unwrap();
    lab.serve(&data);
    assert!(said(&data).0.is_empty(), "{:?}", said(&data));
}

/// Why a controller does not start from here.
fn refused(lab: &Lab, data: &Path) -> String {
    let listen = "127.0.0.1:0".parse().unwrap();
    let started = lab.runtime.block_on(Running::start(data, Some(listen)));
    program::one_line(&started.unwrap_err()).to_string()
}

#[test]
fn the_seal_key_is_rotated_over_postgresql_while_nobody_serves_and_each_other_controller_asks_for_it_by_name()
 {
    let lab = Lab::start();
    let data = lab.made("fleet");
    let to = |name: &str| lab.dir.path().join(name);
    let key = |data: &Path| DataDir::open(data).unwrap().seal_key_bytes().unwrap();
    let id = |data: &Path| {
        DataDir::open(data)
            .unwrap()
            .seal_key()
            .unwrap()
            .id()
            .to_owned()
    };
    let (second, old) = (to("second"), key(&data));
    let over = || lab.trial.settings("fleet");
    let joined = crate::init_join(&second, "localhost:7444", over(), &old);
    lab.runtime.block_on(joined).unwrap();
    let (before, members) = serving(&lab, &second, async |store| {
        apply(
            store,
            0,
            "SOURCE ANY\nKEY a-static-key\nOPEN_PORTS tcp/22\n",
        )
        .await;
        let told = data.clone();
        let rotated = beside(move || crate::rotate_seal_key(&told)).await;
        // Another serves, and would be cut off.
        let said = rotated.unwrap_err();
        (program::one_line(&said).to_string(), seen(store).await)
    });
    assert!(
        before.contains("a controller uses the database"),
        "{before}"
    );
    assert!(key(&data) == old && !data.join("seal.key.new").exists());

    let (resealed, _) = crate::rotate_seal_key(&data).unwrap();

    assert_eq!(resealed.others, 1);
    assert!(resealed.rows >= 3, "{resealed:?}");
    assert!(
        key(&data) != old && said(&data).0.is_empty(),
        "{:?}",
        said(&data)
    );
    // The other says which key it has and which is meant, and changes nothing.
    let (theirs, ours) = (id(&second), id(&data));
    let words = refused(&lab, &second);
    assert!(words.contains(&theirs) && words.contains(&ours), "{words}");
    let found = check(&second, &mut |_, _| {}).unwrap();
    let found: Vec<_> = found.iter().filter(|it| !it.is_sound).collect();
    assert!(found.len() == 1 && found[0].what == "seal key", "{found:?}");
    assert!(found[0].detail.contains(&ours), "{found:?}");
    // So does whoever would join with the old one.
    let third = to("third");
    let joined = crate::init_join(&third, "localhost:7445", over(), &old);
    let words = lab.runtime.block_on(joined).unwrap_err();
    let words = program::one_line(&words).to_string();
    assert!(words.contains(&theirs) && words.contains(&ours), "{words}");
    assert!(!third.exists());
    // The new one is brought; another is not taken.
    let wrong = crate::install_seal_key(&second, &[5; 32]).unwrap_err();
    assert!(
        matches!(wrong, crate::StartError::WrongSealKey { .. }),
        "{wrong:?}"
    );
    assert!(key(&second) == old);
    crate::install_seal_key(&second, &key(&data)).unwrap();
    assert_eq!(serving(&lab, &second, seen), members);

    // Killed after the database was sealed, before the key took its place.
    let dir = DataDir::open(&data).unwrap();
    let (now, next) = (key(&data), [6; 32]);
    dir.begin_rotation(&next).unwrap();
    let place = Place::Postgres(over());
    let event = event(EventKind::Operator, "rotated");
    store::reseal(&place, (&now, &next), (event, None)).unwrap();
    serving(&lab, &data, async |store| {
        assert!(store.policy_text(1).await.unwrap().is_some());
    });
    assert!(*key(&data) == next && !data.join("seal.key.new").exists());
    // And before that.
    dir.begin_rotation(&[8; 32]).unwrap();
    serving(&lab, &data, seen);
    assert!(*key(&data) == next && !data.join("seal.key.new").exists());
}

#[test]
fn a_controller_that_was_away_while_the_seal_key_was_rotated_writes_nothing_under_the_old_one() {
    let lab = Lab::start();
    let data = lab.made("fleet");
    serving(&lab, &data, async |store| {
        store.try_to_write().await.unwrap();
        let (dir, over) = (data.clone(), lab.trial.settings("fleet"));
        beside(move || {
            let old = DataDir::open(&dir).unwrap().seal_key_bytes().unwrap();
            let gone = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE application_name LIKE 'postern-controller%' AND pid <> pg_backend_pid()";
            let at = over.clone();
            let place = Place::Postgres(over);
            let event = event(EventKind::Operator, "rotated");
            for _ in 0..20 {
                sql_at(&at, gone);
                let told = (event.clone(), None);
                match store::reseal(&place, (&old, &[6; 32]), told) {
                    Ok(_) => return,
                    Err(StoreError::InUse(_)) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
            panic!("never alone");
        })
        .await;

        let refused = store.try_to_write().await.unwrap_err();
        let read = store.members().await.unwrap_err();

        for error in [refused, read] {
            let said = program::one_line(&error).to_string();
            assert!(
                said.contains("the database is sealed under seal key"),
                "{said}"
            );
        }
    });
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

    let schema = format!("UPDATE schema_version SET schema = {}", store::SCHEMA);
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
        ("UPDATE schema_version SET schema = 99", &schema, "schema"),
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
    assert!(said(&other).0.contains(&"connection"), "{:?}", said(&other));
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
