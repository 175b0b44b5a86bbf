//! What is told to a server with the next thing that is waited for, so that it costs no journey of its own.
//!
//! A server does one thing after another, and answers each: what is sent together is done as if it were sent one by
//! one, and what fails in a transaction lets everything fail that comes after it. So the first error is the cause.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use parking_lot::Mutex;
use tokio_postgres::{Error, Row};

use super::values::Encoded;
use super::{Beginning, Line, Postgres, UNSENT_MAX, is_lost, refs};
use crate::store::error::{EngineError, NotCommitted};
use crate::store::sql::{Error as SqlError, Set};

/// One thing to be told.
pub(super) enum Unsent {
    /// Statements without parameters.
    Batch(String),
    /// A statement for a set, as it is before it is made one for all rows.
    Each {
        sql: String,
        given: Vec<Encoded>,
        rows: usize,
        /// Where the rows that it gives are put, when they came.
        answer: Option<Answer>,
    },
}

/// The rows of an answer.
pub(in crate::store) type Answer = Arc<Mutex<Option<Vec<Row>>>>;

/// Something that is on its way.
pub(super) type Told<'s> = Pin<Box<dyn Future<Output = Result<(), Error>> + 's>>;

/// What fails first of several, by its number, from 0.
pub(super) struct Failed {
    pub(super) number: usize,
    pub(super) error: Error,
}

// === impl Unsent ===

impl Unsent {
    /// How many rows it is.
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Batch(_) => 1,
            Self::Each { rows, .. } => *rows,
        }
    }
}

/// Tells a statement for a set.
pub(super) async fn each(
    client: &tokio_postgres::Client,
    statement: tokio_postgres::Statement,
    (given, answer): (&[Encoded], Option<&Answer>),
) -> Result<(), Error> {
    let Some(answer) = answer else {
        client.execute(&statement, &refs(given)).await?;
        return Ok(());
    };
    let rows = client.query(&statement, &refs(given)).await?;
    *answer.lock() = Some(rows);
    Ok(())
}

/// Tells several things in their order, waits for all of them, and gives what the last comes to.
pub(super) async fn in_order<T>(
    mut before: Vec<Told<'_>>,
    last: impl Future<Output = Result<T, Error>>,
) -> Result<T, Failed> {
    let mut last = pin!(last);
    let mut ended: Vec<Option<Result<(), Error>>> = before.iter().map(|_| None).collect();
    let mut outcome = None;
    let done = poll_fn(|context| {
        // What is asked for the first time is sent, so each is asked before the next.
        let mut is_waiting = false;
        for (told, ended) in before.iter_mut().zip(&mut ended) {
            if ended.is_none() {
                match told.as_mut().poll(context) {
                    Poll::Ready(done) => *ended = Some(done),
                    Poll::Pending => is_waiting = true,
                }
            }
        }
        if outcome.is_none() {
            match last.as_mut().poll(context) {
                Poll::Ready(done) => outcome = Some(done),
                Poll::Pending => is_waiting = true,
            }
        }
        match outcome.take() {
            Some(done) if !is_waiting => Poll::Ready(done),
            still => {
                outcome = still;
                Poll::Pending
            }
        }
    })
    .await;
    let last = ended.len();
    let errors = ended.into_iter().enumerate();
    for (number, ended) in errors {
        if let Some(Err(error)) = ended {
            return Err(Failed { number, error });
        }
    }
    done.map_err(|error| Failed {
        number: last,
        error,
    })
}

// === impl Postgres ===

impl Postgres {
    /// What is written from now on, and gives nothing, is told with what is waited for next. Whoever asks for this
    /// has to [`tell_all`](Self::tell_all) in the end, or to wait for something else.
    pub(in crate::store) fn gather(&self) {
        self.is_gathering.set(true);
    }

    /// Begins a transaction with whatever is waited for first.
    pub(in crate::store) fn begin(&self, beginning: Beginning) {
        self.beginning.replace(Some(beginning));
    }

    /// Why a transaction has not begun.
    pub(in crate::store) fn not_begun(&self) -> Option<NotCommitted> {
        self.not_begun.borrow().clone()
    }

    /// Statements without parameters, which are told with what is waited for next.
    pub(in crate::store) fn tell_batch(&self, sql: &str) -> Result<(), SqlError> {
        self.tell(Unsent::Batch(sql.to_owned()))
    }

    /// The same of what undoes what has failed.
    pub(in crate::store) fn undo(&self, sql: &str) -> Result<(), SqlError> {
        self.has_failed.set(false);
        self.tell_batch(sql)
    }

    /// What is told from now on can be taken back until it is.
    pub(in crate::store) fn mark(&self) {
        self.marked.set(self.unsent.borrow().len());
    }

    /// Whether something was not told yet since then.
    pub(in crate::store) fn is_owing(&self) -> bool {
        self.unsent.borrow().len() > self.marked.get()
    }

    /// Does not tell what was not told yet since then.
    pub(in crate::store) fn take_back(&self) {
        self.unsent.borrow_mut().truncate(self.marked.get());
    }

    /// Whether what failed last was something that was told before what was waited for.
    pub(in crate::store) fn has_failed_before(&self) -> bool {
        self.has_failed_before.get()
    }

