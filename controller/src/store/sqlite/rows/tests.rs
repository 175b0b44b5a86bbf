use std::path::Path;

use fleet::{EventKind, Role};
use tempfile::TempDir;

use super::*;
use crate::store::Store;
use crate::store::fixture::{self, NOW_MS, apply, change, event, invitation, join, new_member};
use crate::store::model::{ChangeOutcome, EnrollConflict, EnrollOutcome, TokenFate};
use crate::store::sql::Set;
use crate::store::sqlite::migrations;

const SECRET: [u8; 32] = [1; 32];

fn key() -> RowKey {
    SealKey::new(&[7; 32]).row_key()
}

/// The database as an editor has it, who does not know the key.
fn editor(dir: &Path) -> Sqlite {
    Sqlite::open(dir.join("controller.db")).unwrap()
}

/// What `check` and every start find.
fn found(dir: &Path) -> (Vec<(&'static str, String)>, Vec<String>) {
    fixture::altered(dir)
}

/// A fleet with an owner, a host, a locked user, an open token, a policy and an operator who was removed.
async fn fleet(dir: &Path) -> Store {
    let store = fixture::open(dir).await;
    join(&store, Role::Owner, "root").await;
    join(&store, Role::Host, "web").await;
    join(&store, Role::User, "alice").await;
    join(&store, Role::User, "gone").await;
    let locked = store.lock(change(Role::User, "alice", None), EventKind::Locked);
    locked.await.unwrap();
    store
        .remove(change(Role::User, "gone", None))
        .await
        .unwrap();
    let mut token = invitation(Role::User);
    token.id = "00ff00ff00ff".to_owned();
    let created = event(EventKind::Operator, "token for user (00ff00ff00ff)");
    store.create_token(SECRET, token, created).await.unwrap();
    apply(&store, 0, "# nothing\n").await;
    let seed = zeroize::Zeroizing::new([9; 32]);
    store
        .audit_keys("prod".to_owned(), seed, NOW_MS)
        .await
        .unwrap();
    store
}

#[tokio::test]
async fn every_edit_of_a_row_that_decides_is_found_and_named_once_and_nothing_else_is() {
    for (edit, table, row) in [
        (
            "UPDATE members SET locked_at_ms = NULL, lock_reason = '', locked_by = ''
             WHERE name = 'alice'",
            "members",
            "(user alice)",
        ),
        (
            "UPDATE members SET role = 'owner' WHERE name = 'alice'",
            "members",
            "(owner alice)",
        ),
        (
            "UPDATE members SET scope = '{\"a\":\"b\"}' WHERE role = 'owner'",
            "members",
            "root",
        ),
        (
            "UPDATE member_keys SET identity_key = exchange_key WHERE member = 2",
            "member_keys",
            "2",
        ),
        (
            "UPDATE tokens SET role = 'owner' WHERE redeemed_at_ms IS NULL",
            "tokens",
            "00ff00ff00ff",
        ),
        (
            "UPDATE policies SET author = 'eve'",
            "policies",
            "generation 1",
        ),
        (
            "UPDATE meta SET value = (SELECT value FROM meta WHERE key = 'claim_epoch')
             WHERE key = 'replay_floor_secs'",
            "meta",
            "replay_floor_secs",
        ),
        (
            "UPDATE meta SET value = (SELECT value FROM meta WHERE key = 'journal_epoch')
             WHERE key = 'set_back'",
            "meta",
            "set_back",
        ),
        (
            "UPDATE departed_users SET removed_by = 'eve'",
            "departed_users",
            "gone",
        ),
        ("UPDATE audit_keys SET public = 'x'", "audit_keys", "1"),
        ("UPDATE journals SET epoch = 'x'", "journals", "(x)"),
        (
            "INSERT INTO former_names (key, role, name) VALUES (2, 'host', 'db')",
            "former_names",
            "of key 2",
        ),
        // One row in the place of another, with the MAC that it had there.
        (
            "UPDATE members SET mac = (SELECT mac FROM members WHERE name = 'root')
             WHERE name = 'web'",
            "members",
            "(host web)",
        ),
        (
            "UPDATE members SET mac = NULL WHERE name = 'web'",
            "members",
            "(host web)",
        ),
    ] {
        let dir = TempDir::new().unwrap();
        fleet(dir.path()).await.close().await;
        assert_eq!(found(dir.path()), Default::default());
        assert!(fixture::edit(dir.path(), edit) > 0, "{edit}");
        let (altered, disagreements) = found(dir.path());
        let [(of, named)] = &*altered else {
            panic!("{edit}: {altered:?}");
        };
        assert!(
            disagreements.is_empty(),
            "{edit}: said twice: {disagreements:?}"
        );
        assert!(*of == table && named.contains(row), "{edit}: {of} {named}");
    }
}

#[tokio::test]
async fn whoever_an_editor_of_the_database_has_unlocked_or_given_a_role_or_key_is_not_let_in() {
    let dir = TempDir::new().unwrap();
    fleet(dir.path()).await.close().await;
    fixture::edit(
        dir.path(),
        "UPDATE members SET locked_at_ms = NULL, lock_reason = '', locked_by = '' WHERE name = 'alice';
         UPDATE member_keys SET identity_key = (SELECT exchange_key FROM member_keys WHERE member = 2)
             WHERE member = 1;
         UPDATE tokens SET role = 'owner' WHERE redeemed_at_ms IS NULL;",
    );

    let store = fixture::open(dir.path()).await;

    for (role, name, is_active) in [
        (Role::User, "alice", false),
        (Role::Owner, "root", false),
        (Role::Host, "web", true),
    ] {
        let member = store.member_named(role, name.to_owned()).await.unwrap();
        assert_eq!(member.unwrap().is_active(), is_active, "{name}");
    }
    // The others are served, and what was changed can be removed.
    let token = store.token(SECRET.to_vec()).await.unwrap().unwrap();
    assert_eq!(token.fate(NOW_MS), TokenFate::Revoked);
    let joiner = new_member(Role::Owner, "mallory");
    let joined = store
        .enroll(
            SECRET.to_vec(),
            joiner,
            event(EventKind::Enrolled, "x"),
            NOW_MS,
        )
        .await;
    let refused = EnrollOutcome::Refused(EnrollConflict::TokenRevoked);
    assert_eq!(joined.unwrap(), refused);
    join(&store, Role::User, "bob").await;
    let removed = store.remove(change(Role::User, "alice", None)).await;
    assert!(matches!(removed.unwrap(), ChangeOutcome::Done(_)));
    assert!(join(&store, Role::User, "alice").await.is_active());
}

#[tokio::test]
async fn no_write_of_the_controller_gives_a_row_that_was_changed_a_good_mac() {
    let dir = TempDir::new().unwrap();
    let store = fleet(dir.path()).await;
    fixture::edit(
        dir.path(),
        "UPDATE members SET role = 'owner' WHERE name = 'web';
         UPDATE meta SET value = (SELECT value FROM meta WHERE key = 'claim_epoch')
             WHERE key = 'replay_floor_secs';",
    );
    let before = found(dir.path()).0;

    let lock = store
        .lock(change(Role::Owner, "web", None), EventKind::Locked)
        .await;

    assert!(
        matches!(
            lock,
            Err(StoreError::Altered {
                table: "members",
                ..
            })
        ),
        "{lock:?}"
    );
    let claimed = store.fleet_state().await;
    assert!(
        matches!(claimed, Err(StoreError::Altered { table: "meta", .. })),
        "{claimed:?}"
    );
    assert_eq!(found(dir.path()).0, before);
    assert_eq!(before.len(), 2);
}

/// Writes something into every table, each in one set: a column of rows that are there, or new rows.
fn write_sets(connection: &Connection) -> Result<(), StoreError> {
    for (table, find, write) in [
        (
            "meta",
            "SELECT key, value FROM meta WHERE key IN ('replay_floor_secs', 'claim_epoch')",
            "INSERT INTO meta (key, value) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        ),
        (
            "members",
            "SELECT id, 'reason ' || name FROM members",
            "UPDATE members SET lock_reason = ?2 WHERE id = ?1",
        ),
        (
            "member_keys",
            "SELECT id, 'reason ' || id FROM member_keys",
            "UPDATE member_keys SET lock_reason = ?2 WHERE id = ?1",
        ),
        (
            "former_names",
            "SELECT id, 'name ' || id FROM member_keys",
            "INSERT INTO former_names (key, role, name) VALUES (?1, 'user', ?2)",
        ),
        (
            "departed_users",
            "SELECT 'other ' || name, removed_at_ms FROM departed_users
             UNION ALL SELECT 'third', 3 FROM departed_users",
            "INSERT INTO departed_users (name, removed_at_ms, removed_by) VALUES (?1, ?2, 'x')",
        ),
        (
            "tokens",
            "SELECT secret_hash, 'name ' || id FROM tokens",
            "UPDATE tokens SET key_name = ?2 WHERE secret_hash = ?1",
        ),
        (
            "policies",
            "SELECT generation, 'message ' || generation FROM policies",
            "UPDATE policies SET message = ?2 WHERE generation = ?1",
        ),
        (
            "audit_keys",
            "SELECT id, made_at_ms + 1 FROM audit_keys",
            "UPDATE audit_keys SET made_at_ms = ?2 WHERE id = ?1",
        ),
        (
            "journals",
            "SELECT id, 'epoch ' || id FROM journals",
            "UPDATE journals SET epoch = ?2 WHERE id = ?1",
        ),
    ] {
        let mut statement = connection.prepare(find)?;
        let mut set = Set::default();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            set.push([row.get::<_, Value>(0)?, row.get(1)?])?;
        }
        assert!(!set.is_empty(), "{table}");
        connection.prepare(write)?.execute_each(&set)?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_written_in_a_set_has_its_macs_in_every_table() {
    let dir = TempDir::new().unwrap();
    let store = fleet(dir.path()).await;

    store.engine.write(write_sets).await.unwrap();

    let found = found(dir.path()).0;
    assert!(found.is_empty(), "{found:?}");
    let written = store.engine.read(|connection| {
        let written = "SELECT count(*) FROM members WHERE lock_reason LIKE 'reason %'";
        let written: u64 = connection.query_row(written, [], |row| row.get(0))?;
        let of_sets = "SELECT count(*) FROM former_names WHERE mac IS NOT NULL";
        Ok((
            written,
            connection.query_row(of_sets, [], |row| row.get::<_, u64>(0))?,
        ))
    });
    assert_eq!(written.await.unwrap(), (3, 3));
}

#[tokio::test]
async fn a_set_is_refused_when_one_of_its_rows_was_changed_by_something_else() {
    let dir = TempDir::new().unwrap();
    let store = fleet(dir.path()).await;
    fixture::edit(
        dir.path(),
        "UPDATE members SET role = 'owner' WHERE name = 'web'",
    );
    let before = found(dir.path()).0;

    let written = store.engine.write(write_sets).await;

    assert!(
        matches!(
            &written,
            Err(StoreError::Altered {
                table: "members",
                ..
            })
        ),
        "{written:?}"
    );
    assert_eq!(found(dir.path()).0, before);
    assert_eq!(before.len(), 1);
}

#[tokio::test]
async fn a_trigger_or_view_that_lies_in_the_database_does_not_run_in_the_controller() {
    let dir = TempDir::new().unwrap();
    let store = fleet(dir.path()).await;
    store.close().await;
    editor(dir.path())
        .execute_batch(
            "CREATE TRIGGER evil AFTER INSERT ON events BEGIN
                 UPDATE members SET locked_at_ms = NULL WHERE name = 'alice';
             END;",
        )
        .unwrap();

    let store = fixture::open(dir.path()).await;
    store
        .record(event(EventKind::Operator, "anything"))
        .await
        .unwrap();

    let alice = store
        .member_named(Role::User, "alice".to_owned())
        .await
        .unwrap();
    assert!(!alice.unwrap().is_active());
    // And nothing in it may call what makes MACs, or removes rows of others along.
    let connection = editor(dir.path());
    writing(&connection, &key()).unwrap();
    connection
        .execute_batch("CREATE TABLE t (a, b BLOB GENERATED ALWAYS AS (row_mac('members', a)))")
        .and_then(|()| connection.execute_batch("INSERT INTO t (a) VALUES (1); SELECT b FROM t"))
        .unwrap_err();
    connection
        .pragma_update(None, "foreign_keys", true)
        .unwrap();
    connection
        .execute("DELETE FROM members WHERE name = 'web'", [])
        .unwrap();
    let keys: i64 = connection
        .query_row(
            "SELECT count(*) FROM member_keys WHERE member = 2",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(keys, 0);
}

#[tokio::test]
async fn a_row_that_was_put_back_to_what_it_once_was_is_found_by_the_log() {
    let dir = TempDir::new().unwrap();
    let store = fixture::open(dir.path()).await;
    join(&store, Role::User, "alice").await;
    fixture::edit(dir.path(), "CREATE TABLE before AS SELECT * FROM members");
    let locked = store.lock(change(Role::User, "alice", None), EventKind::Locked);
    locked.await.unwrap();
    store.close().await;
    assert_eq!(found(dir.path()), Default::default());

    fixture::edit(
        dir.path(),
        "UPDATE members SET locked_at_ms = NULL, lock_reason = '', locked_by = '',
             mac = (SELECT b.mac FROM before b WHERE b.name = 'alice') WHERE name = 'alice'",
    );

    let (altered, disagreements) = found(dir.path());
    assert!(altered.is_empty(), "{altered:?}");
    assert_eq!(
        disagreements,
        ["user alice was locked, as the log says, and is not"]
    );
}

#[tokio::test]
async fn a_database_of_before_gets_its_macs_once_and_never_again_beside_the_mark() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("controller.db");
    let mut old = Sqlite::open(&path).unwrap();
    migrations::migrations().to_version(&mut old, 13).unwrap();
    old.execute_batch(
        "INSERT INTO meta VALUES ('journal_epoch', 'e'), ('replay_floor_secs', 1);
         INSERT INTO members (role, name, address, spa_port, labels, joined_at_ms)
             VALUES ('user', 'alice', '', 0, '{}', 0);",
    )
    .unwrap();
    drop(old);
    let copy = dir.path().join("copy.db");
    std::fs::copy(&path, &copy).unwrap();

    fixture::open(dir.path()).await.close().await;
    assert_eq!(found(dir.path()), Default::default());
    // Whoever empties all of them makes nothing good.
    let tables = TABLES.map(|it| format!("UPDATE {} SET mac = NULL;", it.name));
    editor(dir.path()).execute_batch(&tables.concat()).unwrap();
    fixture::open(dir.path()).await.close().await;
    let (altered, _) = found(dir.path());
    assert!(
        altered.iter().any(|(table, _)| *table == "members"),
        "{altered:?}"
    );

    // Nor does whoever puts a database of before in its place.
    std::fs::copy(&copy, &path).unwrap();
    let refused = Store::open(&path.into(), SealKey::new(&[7; 32])).unwrap_err();
    assert!(
        matches!(refused, StoreError::Unproven { found: 13, .. }),
        "{refused}"
    );
    std::fs::remove_file(dir.path().join(MARK)).unwrap();
    fixture::open(dir.path()).await.close().await;
    assert_eq!(found(dir.path()), Default::default());
}
