//! Every table of the schema, read and written whatever its columns are.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::store::error::StoreError;
use crate::store::sql::{Connection, Dialect, NUL, Value, params_from_iter};
use crate::store::sqlite::{columns, meta, migrations};

/// Rows in one statement.
const TOGETHER: usize = 50;
/// What is searched of the log: whole in databases of before, and no index of PostgreSQL holds that.
const CUT: [(&str, &str); 4] = [
    ("events", "user"),
    ("events", "key"),
    ("events", "stanza"),
    ("event_words", "value"),
];
/// Tables with rows of many megabytes, which are read one by one.
const LARGE: &str = "policies";

pub(super) type Row = Vec<Value>;

#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: String,
    columns: Vec<Column>,
    /// Which columns name a row, in their order.
    key: Vec<usize>,
    /// Tables that it refers to.
    parents: Vec<String>,
}

#[derive(Debug)]
struct Column {
    name: String,
    /// A text and nothing else.
    is_text: bool,
    key_place: usize,
}

/// Every table, each after those that it refers to.
pub(super) fn all() -> Result<Vec<Table>, StoreError> {
    let model = migrations::newest()?;
    let connection: &Connection = &model;
    // Who runs, who is connected to that, and who follows how far is of the place and not of the fleet.
    let names =
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND substr(name, 1, 7) <> 'sqlite_'
             AND name NOT IN ('controllers', 'host_sessions', 'member_changes') ORDER BY name";
    let mut left = Vec::new();
    for name in strings(connection, names)? {
        left.push(Table::of(connection, name)?);
    }
    let mut placed: Vec<Table> = Vec::new();
    while !left.is_empty() {
        let is_placed = |name: &String| placed.iter().any(|table| table.name == *name);
        let ready = |table: &Table| {
            let mut parents = table.parents.iter();
            parents.all(|parent| *parent == table.name || is_placed(parent))
        };
        let (next, later): (Vec<_>, Vec<_>) = left.into_iter().partition(ready);
        if next.is_empty() {
            return Err(StoreError::Damaged { what: "the schema" });
        }
        placed.extend(next);
        left = later;
    }
    Ok(placed)
}

fn strings(connection: &Connection, sql: &str) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare(sql)?;
    let found: Result<Vec<_>, _> = statement.query_map([], |row| row.get(0))?.collect();
    Ok(found?)
}

// === impl Table ===

impl Table {
    fn of(model: &Connection, name: String) -> Result<Self, StoreError> {
        // Whose a row is, is made anew on the other side, and so is what is followed there.
        let columns = "SELECT name, type, pk FROM pragma_table_info(?1)
             WHERE name NOT IN ('mac', 'position', 'sender') ORDER BY cid";
        let mut statement = model.prepare(columns)?;
        let columns = statement.query_map([name.as_str()], |row| {
            let kind: String = row.get(1)?;
            Ok(Column {
                name: row.get(0)?,
                is_text: kind == "TEXT",
                key_place: row.get::<_, u32>(2)? as usize,
            })
        })?;
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let mut key: Vec<usize> = (0..columns.len()).collect();
        let place = |at: &usize| columns.get(*at).map_or(0, |column| column.key_place);
        if columns.iter().any(|column| column.key_place > 0) {
            key.retain(|at| place(at) > 0);
            key.sort_by_key(place);
        }
        let parents = "SELECT DISTINCT \"table\" FROM pragma_foreign_key_list(?1)";
        let mut statement = model.prepare(parents)?;
        let parents = statement.query_map([name.as_str()], |row| row.get(0))?;
        Ok(Self {
            parents: parents.collect::<Result<_, _>>()?,
            name,
            columns,
            key,
        })
    }

    /// What is not of the fleet but of the schema that the database has.
    fn condition(&self) -> String {
        if self.name == "meta" {
            return format!("\"key\" NOT IN ('{}')", meta::OF_PROGRAM.join("', '"));
        }
        "true".to_owned()
    }

    pub(super) fn count(&self, connection: &Connection) -> Result<u64, StoreError> {
        let sql = format!(
            "SELECT count(*) FROM {} WHERE {}",
            self.name,
            self.condition()
        );
        let count: i64 = connection.prepare(&sql)?.query_row([], |row| row.get(0))?;
        Ok(count.cast_unsigned())
    }

    pub(super) fn clear(&self, connection: &Connection) -> Result<(), StoreError> {
        let sql = format!("DELETE FROM {} WHERE {}", self.name, self.condition());
        connection.execute(&sql, [])?;
        Ok(())
    }

