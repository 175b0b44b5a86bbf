//! One face of SQL for whatever engine is below: what the files of one resource each are written in.
//!
//! | here | what |
//! |---|---|
//! | `Connection` | whoever runs statements: a trait object, so that these files are compiled once |
//! | `Statement`, `Rows`, `Row` | a statement that is prepared, and what it gives; an arm for each engine |
//! | `params` | values of parameters |
//! | `set` | a statement that is run for each row of a set, in one journey where there are journeys |
//! | `postgres` | the same over PostgreSQL: texts translated, values converted |
//! | `error` | why a statement was not run |
//!
//! Values are SQLite's in every engine (`Value`, `ToSql`, `FromSql`): null, a whole number, a text or
//! bytes. Nothing but sets is copied on the way to SQLite. Texts of statements are the same for every engine;
//! parameters are `?1` and so on.

mod each_row;
mod error;
mod params;
pub(super) mod postgres;
mod set;
pub(super) mod table;

/// Why a value of ours is none of SQL.
pub(super) use rusqlite::Error as EncodeError;
pub(super) use rusqlite::ToSql;
pub(super) use rusqlite::types::{FromSql, ToSqlOutput, Value, ValueRef};

pub(super) use self::each_row::Asked;
pub(super) use self::error::{Error, OptionalExtension, is_cut};
pub(super) use self::params::{Params, params, params_from_iter};
pub(super) use self::postgres::NUL;
use self::postgres::{Postgres, Taken, proofs};
pub(super) use self::set::{Set, values};
use super::seal::RowKey;

/// Runs statements of one engine.
pub(super) type Connection = dyn Engine;

/// What an engine must be able to do.
pub(super) trait Engine {
    /// A statement, prepared; it is kept for the next time.
    fn prepare_cached(&self, sql: &str) -> Result<Statement<'_>, Error>;
    /// Several statements without parameters.
    fn execute_batch(&self, sql: &str) -> Result<(), Error>;
    /// Whose words it wants where one statement cannot be said for all.
    fn dialect(&self) -> Dialect;
    /// Whether what is removed or replaced from now on is overwritten in the file, where an engine can
    /// do that.
    fn set_secure_delete(&self, is_on: bool) -> Result<(), Error>;
    /// Whether its statements can tell which rows are ours (`sqlite/rows.rs`).
    fn proves_rows(&self) -> bool;
}

/// Whose words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

/// A statement that is prepared.
pub(super) enum Statement<'c> {
    Postgres(&'c Postgres, String),
    Sqlite(rusqlite::CachedStatement<'c>, &'c rusqlite::Connection),
}

/// What a query gives, row by row.
pub(super) enum Rows<'s> {
    Sqlite(rusqlite::Rows<'s>),
    Postgres(
        std::vec::IntoIter<tokio_postgres::Row>,
        Option<tokio_postgres::Row>,
        Option<&'s RowKey>,
    ),
}

/// A value that outlives what it is of.
fn owned(value: ToSqlOutput<'_>) -> Value {
    match value {
        ToSqlOutput::Borrowed(value) => value.try_into().unwrap_or(Value::Null),
        ToSqlOutput::Owned(value) => value,
        // Of features that this program is built without.
        ToSqlOutput::Arg(_) | _ => Value::Null,
    }
}

/// One row.
pub(super) enum Row<'r> {
    Postgres(&'r tokio_postgres::Row, Option<&'r RowKey>),
    Sqlite(&'r rusqlite::Row<'r>),
}

/// Rows, each made into something.
pub(super) struct Mapped<'s, F> {
    rows: Rows<'s>,
    map: F,
}

impl Engine for rusqlite::Connection {
    fn prepare_cached(&self, sql: &str) -> Result<Statement<'_>, Error> {
        Ok(Statement::Sqlite(Self::prepare_cached(self, sql)?, self))
    }

    fn execute_batch(&self, sql: &str) -> Result<(), Error> {
        Ok(Self::execute_batch(self, sql)?)
    }

    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn set_secure_delete(&self, is_on: bool) -> Result<(), Error> {
        Ok(self.pragma_update(None, "secure_delete", is_on)?)
    }

    fn proves_rows(&self) -> bool {
        true
    }
}

// === impl Connection ===

impl Connection {
    /// The same as [`Engine::prepare_cached`] for a statement that is seldom run.
    pub(super) fn prepare(&self, sql: &str) -> Result<Statement<'_>, Error> {
        self.prepare_cached(sql)
    }

    /// Runs `work`, which only reads: all that it asks is answered as it is at one moment.
    pub(super) fn at_one_moment<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.execute_batch(match self.dialect() {
            Dialect::Sqlite => "BEGIN",
            Dialect::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        })?;
        let done = work(self);
        let ended = self.execute_batch("COMMIT");
        let done = done?;
        ended?;
        Ok(done)
    }

    /// Runs a statement that gives no rows, and says how many it has changed.
    pub(super) fn execute(&self, sql: &str, params: impl Params) -> Result<usize, Error> {
        self.prepare_cached(sql)?.execute(params)
    }

    /// The one row that a statement gives; [`Error::NoRows`] for none.
    pub(super) fn query_row<T>(
        &self,
        sql: &str,
        params: impl Params,
        map: impl FnOnce(&Row<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.prepare_cached(sql)?.query_row(params, map)
    }
}

