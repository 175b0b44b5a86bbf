//! Statements over PostgreSQL.
//!
//! The texts are those of SQLite, translated (`translate`) and prepared once on each connection; the
//! values, too: the server says what type it takes a parameter for, and what is given becomes that.

mod driver;
mod each;
pub(in crate::store) mod proofs;
mod translate;
mod unsent;
mod values;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::ToSql as PostgresToSql;
use tokio_postgres::{Config, Socket};
use tokio_util::sync::CancellationToken;

use self::driver::Driver;
pub(in crate::store) use self::driver::{ASKING_MAX, Elsewhere, Later, first_of};
use self::translate::translate;
pub(in crate::store) use self::unsent::Answer;
use self::unsent::Unsent;
use self::values::Given;
pub(in crate::store) use self::values::{NUL, Taken};
use super::{Engine, Error, Params, Set, Statement};
use crate::store::error::NotCommitted;

/// Statements that are kept prepared on one connection; above that all are prepared anew.
const STATEMENTS_MAX: usize = 256;

/// Rows that are told together at most: bounds their memory.
const UNSENT_MAX: usize = 8192;

/// A connection, and what is prepared on it.
pub(in crate::store) struct Postgres {
    line: RefCell<Box<Line>>,
    /// Something failed that no statement is to blame for.
    is_broken: Cell<bool>,
    /// The last statement failed: until something is undone, all others will.
    has_failed: Cell<bool>,
    /// What tells which rows are ours; `None` where that is not asked.
    proofs: Option<proofs::Proofs>,
    /// Comes when nobody waits any more for what is asked now.
    unwanted: RefCell<Option<CancellationToken>>,
    /// What is told with the next thing that is waited for.
    unsent: RefCell<Vec<Unsent>>,
    /// How much of it belongs to what was done before.
    marked: Cell<usize>,
    has_failed_before: Cell<bool>,
    /// Somebody sees to it that what is written is told in the end.
    is_gathering: Cell<bool>,
    /// Of a transaction that is still to begin: nothing was done on this line since the last one.
    beginning: RefCell<Option<Beginning>>,
    /// Why it did not.
    not_begun: RefCell<Option<NotCommitted>>,
}

/// The way to the server.
struct Line {
    driver: Driver,
    prepared: Prepared,
}

/// How a transaction begins.
pub(in crate::store) struct Beginning {
    pub(in crate::store) sql: String,
    /// Begins it on another line, where this one was lost meanwhile.
    pub(in crate::store) elsewhere: Box<dyn Fn() -> Result<Postgres, NotCommitted> + Send>,
}

/// Statements, by their texts for one row.
#[derive(Default)]
struct Prepared {
    for_one: RefCell<HashMap<String, tokio_postgres::Statement>>,
    /// `None` of those that are run row by row.
    for_sets: RefCell<HashMap<String, Option<tokio_postgres::Statement>>>,
}

// === impl Line ===

impl Line {
    fn client(&self) -> &tokio_postgres::Client {
        self.driver.client()
    }

    fn prepare(&self, sql: &str) -> Result<tokio_postgres::Statement, Error> {
        Ok(self.driver.wait(self.client().prepare(sql), None)??)
    }

