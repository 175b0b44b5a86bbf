//! Rows that nobody else can have written: each has a MAC under a key that is not in the database.
//!
//! Whoever can write into the database, and cannot read the seal key, could else unlock a member or turn a
//! token into an owner's. The MAC covers the name of the table and every column that decides, with those that
//! name the row, so that no row can be put in the place of another.
//!
//! It is made by triggers of the writer's own connection, which are not in the database: no statement can
//! forget it. A row whose MAC is not its own is not written over but only removed, so that nothing gives it a
//! good one. Triggers and views that lie in the database itself are switched off: they would be somebody
//! else's. That a row was put back to what it once was is told by the log (`recorded`).

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection as Sqlite, TransactionBehavior};

use crate::store::error::StoreError;
use crate::store::seal::{RowKey, RowMac, SealKey};
use crate::store::sql::table::Table;
use crate::store::sql::{Connection, Value, params_from_iter};

/// The first schema whose rows have MACs.
pub(in crate::store) const SINCE_SCHEMA: u32 = 14;
/// Of the file beside the database that says that its rows were given theirs: an editor of the database could
/// take away what said so in there.
const MARK: &str = "rows-proven";
/// What begins the message of a trigger that refuses to write over a row.
const ALTERED: &str = "postern-altered ";

const PURE: FunctionFlags = FunctionFlags::SQLITE_UTF8.union(FunctionFlags::SQLITE_DETERMINISTIC);

/// Facts that decide (`meta`).
pub(super) const FACTS: [&str; 11] = [
    "replay_floor_secs",
    "journal_epoch",
    "claim_epoch",
    "claim_dates_since_secs",
    "set_back",
    "signed_size",
    "retention_step",
    "retained_after",
    "retained_noise_after",
    "authority_states",
    "authority_begun",
];

pub(super) const META: Table = Table {
    name: "meta",
    key: &["key"],
    columns: &["value"],
    only: &FACTS,
    named: "{}.key",
};
pub(super) const MEMBERS: Table = Table {
    name: "members",
    key: &["id"],
    columns: &[
        "role",
        "name",
        "address",
        "spa_port",
        "labels",
        "joined_at_ms",
        "locked_at_ms",
        "lock_reason",
        "locked_by",
        "addresses",
        "scope",
    ],
    only: &[],
    named: "{}.id || ' (' || {}.role || ' ' || {}.name || ')'",
};
pub(super) const KEYS: Table = Table {
    name: "member_keys",
    key: &["id"],
    columns: &[
        "member",
        "name",
        "identity_key",
        "exchange_key",
        "joined_at_ms",
        "renewed_at_ms",
        "locked_at_ms",
        "lock_reason",
        "locked_by",
        "authorities",
        "issuer",
        "follows",
        "rotation_asked_ms",
    ],
    only: &[],
    named: "{}.id || ' (key ' || {}.name || ' of member ' || {}.member || ')'",
};
pub(super) const FORMER_NAMES: Table = Table {
    name: "former_names",
    key: &["key", "role", "name"],
    columns: &[],
    only: &[],
    named: "'of key ' || {}.key || ' (' || {}.role || ' ' || {}.name || ')'",
};
pub(super) const DEPARTED: Table = Table {
    name: "departed_users",
    key: &["name"],
    columns: &["removed_at_ms", "removed_by"],
    only: &[],
    named: "{}.name",
};
pub(super) const TOKENS: Table = Table {
    name: "tokens",
    key: &["secret_hash"],
    columns: &[
        "role",
        "name",
        "labels",
        "created_by",
        "created_at_ms",
        "expires_at_secs",
        "redeemed_at_ms",
        "redeemed_by",
        "member",
        "id",
        "key_name",
        "replaces",
        "creator",
        "revoked_at_ms",
        "revoked_by",
        "member_key",
        "redeemed_name",
        "scope",
    ],
    only: &[],
    named: "{}.id",
};
/// The text is sealed for its generation.
pub(super) const POLICIES: Table = Table {
    name: "policies",
    key: &["generation"],
    columns: &[
        "author",
        "message",
        "at_ms",
        "rollback_of",
        "stanzas",
        "file",
    ],
    only: &[],
    named: "'generation ' || {}.generation",
};
pub(super) const AUDIT_KEYS: Table = Table {
    name: "audit_keys",
    key: &["id"],
    columns: &["public", "sealed_seed", "made_at_ms", "succession"],
    only: &[],
    named: "{}.id",
};
/// Whose each is; how far it goes is chained.
pub(super) const JOURNALS: Table = Table {
    name: "journals",
    key: &["id"],
    columns: &["host", "epoch", "member", "retired", "forked_from"],
    only: &[],
    named: "{}.id || ' (' || {}.epoch || ')'",
};