// === impl Statement ===

impl Statement<'_> {
    /// Runs it where it gives no rows, and says how many it has changed.
    pub(super) fn execute(&mut self, params: impl Params) -> Result<usize, Error> {
        match self {
            Self::Sqlite(statement, _) => {
                params::bind(statement, &params)?;
                Ok(statement.raw_execute()?)
            }
            Self::Postgres(connection, sql) => connection.execute(sql, &params),
        }
    }

    /// Inserts one row into a table whose key is `id`, and gives that.
    pub(super) fn insert(&mut self, params: impl Params) -> Result<i64, Error> {
        match self {
            Self::Sqlite(statement, connection) => {
                params::bind(statement, &params)?;
                match statement.raw_execute()? {
                    1 => Ok(connection.last_insert_rowid()),
                    rows => Err(rusqlite::Error::StatementChangedRows(rows).into()),
                }
            }
            Self::Postgres(connection, sql) => {
                let rows = connection.insert(sql, &params)?;
                rows.first().map_or(Err(Error::NoRows), |row| {
                    Row::Postgres(row, None).get(row.len().saturating_sub(1))
                })
            }
        }
    }

    /// What it gives.
    pub(super) fn query(&mut self, params: impl Params) -> Result<Rows<'_>, Error> {
        match self {
            Self::Sqlite(statement, _) => {
                params::bind(statement, &params)?;
                Ok(Rows::Sqlite(statement.raw_query()))
            }
            Self::Postgres(connection, sql) => {
                let rows = connection.query(sql, &params)?;
                Ok(Rows::Postgres(rows.into_iter(), None, connection.row_key()))
            }
        }
    }

    /// What it gives, each row made into something.
    pub(super) fn query_map<T, F: FnMut(&Row<'_>) -> Result<T, Error>>(
        &mut self,
        params: impl Params,
        map: F,
    ) -> Result<Mapped<'_, F>, Error> {
        let rows = self.query(params)?;
        Ok(Mapped { rows, map })
    }

    /// Whether it gives any row.
    pub(super) fn exists(&mut self, params: impl Params) -> Result<bool, Error> {
        Ok(self.query(params)?.next()?.is_some())
    }

    /// The one row that it gives; [`Error::NoRows`] for none.
    pub(super) fn query_row<T>(
        &mut self,
        params: impl Params,
        map: impl FnOnce(&Row<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match self.query(params)?.next()? {
            Some(row) => map(&row),
            None => Err(Error::NoRows),
        }
    }
}

// === impl Rows ===

impl Rows<'_> {
    pub(super) fn next(&mut self) -> Result<Option<Row<'_>>, Error> {
        match self {
            Self::Sqlite(rows) => Ok(rows.next()?.map(Row::Sqlite)),
            Self::Postgres(rows, current, key) => {
                *current = rows.next();
                let row = current.as_ref();
                Ok(row.map(|row| Row::Postgres(row, *key)))
            }
        }
    }
}

// === impl Row ===

impl Row<'_> {
    /// The value of a column, from 0.
    pub(super) fn get<C: Column, T: FromSql>(&self, column: C) -> Result<T, Error> {
        match self {
            Self::Sqlite(row) => Ok(row.get(column.number())?),
            Self::Postgres(row, key) => {
                let column = column.number();
                let value = if proofs::is_row(row, column) {
                    ValueRef::Integer(proofs::is_good(row, column, *key)?.into())
                } else {
                    row.try_get::<_, Taken<'_>>(column)?.0
                };
                let taken = T::column_result(value);
                taken.map_err(|source| Error::Value { column, source })
            }
        }
    }

    /// The bytes of a column, from 0, where they stand.
    pub(super) fn bytes(&self, column: usize) -> Result<&[u8], Error> {
        let value = match self {
            Self::Sqlite(row) => row.get_ref(column)?,
            Self::Postgres(row, _) => row.try_get::<_, Taken<'_>>(column)?.0,
        };
        value
            .as_blob()
            .map_err(|source| Error::Value { column, source })
    }
}

/// What names a column: one type only, so that a number in a text of ours is of it.
pub(super) trait Column {
    fn number(self) -> usize;
}

impl Column for usize {
    fn number(self) -> usize {
        self
    }
}

// === impl Mapped ===

impl<T, F: FnMut(&Row<'_>) -> Result<T, Error>> Iterator for Mapped<'_, F> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.rows.next() {
            Ok(Some(row)) => Some((self.map)(&row)),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }
}