    /// Rows after the one of this key, in the order of keys; `after` is empty for the first.
    pub(super) fn page(
        &self,
        connection: &Connection,
        after: &[Value],
        rows_max: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let columns = names(&self.columns.iter().collect::<Vec<_>>());
        let keys: Vec<&Column> = self
            .key
            .iter()
            .filter_map(|at| self.columns.get(*at))
            .collect();
        let keys = names(&keys);
        let mut condition = self.condition();
        if !after.is_empty() {
            let numbers: Vec<String> = (1..=after.len()).map(|it| format!("?{it}")).collect();
            let _ = write!(condition, " AND ({keys}) > ({})", numbers.join(", "));
        }
        let rows_max = if self.name == LARGE { 1 } else { rows_max };
        let sql = format!(
            "SELECT {columns} FROM {} WHERE {condition} ORDER BY {keys} LIMIT {rows_max}",
            self.name
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let width = self.columns.len();
        let rows = statement.query_map(params_from_iter(after), |row| {
            (0..width).map(|at| row.get(at)).collect::<Result<Row, _>>()
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What names a row.
    pub(super) fn key(&self, row: &Row) -> Vec<Value> {
        self.key
            .iter()
            .filter_map(|at| row.get(*at))
            .cloned()
            .collect()
    }

    /// Makes of a row what a PostgreSQL server can hold: nothing that is chained changes.
    pub(super) fn fit(&self, row: &mut Row) {
        for (column, value) in self.columns.iter().zip(row) {
            let Value::Text(text) = value else { continue };
            if CUT.contains(&(self.name.as_str(), column.name.as_str())) {
                let end = columns::searched(text).len();
                text.truncate(end);
            }
            if column.is_text && text.contains('\0') {
                *text = text.replace('\0', NUL);
            }
        }
    }

    pub(super) fn insert(&self, connection: &Connection, rows: &[Row]) -> Result<(), StoreError> {
        // Two lengths, so that two statements are prepared for each table.
        for chunk in rows.chunks(TOGETHER) {
            let together = if chunk.len() == TOGETHER { TOGETHER } else { 1 };
            let sql = self.insertion(together);
            for rows in chunk.chunks(together) {
                let mut statement = connection.prepare_cached(&sql)?;
                statement.execute(params_from_iter(rows.iter().flatten()))?;
            }
        }
        Ok(())
    }

    fn insertion(&self, rows: usize) -> String {
        let columns: Vec<&Column> = self.columns.iter().collect();
        let row = format!("({})", vec!["?"; columns.len()].join(", "));
        format!(
            "INSERT INTO {} ({}) VALUES {}",
            self.name,
            names(&columns),
            vec![row; rows].join(", ")
        )
    }

    /// SHA-256 of all its rows in the order of keys, made fit for the other side or as they are.
    pub(super) fn digest(
        &self,
        connection: &Connection,
        (rows_max, is_to_fit): (usize, bool),
    ) -> Result<[u8; 32], StoreError> {
        let mut digest = Sha256::new();
        let mut after = Vec::new();
        loop {
            let mut page = self.page(connection, &after, rows_max)?;
            let Some(last) = page.last() else {
                return Ok(digest.finalize().into());
            };
            after = self.key(last);
            for row in &mut page {
                if is_to_fit {
                    self.fit(row);
                }
                row.iter().for_each(|value| add(&mut digest, value));
            }
        }
    }
}

fn names(columns: &[&Column]) -> String {
    let names: Vec<String> = columns
        .iter()
        .map(|it| format!("\"{}\"", it.name))
        .collect();
    names.join(", ")
}

/// One more value: its type, how long it is, and its bytes.
pub(super) fn add(digest: &mut Sha256, value: &Value) {
    let number;
    let (kind, bytes): (u8, &[u8]) = match value {
        Value::Null => (0, &[]),
        Value::Integer(it) => {
            number = it.to_be_bytes();
            (1, &number)
        }
        Value::Real(it) => {
            number = it.to_bits().to_be_bytes();
            (2, &number)
        }
        Value::Text(it) => (3, it.as_bytes()),
        Value::Blob(it) => (4, it),
    };
    digest.update([kind]);
    digest.update((bytes.len() as u64).to_be_bytes());
    digest.update(bytes);
}

/// A key as a text, which either engine keeps.
pub(super) fn written(key: &[Value]) -> String {
    let value = |value: &Value| match value {
        Value::Integer(it) => format!("i{it}"),
        Value::Text(it) => format!("t{}", hex::encode(it)),
        Value::Blob(it) => format!("b{}", hex::encode(it)),
        Value::Null | Value::Real(_) => String::new(),
    };
    key.iter().map(value).collect::<Vec<_>>().join(",")
}

/// The same read; `None` of what nobody wrote.
pub(super) fn read(text: &str) -> Option<Vec<Value>> {
    let value = |text: &str| {
        let (kind, rest) = text.split_at_checked(1)?;
        Some(match kind {
            "i" => Value::Integer(rest.parse().ok()?),
            "t" => Value::Text(String::from_utf8(hex::decode(rest).ok()?).ok()?),
            "b" => Value::Blob(hex::decode(rest).ok()?),
            _ => return None,
        })
    };
    if text.is_empty() {
        return Some(Vec::new());
    }
    text.split(',').map(value).collect()
}

/// The last id that was ever given in each table whose ids are never used again.
pub(super) fn carry_last_ids(source: &Connection, target: &Connection) -> Result<(), StoreError> {
    let (names, forget, set) = match target.dialect() {
        Dialect::Postgres => (
            "SELECT name FROM last_ids ORDER BY name",
            "DELETE FROM last_ids WHERE name = ?1",
            "INSERT INTO last_ids (name, id) VALUES (?1, ?2)",
        ),
        Dialect::Sqlite => (
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql LIKE '%AUTOINCREMENT%'",
            "DELETE FROM sqlite_sequence WHERE name = ?1",
            "INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)",
        ),
    };
    for name in strings(target, names)? {
        let last = match source.dialect() {
            Dialect::Postgres => {
                "SELECT coalesce(max(id), 0) FROM last_ids WHERE name = ?1".to_owned()
            }
            Dialect::Sqlite => format!(
                "SELECT max(coalesce((SELECT max(id) FROM {name}), 0),
                            coalesce((SELECT seq FROM sqlite_sequence WHERE name = ?1), 0))"
            ),
        };
        let last: i64 = source
            .prepare(&last)?
            .query_row([name.as_str()], |row| row.get(0))?;
        target.execute(forget, [name.as_str()])?;
        target.execute(set, crate::store::sql::params![name, last])?;
    }
    Ok(())
}