/// Every one.
pub(in crate::store) static TABLES: [&Table; 9] = [
    &META,
    &MEMBERS,
    &KEYS,
    &FORMER_NAMES,
    &DEPARTED,
    &TOKENS,
    &POLICIES,
    &AUDIT_KEYS,
    &JOURNALS,
];

// === impl Table ===

impl Table {
    /// Whether a row's MAC is its own, as SQL; `alias` is what the table is called in the statement. An engine
    /// that cannot tell takes every row.
    pub(super) fn good(&self, connection: &Connection, alias: &str) -> String {
        if connection.proves_rows() {
            self.is_good(alias)
        } else {
            "true".to_owned()
        }
    }

    fn is_good(&self, alias: &str) -> String {
        format!("row_is_good({alias}.mac, {})", self.covered(alias))
    }

    /// What a MAC covers.
    fn covered(&self, alias: &str) -> String {
        let columns = self.key.iter().chain(self.columns);
        let columns = columns.map(|column| format!("{alias}.{column}"));
        std::iter::once(format!("'{}'", self.name))
            .chain(columns)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Which rows have one at all, as the condition of a trigger or a statement.
    fn concerns(&self, alias: &str) -> String {
        let [key, ..] = self.key else {
            return "true".to_owned();
        };
        if self.only.is_empty() {
            return "true".to_owned();
        }
        let only: Vec<String> = self.only.iter().map(|it| format!("'{it}'")).collect();
        format!("{alias}.{key} IN ({})", only.join(", "))
    }

    /// What names a row to people, as SQL.
    fn named(&self, alias: &str) -> String {
        self.named.replace("{}", alias)
    }

    /// The triggers that make a row's MAC, and refuse to write over one that is not good.
    fn triggers(&self) -> String {
        let Self {
            name, key, columns, ..
        } = self;
        let covered: Vec<&str> = key.iter().chain(*columns).copied().collect();
        let is_it: Vec<String> = key.iter().map(|it| format!("{it} = NEW.{it}")).collect();
        let (covered, is_it) = (covered.join(", "), is_it.join(" AND "));
        let make = format!(
            "BEGIN UPDATE {name} SET mac = row_mac({}) WHERE {is_it}; END",
            self.covered("NEW")
        );
        let (old, new) = (self.concerns("OLD"), self.concerns("NEW"));
        format!(
            "CREATE TEMP TRIGGER {name}_keep BEFORE UPDATE OF {covered} ON main.{name}
                 WHEN {old} AND NOT {good}
                 BEGIN SELECT RAISE(ABORT, '{ALTERED}{name} ' || {row}); END;
             CREATE TEMP TRIGGER {name}_made AFTER INSERT ON main.{name} WHEN {new} {make};
             CREATE TEMP TRIGGER {name}_changed AFTER UPDATE OF {covered} ON main.{name}
                 WHEN {new} {make};",
            good = self.is_good("OLD"),
            row = self.named("OLD"),
        )
    }
}

/// Makes a connection one that can tell which rows are good.
pub(in crate::store) fn reading(connection: &Sqlite, key: &RowKey) -> Result<(), rusqlite::Error> {
    // What lies in the database may be somebody else's: it is not run, and may not call what makes MACs.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    let key = key.clone();
    connection.create_scalar_function("row_is_good", -1, PURE, move |row: &Context<'_>| {
        let mac = row.get_raw(0).as_blob_or_null().unwrap_or_default();
        Ok(mac.is_some_and(|mac| mac_of(&key, row, 1).is(mac)))
    })
}

