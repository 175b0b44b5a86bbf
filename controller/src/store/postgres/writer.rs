//! The writer: one thread, and one transaction for everything that waits.
//!
//! The writers of all controllers are one: each transaction begins by taking a lock that all of them
//! take. So whatever reads and then writes is as right as with one writer, the log has one end, and
//! its ids have no gaps. Each statement sees what was committed before it (READ COMMITTED).
//!
//! A journey to the server may take longer than what is done there. So a transaction begins with the first
//! statement that is waited for, and ends with its last writes, which nobody has to wait for before. What ends
//! it is done only where all before it was.
//!
//! A commit whose answer was lost was done or not: the transaction has left its number in a row of this
//! writer, and that is read over the next connection, under the same lock.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::mpsc;

use super::server::Server;
use crate::clock;
use crate::store::error::{EngineError, NotCommitted, StoreError};
use crate::store::health::Health;
use crate::store::jobs::{Answer, Gathered, Last, Message, Queue, Savepoints, Waiting, gather};
use crate::store::sql::postgres::{Beginning, Postgres, is_lost};
use crate::store::sql::{self, Engine as _, OptionalExtension as _};
use crate::store::sqlite::schema::SCHEMA;

/// What all writers of one database take first, and keep until their transaction ends.
pub(in crate::store) const LOCK: &str = "SELECT pg_advisory_xact_lock(5761823470194522719)";
/// Undoes what the last write did.
const UNDO: &str = "ROLLBACK TO job;";
/// Keeps what it did.
const NEXT: &str = "RELEASE job; SAVEPOINT job";
/// Before another attempt to connect: the first, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// As long as a failover may take, writes wait for it.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// As long as that, the fate of a commit is asked for.
const DECIDE_MAX: Duration = Duration::from_secs(60);

/// The thread's own.
struct Writer<'a> {
    way: Way,
    connection: Option<Postgres>,
    /// Its row.
    name: String,
    /// Of the next transaction.
    number: i64,
    health: Health,
    commits: &'a Histogram,
}

/// How it comes to a connection.
#[derive(Clone)]
struct Way {
    server: Server,
    /// Since when there is none.
    lost: Arc<Mutex<Option<Instant>>>,
    is_closing: Arc<AtomicBool>,
}

/// One that has begun, and has a savepoint.
struct Transaction {
    connection: Postgres,
    due: Cell<Due>,
}

/// What the end of a transaction came to.
enum End {
    Done,
    /// Whether the transaction with this number was committed is to be asked.
    Unknown(i64),
    /// Something before the end could not be done, and the transaction goes on without it.
    Undone(EngineError),
    Not(NotCommitted),
}

/// What is still to be said of the write before: with the next one, or with the commit, so that a write
/// that is alone costs no journey for it.
#[derive(Clone, Copy, Default)]
enum Due {
    #[default]
    Nothing,
    Keep,
    Undo,
}

/// Serves the queue until it is closed or says stop.
pub(super) fn run((server, connection): (Server, Postgres), queue: &mut Queue) {
    let mut name = [0; 16];
    if getrandom::fill(&mut name).is_err() {
        tracing::error!("the system gives no random numbers: nothing is written");
        return;
    }
    let mut writer = Writer {
        way: Way {
            server,
            lost: Arc::default(),
            is_closing: Arc::clone(&queue.closing),
        },
        connection: Some(connection),
        name: hex::encode(name),
        number: 1,
        health: Health::telling(&queue.fault),
        commits: &queue.commits,
    };
    while let Some(Message::Write(first)) = queue.jobs.blocking_recv() {
        if writer.batch(first, &mut queue.jobs) {
            break;
        }
    }
    writer.forget();
}

// === impl Writer ===

