//! Rows that nobody else can have written, at a server: the key of their MACs does not go there.
//!
//! Where a statement asks whether a row is ours (`row_is_good`), the server gives what the MAC covers, and it is
//! computed here when the answer is read. What a statement of ours writes comes back with it (`RETURNING`), with the
//! row that was there before: that has to be good, and in what the statement does not set the two must be the same.
//! Then the MAC is written beside it, in the same transaction. Whatever else changes such a row, a trigger in the
//! database too, makes none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::types::{Value, ValueRef};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

use super::{Postgres, Taken};
use crate::store::seal::{RowKey, RowMac};
use crate::store::sql::table::Table;
use crate::store::sql::{Error, Set, params_from_iter};

/// Rows that are given their MACs in one journey.
const TOGETHER: usize = 500;
/// The type of a text of ours within a row: nobody has said which it is.
const UNKNOWN: u32 = 705;

/// What a connection needs to tell which rows are ours.
#[derive(Clone)]
pub(in crate::store) struct Proofs {
    key: RowKey,
    tables: &'static [&'static Table],
    /// Whether every row has its MAC, so that one without is not ours.
    is_required: Arc<AtomicBool>,
}

/// A statement that writes rows which have MACs.
pub(super) struct Proving {
    table: &'static Table,
    /// The columns that it may change in a row that is there.
    set: Vec<String>,
}

/// What stands in a row of the answer as a row of its own.
struct Raw<'a>(&'a [u8]);

type Fields = Vec<Value>;

// === impl Proofs ===

impl Proofs {
    pub(in crate::store) fn new(key: RowKey, tables: &'static [&'static Table]) -> Self {
        Self {
            key,
            tables,
            is_required: Arc::default(),
        }
    }

    /// From now on a row without a MAC is not ours.
    pub(in crate::store) fn require(&self) {
        self.is_required.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_required(&self) -> bool {
        self.is_required.load(Ordering::SeqCst)
    }

    pub(in crate::store) const fn key(&self) -> &RowKey {
        &self.key
    }

    /// What a statement writes that has a MAC, if any.
    pub(super) fn of(&self, sql: &str) -> Option<Proving> {
        let mut words = sql.split_whitespace();
        let is_update = match words.next()? {
            "UPDATE" => true,
            "INSERT" => words.next()? != "INTO",
            _ => return None,
        };
        let name = words.next()?.split('(').next()?;
        let table = *self.tables.iter().find(|table| table.name == name)?;
        let set = columns_set(sql);
        let covers = |column: &String| {
            let mut covered = table.key.iter().chain(table.columns);
            covered.any(|it| it == column)
        };
        (!is_update || set.iter().any(covers)).then_some(Proving { table, set })
    }
}