/// Makes a connection one whose writes make MACs.
pub(super) fn writing(connection: &Sqlite, key: &RowKey) -> Result<(), rusqlite::Error> {
    reading(connection, key)?;
    make_with(connection, key)?;
    let triggers: Vec<String> = TABLES.iter().map(|table| table.triggers()).collect();
    connection.execute_batch(&triggers.concat())
}

fn make_with(connection: &Sqlite, key: &RowKey) -> Result<(), rusqlite::Error> {
    let key = key.clone();
    connection.create_scalar_function("row_mac", -1, PURE, move |row: &Context<'_>| {
        Ok(mac_of(&key, row, 0).finish().to_vec())
    })
}

/// Of the arguments from `first` on: each by its type, how long it is, and its bytes.
fn mac_of(key: &RowKey, row: &Context<'_>, first: usize) -> RowMac {
    let mut mac = key.begin();
    for at in first..row.len() {
        match row.get_raw(at) {
            ValueRef::Null => mac.field(0, &[]),
            ValueRef::Integer(number) => mac.field(1, &number.to_be_bytes()),
            ValueRef::Real(number) => mac.field(2, &number.to_bits().to_be_bytes()),
            ValueRef::Text(text) => mac.field(3, text),
            ValueRef::Blob(bytes) => mac.field(4, bytes),
        }
    }
    mac
}

/// Refuses a database of before beside a mark: whoever puts one there could have written into it what he
/// likes. `found` is the schema that it has before it is brought up to date.
pub(super) fn check_mark(path: &Path, found: u32) -> Result<(), StoreError> {
    let mark = mark(path);
    if (1..SINCE_SCHEMA).contains(&found) && mark.exists() {
        return Err(StoreError::Unproven { found, mark });
    }
    Ok(())
}

