//! Connections that only read, in three lanes, as those of SQLite's engine are.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use postgres::CancelToken;

use super::server::Server;
use crate::clock;
use crate::store::error::StoreError;
use crate::store::lanes::{Lane, Source};
use crate::store::sql::Connection;
use crate::store::sql::postgres::Postgres;

/// Look-ups that the fleet waits for, at one time.
const CONTROL_MAX: usize = 4;
/// Questions of the log at one time.
const QUESTIONS_MAX: usize = 2;
/// What one statement of a question may take.
const QUESTION_MAX: Duration = Duration::from_secs(10);
/// A connection that has rested longer is asked whether it still is one.
const RESTED: Duration = Duration::from_secs(1);

/// Three pools of connections to one server.
#[derive(Debug)]
pub(in crate::store) struct Readers {
    control: Arc<Lane<Reading>>,
    questions: Arc<Lane<Reading>>,
    sending: Arc<Lane<Reading>>,
    server: Server,
}

/// Opens those of one pool.
struct Reading {
    server: Server,
    statement_max: Duration,
}

/// One of them.
struct Reader {
    connection: Postgres,
    used: Cell<Instant>,
}

/// Ends the statement of a question that nobody waits for any more.
struct Patience {
    running: Arc<Mutex<Running>>,
    server: Server,
}

#[derive(Default)]
enum Running {
    /// Nothing yet, or no longer.
    #[default]
    Not,
    This(CancelToken),
    /// It is to end before it begins.
    Given,
}

// === impl Readers ===

impl Readers {
    pub(super) fn new(server: &Server) -> Self {
        let lane = |statement_max, most| {
            let server = server.clone();
            let source = Reading {
                server,
                statement_max,
            };
            Lane::new(source, most)
        };
        Self {
            control: lane(Duration::ZERO, CONTROL_MAX),
            questions: lane(QUESTION_MAX, QUESTIONS_MAX),
            sending: lane(Duration::ZERO, 1),
            server: server.clone(),
        }
    }

    /// A look-up that the fleet waits for.
    pub(in crate::store) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.control.permit().await?;
        self.control.run(permit, |it| work(&it.connection)).await
    }

    /// What a sink reads to send it on.
    pub(in crate::store) async fn send<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.sending.permit().await?;
        self.sending.run(permit, |it| work(&it.connection)).await
    }

    /// A question: it ends when it takes too long, and when the future is dropped because nobody waits
    /// for the answer any more.
    pub(in crate::store) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.questions.permit().await?;
        let running = Arc::<Mutex<Running>>::default();
        let patience = Patience {
            running: Arc::clone(&running),
            server: self.server.clone(),
        };
        let answer = self.questions.run(permit, move |it| {
            {
                let mut running = running.lock();
                if matches!(*running, Running::Given) {
                    return Err(StoreError::Closed);
                }
                *running = Running::This(it.connection.cancel_token());
            }
            let answer = work(&it.connection);
            // From here on the connection may be another's.
            *running.lock() = Running::Not;
            answer
        });
        let answered = answer.await;
        drop(patience);
        answered
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
    type Connection = Reader;

    fn open(&self) -> Result<Reader, StoreError> {
        Ok(Reader {
            connection: self.server.to_read(self.statement_max)?,
            used: Cell::new(clock::instant()),
        })
    }

    fn is_usable(&self, reader: &Reader) -> bool {
        let now = clock::instant();
        let has_rested = now.saturating_duration_since(reader.used.replace(now)) > RESTED;
        !reader.connection.is_broken() && (!has_rested || reader.connection.batch("").is_ok())
    }

    fn discard(&self, readers: Vec<Reader>) {
        // The driver says goodbye, and waits for that, which no task may.
        std::thread::spawn(move || drop(readers));
    }
}

// === impl Patience ===

impl Drop for Patience {
    fn drop(&mut self) {
        let running = Arc::clone(&self.running);
        if matches!(*running.lock(), Running::Not) {
            *running.lock() = Running::Given;
            return;
        }
        let server = self.server.clone();
        // Connects, and waits for that.
        std::thread::spawn(move || {
            // Held meanwhile: what is asked on the same connection next begins after it.
            let running = running.lock();
            if let Running::This(token) = &*running
                && let Err(error) = server.cancel(token)
            {
                tracing::debug!(%error, "a question that nobody waits for goes on");
            }
        });
    }
}
