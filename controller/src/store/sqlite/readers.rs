//! Read-only connections, lent to blocking threads in three lanes.
//!
//! | lane | for | bounds |
//! |---|---|---|
//! | control | members, policies, hosts, claims: short look-ups that the fleet waits for | none is needed |
//! | questions | what people ask of the log | work, time and the patience of whoever asked (`cost`) |
//! | sending | what sinks send on: short, by the order of the log | one at a time |
//!
//! None waits for another, so that no number of slow questions is ever in the way of a join,
//! a session or a claim.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use super::cost::{Allowance, Asked, Meter};
use super::{connection, rows};
use crate::store::error::{NotCommitted, StoreError, Trouble};
use crate::store::lanes::{Lane, Source};
use crate::store::seal::RowKey;
use crate::store::sql;

/// Control readings at one time; more wait in line.
const CONTROL_MAX: usize = 4;
/// Questions in work at one time at most, however many processors there are.
const QUESTIONS_MAX: usize = 4;

/// Three pools of connections to one database, opened as they are needed.
#[derive(Debug)]
pub(super) struct Readers {
    control: Arc<Lane<Reading>>,
    questions: Arc<Lane<Reading>>,
    sending: Arc<Lane<Reading>>,
    reading: Reading,
}

/// Opens readers of one file, which can tell whose its rows are.
#[derive(Clone, Debug)]
struct Reading {
    path: PathBuf,
    key: RowKey,
}

// === impl Readers ===

impl Readers {
    pub(super) fn new(path: &Path, key: &RowKey) -> Self {
        // Half of the processors at most: what asks must leave some to what serves.
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_questions((path, key), (processors / 2).clamp(1, QUESTIONS_MAX))
    }

    fn with_questions(of: (&Path, &RowKey), questions_max: usize) -> Self {
        Self {
            control: lane(of, CONTROL_MAX),
            questions: lane(of, questions_max),
            sending: lane(of, 1),
            reading: reading(of),
        }
    }

    /// A look-up that the fleet waits for.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&sql::Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.control.permit(Duration::ZERO).await?;
        self.control.run(permit, |it| work(it)).await
    }

    /// What a sink reads to send it on.
    pub(super) async fn send<T: Send + 'static>(
        &self,
        work: impl FnOnce(&sql::Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.sending.permit(Duration::ZERO).await?;
        self.sending.run(permit, |it| work(it)).await
    }

    /// A question: it is interrupted when its allowance is used up, and when the future is
    /// dropped because nobody waits for the answer any more. `work` sees that as SQLite's
    /// `OperationInterrupted`.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        (allowance, served): (Allowance, Duration),
        work: impl FnOnce(&sql::Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.questions.permit(served).await?;
        let asked = Asked::default();
        let meter = Meter::new(allowance, &asked);
        let answer = self.questions.run(permit, move |connection| {
            meter.during(connection, || work(connection))
        });
        // `asked` lives as long as somebody waits here.
        let answered = answer.await;
        drop(asked);
        answered
    }

    /// Reads every page, on a connection of its own and for as long as somebody waits.
    pub(super) async fn check_integrity(&self) -> Result<(), StoreError> {
        let asked = Asked::default();
        let meter = Meter::new(Allowance::WITHOUT_END, &asked);
        let lane = Lane::new(self.reading.clone(), 1);
        let permit = lane.permit(Duration::ZERO).await?;
        let checked = lane.run(permit, move |connection| {
            meter.during(connection, || quick_check(connection))
        });
        let checked = checked.await;
        drop(asked);
        checked
    }

    /// Refuses what comes now or waits in line; readings that have begun go on.
    pub(super) fn close(&self) {
        self.control.close();
        self.questions.close();
        self.sending.close();
    }
}

// === impl Reading ===

impl Source for Reading {
    type Connection = Connection;

    fn open(&self) -> Result<Connection, StoreError> {
        let connection = connection::reading(&self.path)?;
        rows::reading(&connection, &self.key)?;
        Ok(connection)
    }

    fn is_usable(&self, _: &Connection) -> bool {
        true
    }
}

fn reading((path, key): (&Path, &RowKey)) -> Reading {
    Reading {
        path: path.to_owned(),
        key: key.clone(),
    }
}

fn lane(of: (&Path, &RowKey), most: usize) -> Arc<Lane<Reading>> {
    Lane::new(reading(of), most)
}

/// Table by table, so that none of these readings keeps the write-ahead log for the time of all.
fn quick_check(connection: &Connection) -> Result<(), StoreError> {
    let mut tables = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    let tables: Result<Vec<String>, _> = tables.query_map([], |row| row.get(0))?.collect();
    for table in tables? {
        let found: String =
            connection.query_row(&format!("PRAGMA quick_check('{table}')"), [], |row| {
                row.get(0)
            })?;
        if found != "ok" {
            tracing::error!(table, found, "the database is damaged");
            return Err(NotCommitted::Disk(Trouble::Damaged).into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