/// Gives every row its MAC, once in the life of a database: where the mark is, it was done.
pub(super) fn prove_once(
    connection: &mut Sqlite,
    key: &RowKey,
    path: &Path,
) -> Result<(), StoreError> {
    let mark = mark(path);
    if mark.exists() {
        return Ok(());
    }
    make_with(connection, key)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // All get theirs at once, so where one has, whoever did this died before the mark was there, or it is
    // of a backup.
    let has_some = "SELECT EXISTS (SELECT 1 FROM meta WHERE mac IS NOT NULL)";
    if !transaction.query_row(has_some, [], |row| row.get(0))? {
        fill(&transaction, "true")?;
    }
    transaction.commit()?;
    let made = program::files::create(&mark, 0o600, b"");
    match made {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(StoreError::Mark { path: mark, source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn mark(path: &Path) -> PathBuf {
    path.with_file_name(MARK)
}

fn fill(connection: &Sqlite, of: &str) -> Result<(), StoreError> {
    for table in TABLES {
        let (name, concerns) = (table.name, table.concerns(table.name));
        let covered = table.covered(table.name);
        let sql = format!("UPDATE {name} SET mac = row_mac({covered}) WHERE ({of}) AND {concerns}");
        connection.execute(&sql, [])?;
    }
    Ok(())
}

/// Takes the MAC from every row whose MAC is not its own, so that it gets none under the next key.
pub(super) fn begin_rekeying(connection: &Sqlite, old: &SealKey) -> Result<(), StoreError> {
    reading(connection, &old.row_key())?;
    for table in TABLES {
        let (name, good) = (table.name, table.is_good(table.name));
        connection.execute(
            &format!("UPDATE {name} SET mac = NULL WHERE NOT {good}"),
            [],
        )?;
    }
    Ok(writing(connection, &old.row_key())?)
}

/// Gives every row that has a MAC one under the next key.
pub(super) fn end_rekeying(connection: &Sqlite, new: &SealKey) -> Result<(), StoreError> {
    make_with(connection, &new.row_key())?;
    fill(connection, "mac IS NOT NULL")
}

/// Rows whose MAC is not their own: the table, and what names the row.
pub(in crate::store) fn altered(
    connection: &Connection,
) -> Result<Vec<(&'static str, String)>, StoreError> {
    let mut altered = Vec::new();
    for table in TABLES {
        let (name, concerns) = (table.name, table.concerns(table.name));
        let sql = format!(
            "SELECT CAST({} AS TEXT), {} FROM {name} WHERE {concerns} ORDER BY 1",
            table.named(name),
            table.good(connection, name)
        );
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if !row.get::<_, bool>(1)? {
                altered.push((name, row.get(0)?));
            }
        }
    }
    Ok(altered)
}

/// Whether there are rows, and none of them is ours: whoever looks has another seal key.
pub(super) fn are_of_another_key(connection: &Connection) -> Result<bool, StoreError> {
    if !connection.proves_rows() {
        return Ok(false);
    }
    let mut is_any = false;
    for table in TABLES {
        let (name, concerns) = (table.name, table.concerns(table.name));
        let good = table.good(connection, name);
        let sql = format!("SELECT {good} FROM {name} WHERE {concerns}");
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if row.get(0)? {
                return Ok(false);
            }
            is_any = true;
        }
    }
    Ok(is_any)
}

/// Takes the MAC from every row of `target` whose own in `source`, which is the same or has the same rows, is not good.
pub(in crate::store) fn disown(source: &Connection, target: &Connection) -> Result<(), StoreError> {
    for table in TABLES {
        let Table { name, key, .. } = table;
        let columns: Vec<String> = key.iter().map(|it| format!("{name}.{it}")).collect();
        let (concerns, good) = (table.concerns(name), table.good(source, name));
        let sql = format!(
            "SELECT {}, {good} FROM {name} WHERE {concerns}",
            columns.join(", ")
        );
        let is_it = key
            .iter()
            .zip(1..)
            .map(|(it, number)| format!("{it} = ?{number}"));
        let is_it: Vec<String> = is_it.collect();
        let take = format!("UPDATE {name} SET mac = NULL WHERE {}", is_it.join(" AND "));
        let mut statement = source.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if !row.get::<_, bool>(key.len())? {
                let keys: Result<Vec<Value>, _> = (0..key.len()).map(|at| row.get(at)).collect();
                target.execute(&take, params_from_iter(&keys?))?;
            }
        }
    }
    Ok(())
}

/// The file beside a database, or in the directory of a controller, that says that its rows have MACs.
pub(in crate::store) fn mark_in(dir: &Path) -> PathBuf {
    dir.join(MARK)
}

/// Nothing, of a row that something else has written, which is named by itself.
pub(super) fn unless_altered<T>(found: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(StoreError::Altered { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a trigger of ours has refused.
pub(super) fn refused(error: &rusqlite::Error) -> Option<StoreError> {
    let rusqlite::Error::SqliteFailure(_, Some(said)) = error else {
        return None;
    };
    let (table, row) = said.strip_prefix(ALTERED)?.split_once(' ')?;
    let table = TABLES.iter().find(|it| it.name == table)?;
    Some(StoreError::Altered {
        table: table.name,
        row: row.to_owned(),
    })
}

/// Makes a database of a test, which nobody opens by its path, one like those that are, under a key of sevens.
#[cfg(test)]
pub(super) fn prove(connection: &Sqlite) {
    let key = SealKey::new(&[7; 32]).row_key();
    make_with(connection, &key).unwrap();
    fill(connection, "true").unwrap();
    writing(connection, &key).unwrap();
}

#[cfg(test)]
mod tests;