    /// Whether a transaction is still to begin.
    pub(in crate::store) fn is_beginning(&self) -> bool {
        self.beginning.borrow().is_some()
    }

    /// Tells what is still to be told, and waits until it is done.
    pub(in crate::store) fn tell_all(&self) -> Result<(), SqlError> {
        if self.unsent.borrow().is_empty() && !self.is_beginning() {
            return Ok(());
        }
        let told = self.attempt(|line| self.wait(line, async { Ok(()) }));
        told.inspect_err(|error| self.note(error))
    }

    pub(super) fn tell(&self, told: Unsent) -> Result<(), SqlError> {
        let unsent: usize = self.unsent.borrow().iter().map(Unsent::rows).sum();
        if unsent + told.rows() > UNSENT_MAX {
            self.tell_all()?;
        }
        self.unsent.borrow_mut().push(told);
        Ok(())
    }

    /// A statement for all rows of a set, as it is told; `None` where that cannot be said. It is prepared and its
    /// values are converted at once: what fails then was not told, and nothing may be told after it that commits.
    pub(super) fn told_of(
        &self,
        sql: &str,
        set: &Set,
        answer: Option<&Answer>,
    ) -> Result<Option<Unsent>, SqlError> {
        let prepared = self.attempt(|line| line.prepared_for_sets(sql));
        let Some(statement) = prepared.map_err(|error| self.failed(error, sql))? else {
            return Ok(None);
        };
        let columns = statement.params().iter().enumerate();
        let given = columns.map(|(column, kind)| Encoded::column((set.rows(), column), kind));
        Ok(Some(Unsent::Each {
            sql: sql.to_owned(),
            given: given.collect::<Result<_, _>>()?,
            rows: set.len(),
            answer: answer.map(Arc::clone),
        }))
    }

    /// Asks what a statement gives for all rows of a set. The answer comes with whatever is waited for next.
    pub(in crate::store::sql) fn ask_set(&self, sql: &str, set: &Set) -> Result<Answer, SqlError> {
        let answer = Answer::default();
        let told = self.told_of(sql, set, Some(&answer))?;
        self.tell(told.ok_or(SqlError::NoRows)?)?;
        Ok(answer)
    }

    /// Waits for the rows of an answer, where they have not come.
    pub(in crate::store::sql) fn answered(&self, answer: &Answer) -> Result<Vec<Row>, SqlError> {
        if answer.lock().is_none() {
            self.tell_all()?;
        }
        Ok(answer.lock().take().unwrap_or_default())
    }

    /// What a statement comes to, with all that was to be told before it.
    pub(super) fn wait<T>(
        &self,
        line: &Line,
        statement: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, SqlError> {
        let done = {
            let (beginning, unsent) = (self.beginning.borrow(), self.unsent.borrow());
            let mut before: Vec<Told<'_>> = Vec::new();
            if let Some(Beginning { sql, .. }) = &*beginning {
                before.push(Box::pin(line.client().batch_execute(sql)));
            }
            for one in &*unsent {
                before.push(told(line, one)?);
            }
            let unwanted = self.unwanted.borrow();
            line.driver
                .wait(in_order(before, statement), unwanted.as_ref())
        };
        let is_beginning = self.is_beginning();
        let done = match done {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(Failed { number, error })) => Err((number, SqlError::from(error))),
            Err(error) => Err((0, error)),
        };
        match done {
            // It is told again, over another line.
            Err((_, error)) if is_beginning && is_lost(&error) => Err(error),
            done => {
                self.beginning.take();
                let told = self.unsent.take().len();
                self.marked.set(0);
                done.map_err(|(number, error)| {
                    if is_beginning && number == 0 {
                        let cause = NotCommitted::Refused(EngineError::new(error));
                        return self.cannot_begin(cause);
                    }
                    self.has_failed_before
                        .set(number < told + usize::from(is_beginning));
                    error
                })
            }
        }
    }

    /// Begins over another line what could not be begun over this one.
    pub(super) fn begin_elsewhere(&self) -> Result<(), SqlError> {
        let Some(beginning) = self.beginning.take() else {
            return Ok(());
        };
        match (beginning.elsewhere)() {
            Ok(another) => {
                self.line.swap(&another.line);
                self.is_broken.set(false);
                self.has_failed.set(false);
                Ok(())
            }
            Err(cause) => {
                self.unsent.borrow_mut().clear();
                Err(self.cannot_begin(cause))
            }
        }
    }

    fn cannot_begin(&self, cause: NotCommitted) -> SqlError {
        self.is_broken.set(true);
        self.not_begun.replace(Some(cause.clone()));
        SqlError::NotBegun(cause)
    }
}

/// What tells one thing over a line.
fn told<'s>(line: &'s Line, unsent: &'s Unsent) -> Result<Told<'s>, SqlError> {
    match unsent {
        Unsent::Batch(sql) => Ok(Box::pin(line.client().batch_execute(sql))),
        Unsent::Each {
            sql, given, answer, ..
        } => {
            // It was prepared before, but perhaps over a line that was lost.
            let statement = line.prepared_for_sets(sql)?;
            let statement = statement.ok_or(SqlError::NoRows)?;
            Ok(Box::pin(each(
                line.client(),
                statement,
                (given, answer.as_ref()),
            )))
        }
    }
}
