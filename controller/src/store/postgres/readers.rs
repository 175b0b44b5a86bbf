//! Connections that only read, in three lanes, as those of SQLite's engine are.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

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
/// What a connection of questions is told. Each of their statements names in the order of joins and of rows the one
/// index that is to drive it, which was counted (`search`): nothing is left to be planned by statistics, which do
/// not know the values, and may be of a log that was another.
const OF_QUESTIONS: &str = "SET join_collapse_limit = 1; SET from_collapse_limit = 1;
    SET enable_sort = off; SET enable_incremental_sort = off; SET enable_seqscan = off;
    SET enable_bitmapscan = off; SET enable_material = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
    SET max_parallel_workers_per_gather = 0; SET jit = off; SET plan_cache_mode = force_generic_plan;";
/// A connection that has rested longer is asked whether it still is one.
const RESTED: Duration = Duration::from_secs(1);

/// Three pools of connections to one server.
#[derive(Debug)]
pub(in crate::store) struct Readers {
    control: Arc<Lane<Reading>>,
    questions: Arc<Lane<Reading>>,
    sending: Arc<Lane<Reading>>,
}

/// Opens those of one pool.
struct Reading {
    server: Server,
    statement_max: Duration,
    /// What each is told at first.
    first: &'static str,
}

/// One of them.
struct Reader {
    server: Server,
    connection: Postgres,
    used: Cell<Instant>,
}

// === impl Readers ===

impl Readers {
    pub(super) fn new(server: &Server) -> Self {
        let lane = |(statement_max, first), most| {
            let server = server.clone();
            let source = Reading {
                server,
                statement_max,
                first,
            };
            Lane::new(source, most)
        };
        Self {
            control: lane((Duration::ZERO, ""), CONTROL_MAX),
            questions: lane((QUESTION_MAX, OF_QUESTIONS), QUESTIONS_MAX),
            sending: lane((Duration::ZERO, ""), 1),
        }
    }

    /// A look-up that the fleet waits for.
    pub(in crate::store) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.control.permit(Duration::ZERO).await?;
        self.control.run(permit, |it| it.read(work)).await
    }

    /// What a sink reads to send it on.
    pub(in crate::store) async fn send<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.sending.permit(Duration::ZERO).await?;
        self.sending.run(permit, |it| it.read(work)).await
    }

    /// A question: it ends when it takes too long, and when the future is dropped because nobody waits
    /// for the answer any more.
    pub(in crate::store) async fn ask<T: Send + 'static>(
        &self,
        served: Duration,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.questions.permit(served).await?;
        let unwanted = CancellationToken::new();
        let _ends = unwanted.clone().drop_guard();
        let answer = self.questions.run(permit, |it| {
            it.connection.unless(unwanted, || it.read(work))
        });
        answer.await
    }

    /// Refuses what comes now or waits in line; readings that have begun go on.
    pub(super) fn close(&self) {
        self.control.close();
        self.questions.close();
        self.sending.close();
    }
}

// === impl Reader ===

impl Reader {
    /// A server that goes away meanwhile is one that cannot be reached.
    fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let done = work(&self.connection);
        if let Err(StoreError::Engine(source)) = &done
            && self.connection.is_broken()
        {
            return Err(self.server.lost(source.clone()));
        }
        done
    }
}

// === impl Reading ===

impl Source for Reading {
    type Connection = Reader;

    fn open(&self) -> Result<Reader, StoreError> {
        let connection = self.server.to_read(self.statement_max)?;
        if !self.first.is_empty() {
            connection.batch(self.first)?;
        }
        Ok(Reader {
            server: self.server.clone(),
            connection,
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