/// The columns after `SET`.
fn columns_set(sql: &str) -> Vec<String> {
    let words: Vec<&str> = sql.split_whitespace().collect();
    let Some(begin) = words.iter().position(|word| *word == "SET") else {
        return Vec::new();
    };
    let (mut depth, mut columns, mut is_name) = (0_i64, Vec::new(), true);
    for word in words.iter().skip(begin + 1) {
        if depth == 0 && ["WHERE", "FROM", "RETURNING"].contains(word) {
            break;
        }
        if is_name {
            columns.push((*word).to_owned());
            is_name = false;
        }
        for sign in word.chars() {
            match sign {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
        }
        is_name |= depth == 0 && word.ends_with(',');
    }
    columns
}

// === impl Proving ===

impl Proving {
    /// The same statement, which gives what it wrote and what was there before, whether anything in the database is
    /// run by it, and `id` where that is wanted.
    fn giving(&self, sql: &str, with_id: bool) -> String {
        let Table { name, key, .. } = self.table;
        let is_it: Vec<String> = key
            .iter()
            .map(|it| format!("o.{it} = {name}.{it}"))
            .collect();
        let id = if with_id {
            format!(", {name}.id")
        } else {
            String::new()
        };
        format!(
            "{sql} RETURNING ROW({}), (SELECT ROW(o.mac, {}) FROM {name} o WHERE {}),
                 (SELECT count(*) FROM pg_trigger t WHERE t.tgrelid = {name}.tableoid AND NOT t.tgisinternal)
                 + (SELECT count(*) FROM pg_rewrite r WHERE r.ev_class = {name}.tableoid){id}",
            covered(self.table, name),
            covered(self.table, "o"),
            is_it.join(" AND "),
        )
    }

    fn altered(&self, row: &[Value]) -> Error {
        let key = row.iter().skip(1).take(self.table.key.len());
        let key: Vec<String> = key.map(shown).collect();
        Error::Altered {
            table: self.table.name,
            row: key.join(" "),
        }
    }

    /// Whether what was there before is ours, and only what the statement sets is another.
    fn follows(&self, before: &[Value], row: &[Value], proofs: &Proofs) -> bool {
        let Some((mac, before)) = before.split_first() else {
            return false;
        };
        if proofs.is_required() && !is_mac(mac, before, &proofs.key) {
            return false;
        }
        // The name of the table stands before the key.
        let columns = self.table.columns.iter().enumerate();
        let mut kept = columns.filter(|(_, column)| !self.set.iter().any(|set| set == *column));
        let at = |number: usize| number + 1 + self.table.key.len();
        kept.all(|(number, _)| before.get(at(number)) == row.get(at(number)))
    }
}

// === impl Postgres ===

impl Postgres {
    /// Runs a statement that writes such rows, and gives them their MACs; the answers' rows are given back.
    pub(super) fn write_proven(
        &self,
        (sql, proving): (&str, &Proving),
        params: &impl crate::store::sql::Params,
        with_id: bool,
    ) -> Result<Vec<Row>, Error> {
        let Some(proofs) = &self.proofs else {
            return self.query(sql, params);
        };
        let rows = self.query(&proving.giving(sql, with_id), params)?;
        self.prove(&rows, proving, proofs)?;
        Ok(rows)
    }

    /// The same for all rows of a set at once; false where that cannot be said.
    pub(super) fn write_all_proven(
        &self,
        (sql, proving): (&str, &Proving),
        set: &Set,
    ) -> Result<bool, Error> {
        let Some(proofs) = &self.proofs else {
            return Ok(false);
        };
        let Some(rows) = self.query_set(&proving.giving(sql, false), set)? else {
            return Ok(false);
        };
        self.prove(&rows, proving, proofs)?;
        Ok(true)
    }

    /// Gives rows that were written their MACs, where what was there before them is ours.
    fn prove(&self, rows: &[Row], proving: &Proving, proofs: &Proofs) -> Result<(), Error> {
        let table = proving.table;
        let mut macs = Set::default();
        for found in rows {
            let row = fields(found, 0)?.unwrap_or_default();
            if !table.only.is_empty() && !is_of(table, row.get(1)) {
                continue;
            }
            let strangers: i64 = found.try_get(2)?;
            if strangers > 0 {
                return Err(Error::Altered {
                    table: table.name,
                    row: "(a trigger or rule is on it)".to_owned(),
                });
            }
            if let Some(before) = fields(found, 1)?
                && !proving.follows(&before, &row, proofs)
            {
                return Err(proving.altered(&row));
            }
            push_mac(&mut macs, table, &row, &proofs.key)?;
        }
        self.write_macs(table, &macs)
    }

    fn write_macs(&self, table: &Table, macs: &Set) -> Result<(), Error> {
        if macs.is_empty() {
            return Ok(());
        }
        let key = table.key.iter().zip(1..);
        let is_it: Vec<String> = key
            .map(|(it, number)| format!("{it} = ?{number}"))
            .collect();
        let sql = format!(
            "UPDATE {} SET mac = ?{} WHERE {}",
            table.name,
            table.key.len() + 1,
            is_it.join(" AND ")
        );
        self.execute_set(&sql, macs)?;
        Ok(())
    }

    /// Gives every row its MAC under this key, or only those that have one under another.
    pub(in crate::store) fn prove_all(
        &self,
        tables: &[&'static Table],
        key: &RowKey,
        only_proven: bool,
    ) -> Result<(), Error> {
        for table in tables {
            let of = if only_proven {
                "mac IS NOT NULL"
            } else {
                "true"
            };
            let sql = format!(
                "SELECT ROW({}) FROM {} WHERE {of}",
                covered(table, table.name),
                table.name
            );
            let rows = self.query(&sql, &[] as &[&dyn crate::store::sql::ToSql; 0])?;
            for rows in rows.chunks(TOGETHER) {
                let mut macs = Set::default();
                for row in rows {
                    let row = fields(row, 0)?.unwrap_or_default();
                    if table.only.is_empty() || is_of(table, row.get(1)) {
                        push_mac(&mut macs, table, &row, key)?;
                    }
                }
                self.write_macs(table, &macs)?;
            }
        }
        Ok(())
    }
}

/// Whether a row of the answer has a row in this column.
pub(in crate::store) fn is_row(row: &Row, column: usize) -> bool {
    row.columns()
        .get(column)
        .is_some_and(|it| *it.type_() == Type::RECORD)
}

/// Whether the row in this column is ours: its MAC, and what that covers.
pub(in crate::store) fn is_good(
    row: &Row,
    column: usize,
    key: Option<&RowKey>,
) -> Result<bool, Error> {
    let Some(key) = key else { return Ok(false) };
    let fields = fields(row, column)?.unwrap_or_default();
    let Some((mac, covered)) = fields.split_first() else {
        return Ok(false);
    };
    Ok(is_mac(mac, covered, key))
}

fn covered(table: &Table, alias: &str) -> String {
    let columns = table.key.iter().chain(table.columns);
    let columns = columns.map(|column| format!("{alias}.{column}"));
    std::iter::once(format!("'{}'", table.name))
        .chain(columns)
        .collect::<Vec<_>>()
        .join(", ")
}

fn is_of(table: &Table, key: Option<&Value>) -> bool {
    matches!(key, Some(Value::Text(key)) if table.only.contains(&key.as_str()))
}

fn is_mac(mac: &Value, covered: &[Value], key: &RowKey) -> bool {
    matches!(mac, Value::Blob(mac) if mac_of(covered, key).is(mac))
}

/// As SQLite's engine has it of the same values.
fn mac_of(covered: &[Value], key: &RowKey) -> RowMac {
    let mut mac = key.begin();
    for value in covered {
        match value {
            Value::Null => mac.field(0, &[]),
            Value::Integer(number) => mac.field(1, &number.to_be_bytes()),
            Value::Real(number) => mac.field(2, &number.to_bits().to_be_bytes()),
            Value::Text(text) => mac.field(3, text.as_bytes()),
            Value::Blob(bytes) => mac.field(4, bytes),
        }
    }
    mac
}

/// Adds what names a row, and its MAC.
fn push_mac(macs: &mut Set, table: &Table, row: &[Value], key: &RowKey) -> Result<(), Error> {
    let mac = Value::Blob(mac_of(row, key).finish().to_vec());
    // The name of the table stands before the key.
    let named = row.iter().skip(1).take(table.key.len());
    macs.push(params_from_iter(named.chain([&mac])))
}

fn shown(value: &Value) -> String {
    match value {
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::Blob(bytes) => hex::encode(bytes),
        Value::Null | Value::Real(_) => String::new(),
    }
}

/// What stands in a column that is a row; `None` where there is none.
fn fields(row: &Row, column: usize) -> Result<Option<Fields>, Error> {
    let raw: Option<Raw<'_>> = row.try_get(column)?;
    Ok(raw.map(|Raw(raw)| taken_apart(raw).unwrap_or_default()))
}

/// A row as the server writes it: how many fields, and of each its type, how long it is, and its bytes.
fn taken_apart(raw: &[u8]) -> Option<Fields> {
    let (count, mut rest) = raw.split_first_chunk::<4>()?;
    let mut fields = Vec::new();
    for _ in 0..i32::from_be_bytes(*count) {
        let (kind, after) = rest.split_first_chunk::<4>()?;
        let (length, after) = after.split_first_chunk::<4>()?;
        rest = after;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            fields.push(Value::Null);
            continue;
        };
        let (value, after) = rest.split_at_checked(length)?;
        rest = after;
        let kind = match u32::from_be_bytes(*kind) {
            UNKNOWN => Type::TEXT,
            kind => Type::from_oid(kind)?,
        };
        let Taken(value) = Taken::from_sql(&kind, value).ok()?;
        fields.push(owned(value)?);
    }
    Some(fields)
}

fn owned(value: ValueRef<'_>) -> Option<Value> {
    value.try_into().ok()
}

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::RECORD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_that_a_statement_sets_are_read_from_it() {
        for (sql, columns) in [
            (
                "UPDATE t SET a = ?2, b = CASE WHEN a THEN f(1, 2) ELSE 3 END, c = 1 WHERE d = 4",
                &["a", "b", "c"][..],
            ),
            (
                "INSERT INTO t (a) VALUES (?1) ON CONFLICT (a) DO UPDATE SET value = excluded.value",
                &["value"],
            ),
            (
                "UPDATE t SET a = (SELECT b FROM u WHERE c = 1), d = 2",
                &["a", "d"],
            ),
            ("INSERT INTO t (a) VALUES (1)", &[]),
        ] {
            assert_eq!(columns_set(sql), columns, "{sql}");
        }
    }
}