impl Writer<'_> {
    /// Commits a write and all that wait behind it, and answers them. True when told to stop.
    fn batch(&mut self, first: Waiting, queue: &mut mpsc::Receiver<Message>) -> bool {
        let connection = match self.begin() {
            Ok(connection) => connection,
            Err(cause) => {
                self.health.failed(&cause, 1, clock::instant());
                first.refuse(cause);
                return false;
            }
        };
        let transaction = Transaction {
            connection,
            due: Cell::default(),
        };
        let gathered = gather(first, queue, (&transaction, clock::instant));
        let Gathered {
            mut answers, last, ..
        } = gathered;
        let asked = clock::instant();
        let committed = self.commit(transaction, last, &mut answers);
        self.commits.observe(asked.elapsed().as_secs_f64());
        match &committed {
            Ok(()) => self.health.worked(),
            Err(cause) => self.health.failed(cause, answers.len(), clock::instant()),
        }
        for answer in answers {
            answer(committed.clone());
        }
        gathered.is_told_to_stop
    }

    /// A connection in a transaction, under the lock: one that begins with what is asked first, or has begun.
    fn begin(&mut self) -> Result<Postgres, NotCommitted> {
        let connection = match self.connection.take() {
            Some(connection) if !connection.is_broken() => {
                let way = self.way.clone();
                connection.begin(Beginning {
                    sql: begin(),
                    // Nothing was done on it. The server was started anew meanwhile, perhaps.
                    elsewhere: Box::new(move || way.begun()),
                });
                connection
            }
            _ => self.way.begun()?,
        };
        connection.gather();
        Ok(connection)
    }

    /// Commits, and adds what answers the `last` write: when it turns out that it could not be done, the others
    /// are committed without it.
    fn commit(
        &mut self,
        transaction: Transaction,
        mut last: Option<Last>,
        answers: &mut Vec<Answer>,
    ) -> Result<(), NotCommitted> {
        loop {
            let end = self.end(&transaction);
            let (End::Undone(error), true) = (&end, last.is_some()) else {
                answers.extend(last.map(Last::answers).into_iter().flatten());
                return self.ended(end, transaction);
            };
            let error = StoreError::Engine(error.clone());
            let failed = last.take().map(|last| last.failed(error, &transaction));
            answers.extend(failed.into_iter().flatten());
        }
    }

    /// Tells the server to commit, with what it was not told yet.
    fn end(&mut self, transaction: &Transaction) -> End {
        let Transaction {
            connection, due, ..
        } = transaction;
        // What is told with the end may be done though nobody hears of it, so it must not be told again: by now
        // the transaction has begun.
        if connection.is_beginning()
            && let Err(error) = connection.tell_all()
            && !connection.is_broken()
        {
            due.set(Due::Undo);
            return End::Undone(error.into());
        }
        if connection.is_broken() {
            // Nobody has said COMMIT, so the server undoes it.
            let cause = connection.not_begun();
            return End::Not(cause.unwrap_or(NotCommitted::RolledBack));
        }
        let Self { name, number, .. } = &self;
        // What the last write would have kept is kept by the commit.
        let undo = match due.get() {
            Due::Undo => UNDO,
            Due::Nothing | Due::Keep => "",
        };
        // Where anything failed before, the first of these does, and the server does not come to the second.
        let commit = format!(
            "{undo} INSERT INTO writers (name, batch, schema) VALUES ('{name}', {number}, {SCHEMA})
                 ON CONFLICT (name) DO UPDATE SET batch = excluded.batch, since = excluded.since;
             COMMIT"
        );
        let number = self.number;
        self.number += 1;
        connection.take_warning();
        match connection.batch(&commit) {
            Ok(()) if connection.take_warning() => {
                // Somebody has ended the wait for a synchronous standby: it may not have this.
                tracing::warn!("the database says that a commit is not what it should be");
                End::Unknown(number)
            }
            Ok(()) => End::Done,
            Err(error) if is_lost(&error) => {
                tracing::warn!(%error, "the connection to the database was lost during a commit");
                End::Unknown(number)
            }
            Err(error) if connection.has_failed_before() => {
                due.set(Due::Undo);
                End::Undone(error.into())
            }
            Err(error) => End::Not(NotCommitted::Refused(error.into())),
        }
    }

    fn ended(&mut self, end: End, transaction: Transaction) -> Result<(), NotCommitted> {
        match end {
            End::Done => {
                self.connection = Some(transaction.connection);
                Ok(())
            }
            End::Unknown(number) => {
                drop(transaction);
                self.decide(number)
            }
            End::Undone(error) => Err(NotCommitted::Refused(error)),
            End::Not(cause) => Err(cause),
        }
    }

    /// Whether the transaction with this number was committed.
    fn decide(&mut self, number: i64) -> Result<(), NotCommitted> {
        let began = clock::instant();
        let mut pause = PAUSE.0;
        loop {
            let known = self.way.server.to_write().and_then(|connection| {
                let last = last_number(&connection, &self.name)?;
                Ok((connection, last))
            });
            match known {
                Ok((connection, last)) => {
                    self.connection = Some(connection);
                    let is_done = last.is_some_and(|last| last >= number);
                    return if is_done {
                        Ok(())
                    } else {
                        Err(NotCommitted::RolledBack)
                    };
                }
                Err(_) if began.elapsed() > DECIDE_MAX || self.way.is_closing() => {
                    return Err(NotCommitted::Unknown);
                }
                Err(_) => std::thread::sleep(pause),
            }
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Takes its row away, and those of controllers that ended without that long ago.
    fn forget(&self) {
        let Some(connection) = &self.connection else {
            return;
        };
        let forget = format!(
            "DELETE FROM writers WHERE name = '{}' OR since < now() - interval '90 days'",
            self.name
        );
        if let Err(error) = connection.batch(&forget) {
            tracing::debug!(%error, "the row of this writer stays");
        }
    }
}

// === impl Way ===

impl Way {
    /// A new connection in a transaction, under the lock.
    fn begun(&self) -> Result<Postgres, NotCommitted> {
        let lost = *self.lost.lock().get_or_insert_with(clock::instant);
        let mut pause = PAUSE.0;
        loop {
            let begun = self.server.to_write().and_then(|connection| {
                let begun = connection.batch(&begin());
                begun.map_err(|error| self.server.unreachable(error))?;
                // Under the lock: nobody rotates the seal key any more.
                self.server.check_key(&connection)?;
                Ok(connection)
            });
            match begun {
                Ok(connection) => {
                    *self.lost.lock() = None;
                    return Ok(connection);
                }
                Err(error) if lost.elapsed() > CONNECT_MAX || self.is_closing() => {
                    return Err(unreachable(error));
                }
                Err(_) => std::thread::sleep(pause),
            }
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::SeqCst)
    }
}

fn begin() -> String {
    format!("BEGIN; {LOCK}; SAVEPOINT job")
}

impl Savepoints for Transaction {
    fn connection(&self) -> &sql::Connection {
        &self.connection
    }

    fn begin(&self) -> Result<(), sql::Error> {
        match self.due.replace(Due::Nothing) {
            Due::Nothing => {}
            Due::Keep => self.connection.tell_batch(NEXT)?,
            Due::Undo => self.connection.undo(UNDO)?,
        }
        self.connection.mark();
        Ok(())
    }

    fn end(&self, is_kept: bool) -> Result<(), sql::Error> {
        if !is_kept {
            self.connection.take_back();
            self.due.set(Due::Undo);
            return Ok(());
        }
        if self.connection.has_failed() {
            // The server keeps nothing of it, whatever the write makes of that.
            self.due.set(Due::Undo);
            return self.connection.execute_batch("RELEASE job");
        }
        self.due.set(Due::Keep);
        Ok(())
    }

    fn confirm(&self) -> Result<(), sql::Error> {
        if !matches!(self.due.get(), Due::Keep) || !self.connection.is_owing() {
            return Ok(());
        }
        let confirmed = self.connection.execute_batch(NEXT);
        self.due.set(match confirmed {
            Ok(()) => Due::Nothing,
            Err(_) => Due::Undo,
        });
        confirmed
    }

    fn goes_on(&self) -> bool {
        !self.connection.is_broken()
    }
}

/// The last transaction that a writer has committed. The lock is taken first: a server that has not
/// noticed yet may still be committing. And it is written, so that whoever has to have a commit (a
/// synchronous standby) has that one, too: a server that was cut short while it waited for them shows
/// what they may not have.
fn last_number(connection: &Postgres, name: &str) -> Result<Option<i64>, StoreError> {
    connection.execute_batch(&format!("BEGIN; SET LOCAL lock_timeout = '5s'; {LOCK};"))?;
    let last = Postgres::prepare_cached(connection, "SELECT batch FROM writers WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    let write = "UPDATE writers SET since = now() WHERE name = ?1";
    Postgres::prepare_cached(connection, write)?.execute([name])?;
    connection.take_warning();
    connection.execute_batch("COMMIT")?;
    if connection.take_warning() {
        // The wait was ended again.
        return Err(NotCommitted::Unknown.into());
    }
    Ok(last)
}

fn unreachable(error: StoreError) -> NotCommitted {
    NotCommitted::Unreachable(EngineError::new(error))
}