    fn prepared(&self, sql: &str) -> Result<tokio_postgres::Statement, Error> {
        if let Some(statement) = self.prepared.for_one.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.prepare(&translate(sql))?;
        let mut kept = self.prepared.for_one.borrow_mut();
        if kept.len() >= STATEMENTS_MAX {
            kept.clear();
        }
        kept.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// The server says of the statement for one row what types its parameters are.
    fn prepared_for_sets(&self, sql: &str) -> Result<Option<tokio_postgres::Statement>, Error> {
        if let Some(statement) = self.prepared.for_sets.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let one = self.prepared(sql)?;
        let types: Vec<_> = one
            .params()
            .iter()
            .map(tokio_postgres::types::Type::name)
            .collect();
        let each = each::each(&translate(sql), &types);
        let statement = each.map(|each| self.prepare(&each)).transpose()?;
        let mut kept = self.prepared.for_sets.borrow_mut();
        if kept.len() >= STATEMENTS_MAX {
            kept.clear();
        }
        kept.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

// === impl Postgres ===

impl Postgres {
    /// Connects, and runs what every connection begins with, all within a time.
    pub(in crate::store) fn connect<T>(
        at: (&Config, T),
        first: (&str, Duration),
        elsewhere: Arc<dyn Elsewhere>,
    ) -> Result<Self, Error>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
    {
        let line = Line {
            driver: Driver::connect(at, first, elsewhere)?,
            prepared: Prepared::default(),
        };
        Ok(Self {
            line: RefCell::new(Box::new(line)),
            is_broken: Cell::new(false),
            has_failed: Cell::new(false),
            proofs: None,
            unwanted: RefCell::default(),
            unsent: RefCell::default(),
            marked: Cell::default(),
            has_failed_before: Cell::default(),
            is_gathering: Cell::new(false),
            beginning: RefCell::default(),
            not_begun: RefCell::default(),
        })
    }

    /// The same, which tells rows of ours from those of others.
    pub(in crate::store) fn proving(self, proofs: proofs::Proofs) -> Self {
        Self {
            proofs: Some(proofs),
            ..self
        }
    }

    pub(super) fn row_key(&self) -> Option<&crate::store::seal::RowKey> {
        self.proofs.as_ref().map(proofs::Proofs::key)
    }

    pub(in crate::store) const fn proofs(&self) -> Option<&proofs::Proofs> {
        self.proofs.as_ref()
    }

    /// Whether another is to be opened in its place.
    pub(in crate::store) fn is_broken(&self) -> bool {
        self.is_broken.get() || self.is_closed() && self.beginning.borrow().is_none()
    }

    fn is_closed(&self) -> bool {
        self.line.borrow().client().is_closed()
    }

    /// Whether a statement has failed since the last batch that did not.
    pub(in crate::store) fn has_failed(&self) -> bool {
        self.has_failed.get()
    }

    /// Whether the server has warned since this was last asked.
    pub(in crate::store) fn take_warning(&self) -> bool {
        self.line.borrow().driver.take_warning()
    }

    /// Does something as long as anybody wants it.
    pub(in crate::store) fn unless<T>(
        &self,
        unwanted: CancellationToken,
        work: impl FnOnce() -> T,
    ) -> T {
        self.unwanted.replace(Some(unwanted));
        let done = work();
        self.unwanted.take();
        done
    }

    /// Statements without parameters, in one journey.
    pub(in crate::store) fn batch(&self, sql: &str) -> Result<(), Error> {
        let done = self.attempt(|line| self.wait(line, line.client().batch_execute(sql)));
        self.has_failed.set(false);
        done.inspect_err(|error| self.note(error))
    }

    /// A statement over the line as it is, or over another where this one was lost before its transaction began.
    fn attempt<T>(&self, told: impl Fn(&Line) -> Result<T, Error>) -> Result<T, Error> {
        let done = told(&self.line.borrow());
        match done {
            Err(error) if is_lost(&error) && self.beginning.borrow().is_some() => {
                self.begin_elsewhere()?;
                told(&self.line.borrow())
            }
            done => done,
        }
    }

    /// What a statement for one row comes to.
    fn say<T>(
        &self,
        sql: &str,
        params: &impl Params,
        said: impl AsyncFn(
            &tokio_postgres::Client,
            &tokio_postgres::Statement,
            &[&(dyn PostgresToSql + Sync)],
        ) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Error> {
        let given = given(params)?;
        let refs = refs(&given);
        let done = self.attempt(|line| {
            let statement = line.prepared(sql)?;
            self.wait(line, said(line.client(), &statement, &refs))
        });
        done.map_err(|error| self.failed(error, sql))
    }

    pub(super) fn execute(&self, sql: &str, params: &impl Params) -> Result<usize, Error> {
        if let Some(proving) = self.proofs.as_ref().and_then(|proofs| proofs.of(sql)) {
            return Ok(self.write_proven((sql, &proving), params, false)?.len());
        }
        let rows = self.say(sql, params, async |client, statement, given| {
            client.execute(statement, given).await
        })?;
        Ok(usize::try_from(rows).unwrap_or(usize::MAX))
    }

    /// Inserts one row, and gives its id, in the last column.
    pub(super) fn insert(
        &self,
        sql: &str,
        params: &impl Params,
    ) -> Result<Vec<tokio_postgres::Row>, Error> {
        match self.proofs.as_ref().and_then(|proofs| proofs.of(sql)) {
            Some(proving) => self.write_proven((sql, &proving), params, true),
            None => self.query(&format!("{sql} RETURNING id"), params),
        }
    }

    pub(super) fn query(
        &self,
        sql: &str,
        params: &impl Params,
    ) -> Result<Vec<tokio_postgres::Row>, Error> {
        self.say(sql, params, async |client, statement, given| {
            client.query(statement, given).await
        })
    }

    /// The same for all rows of a set at once; false where that cannot be said.
    pub(super) fn execute_each(&self, sql: &str, set: &Set) -> Result<bool, Error> {
        match self.proofs.as_ref().and_then(|proofs| proofs.of(sql)) {
            Some(proving) => self.write_all_proven((sql, &proving), set),
            None => self.execute_set(sql, set),
        }
    }

    /// The same of rows without proofs.
    fn execute_set(&self, sql: &str, set: &Set) -> Result<bool, Error> {
        let Some(told) = self.told_of(sql, set, None)? else {
            return Ok(false);
        };
        self.tell(told)?;
        if !self.is_gathering.get() {
            self.tell_all().map_err(|error| self.failed(error, sql))?;
        }
        Ok(true)
    }

    /// What a statement gives for all rows of a set, one that asks with the number of that after its own
    /// columns; `None` where that cannot be said.
    pub(super) fn query_set(
        &self,
        sql: &str,
        set: &Set,
    ) -> Result<Option<Vec<tokio_postgres::Row>>, Error> {
        let answer = Answer::default();
        let Some(told) = self.told_of(sql, set, Some(&answer))? else {
            return Ok(None);
        };
        self.tell(told)?;
        let rows = self.answered(&answer);
        Ok(Some(rows.map_err(|error| self.failed(error, sql))?))
    }

    fn failed(&self, error: Error, sql: &str) -> Error {
        self.note(&error);
        tracing::debug!(%error, sql, "a statement failed");
        error
    }

    fn note(&self, error: &Error) {
        self.has_failed.set(true);
        if is_lost(error) {
            self.is_broken.set(true);
        }
    }
}

/// Whether an error is that of the connection: no word of the server, or that it goes, or that it is
/// none that takes writes any more.
pub(in crate::store) fn is_lost(error: &Error) -> bool {
    let Error::Postgres(error) = error else {
        return matches!(error, Error::Silent);
    };
    let Some(state) = error.code() else {
        // Conversions of values have none, either; a connection more does no harm.
        return true;
    };
    let code = state.code();
    // Operator intervention but for a cancelled statement; exceptions of connections; read-only.
    (code.starts_with("57P") || code.starts_with("08")) || code == "25006"
}

impl Engine for Postgres {
    fn prepare_cached(&self, sql: &str) -> Result<Statement<'_>, Error> {
        Ok(Statement::Postgres(self, sql.to_owned()))
    }

    fn execute_batch(&self, sql: &str) -> Result<(), Error> {
        self.batch(sql)
    }

    fn set_secure_delete(&self, _: bool) -> Result<(), Error> {
        // Old versions of rows go with the next vacuum, and from the write-ahead log with its files.
        Ok(())
    }

    fn proves_rows(&self) -> bool {
        self.proofs
            .as_ref()
            .is_some_and(proofs::Proofs::is_required)
    }

    fn dialect(&self) -> super::Dialect {
        super::Dialect::Postgres
    }
}

fn given(params: &impl Params) -> Result<Vec<Given>, Error> {
    let mut given = Vec::new();
    params.each(&mut |value| {
        given.push(Given(super::owned(value.to_sql()?)));
        Ok(())
    })?;
    Ok(given)
}

fn refs<T: PostgresToSql + Sync>(given: &[T]) -> Vec<&(dyn PostgresToSql + Sync)> {
    given
        .iter()
        .map(|value| value as &(dyn PostgresToSql + Sync))
        .collect()
}
