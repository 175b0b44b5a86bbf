//! Writes that wait, for whichever engine: many are done in one transaction, and each is answered after
//! its commit. Claims that wait are judged and stored as one set, and so are records of the log, what
//! hosts acknowledge, tokens that are made, and who joins.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::sync::{mpsc, oneshot};

use super::error::{EngineError, NotCommitted, StoreError};
use super::model::{Acknowledged, Claim, Entry, Joining, NewToken};
use super::sql::{Connection, Error};

/// Writes that wait for the writer at most; more callers wait in line before it.
const QUEUE_MAX: usize = 4096;
/// Writes in one transaction at most: bounds how long the first of them waits for the last.
const BATCH_MAX: usize = 1024;
/// What goes into one set at most, as it is weighed: bounds its memory, and how long nobody looks at the time.
const SET_MAX: usize = 1024;
/// And the time they may take together before they are committed.
const BATCH_TIME_MAX: Duration = Duration::from_millis(50);
/// Half a millisecond to 16 seconds: the first bound, the factor to the next, how many.
const COMMIT_BUCKETS: (f64, f64, u16) = (0.0005, 2.0, 16);

/// The callers' end of a writer; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Writes {
    jobs: mpsc::Sender<Message>,
    /// Set by [`close`](Self::close): tells a store that was closed from a writer that died.
    closing: Arc<AtomicBool>,
    /// How long commits take.
    commits: Histogram,
}

/// The writer's end.
pub(super) struct Queue {
    pub(super) jobs: mpsc::Receiver<Message>,
    pub(super) closing: Arc<AtomicBool>,
    pub(super) commits: Histogram,
}

/// What a writer is told.
#[derive(Debug)]
pub(super) enum Message {
    Write(Waiting),
    Stop,
}

/// A write that waits.
#[derive(Debug)]
pub(super) enum Waiting {
    /// Nobody but itself knows what it does.
    Alone(Job),
    Acknowledged(Part<Acknowledged>),
    Claim(Part<Claim>),
    Joining(Part<Box<Joining>>),
    Log(Part<Entry>),
    Token(Part<Box<NewToken>>),
}

/// A write of which only its result is known.
pub(super) struct Job(Box<dyn Write>);

/// A write that can be done together with others of its kind.
pub(super) trait Together: Sized {
    type Outcome;

    /// What each comes to, as if they were done one after another.
    fn all(connection: &Connection, several: &[Self]) -> Result<Vec<Self::Outcome>, StoreError>;

    /// How many rows it is, roughly.
    fn weight(&self) -> usize {
        1
    }
}

/// One of a set, and who waits for it.
pub(super) struct Part<T: Together> {
    what: T,
    sender: oneshot::Sender<Result<T::Outcome, StoreError>>,
}

/// What answers a write, once the fate of its transaction is known.
pub(super) type Answer = Box<dyn FnOnce(Result<(), NotCommitted>) + Send>;

/// A transaction in which each write undoes itself alone when it fails.
pub(super) trait Savepoints {
    fn connection(&self) -> &Connection;
    /// Before a write.
    fn begin(&self) -> Result<(), Error>;
    /// After it: what it did is kept, or undone.
    fn end(&self, is_kept: bool) -> Result<(), Error>;
    /// Whether the engine still has what was written: what is written after that would be lost, or kept
    /// alone.
    fn goes_on(&self) -> bool;
}

trait Write: Send {
    /// Writes, and says what will answer: nothing is answered before the commit.
    fn run(self: Box<Self>, transaction: &dyn Savepoints) -> Answer;
    /// Answers without writing, when there is no transaction to write in.
    fn refuse(self: Box<Self>, cause: NotCommitted);
}

struct Work<T, F> {
    work: F,
    sender: oneshot::Sender<Result<T, StoreError>>,
}

// === impl Writes ===

impl Writes {
    /// Starts a writer: a thread that serves the queue by `run` and then ends.
    pub(super) fn start(run: impl FnOnce(&mut Queue) + Send + 'static) -> Result<Self, StoreError> {
        let (start, factor, length) = COMMIT_BUCKETS;
        let commits = Histogram::new(exponential_buckets(start, factor, length));
        let closing = Arc::<AtomicBool>::default();
        let (jobs, waiting) = mpsc::channel(QUEUE_MAX);
        let mut queue = Queue {
            jobs: waiting,
            closing: Arc::clone(&closing),
            commits: commits.clone(),
        };
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                // In this order: whoever waits for the end of the queue finds the database closed.
                run(&mut queue);
                drop(queue);
            })
            .map_err(|error| StoreError::Engine(EngineError::new(error)))?;
        Ok(Self {
            jobs,
            closing,
            commits,
        })
    }

    /// Runs `work` in the next transaction; the answer comes after its commit.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (job, answer) = Job::new(work);
        self.send(Waiting::Alone(job), answer).await
    }

    /// Does what can be done together with others of its kind; the answer comes after the commit.
    pub(super) async fn join<T: Together>(&self, what: T) -> Result<T::Outcome, StoreError>
    where
        Waiting: From<Part<T>>,
    {
        let (sender, answer) = oneshot::channel();
        self.send(Part { what, sender }.into(), answer).await
    }

    async fn send<T>(
        &self,
        write: Waiting,
        answer: oneshot::Receiver<Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let sent = self.jobs.send(Message::Write(write)).await;
        sent.map_err(|_| self.gone())?;
        answer.await.map_err(|_| self.gone())?
    }

    /// How long commits take, seconds.
    pub(super) fn commits(&self) -> Histogram {
        self.commits.clone()
    }

    /// Lets the writer commit what waits and end. Later writes are refused.
    pub(super) async fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        if self.jobs.send(Message::Stop).await.is_ok() {
            self.jobs.closed().await;
        }
    }

    /// Resolves when the writer is gone, which only happens after [`close`](Self::close) or a defect.
    pub(super) async fn closed(&self) {
        self.jobs.closed().await;
    }

    /// Why the writer does not answer.
    fn gone(&self) -> StoreError {
        if self.closing.load(Ordering::SeqCst) {
            StoreError::Closed
        } else {
            StoreError::Panicked
        }
    }
}

/// Does a write and those that wait behind it in one transaction, as long as that goes on. Gives what
/// answers them, and whether the writer is told to stop.
pub(super) fn gather(
    first: Waiting,
    jobs: &mut mpsc::Receiver<Message>,
    (transaction, now): (&dyn Savepoints, fn() -> Instant),
) -> (Vec<Answer>, bool) {
    let mut batch = Batch {
        transaction,
        acknowledged: Vec::new(),
        claims: Vec::new(),
        joining: Vec::new(),
        log: Vec::new(),
        tokens: Vec::new(),
        weight: 0,
        answers: Vec::new(),
    };
    let began = now();
    batch.take(first);
    let is_told_to_stop = loop {
        let is_full = batch.len() >= BATCH_MAX || began.elapsed() >= BATCH_TIME_MAX;
        if is_full || !transaction.goes_on() {
            break false;
        }
        match jobs.try_recv() {
            Ok(Message::Write(write)) => batch.take(write),
            Ok(Message::Stop) => break true,
            // While these are done, more may come.
            Err(_) if batch.weight > 0 => batch.do_sets(),
            Err(_) => break false,
        }
    };
    batch.do_sets();
    (batch.answers, is_told_to_stop)
}

/// What is done in one transaction. Those who wait at one time have said nothing of an order.
struct Batch<'t> {
    transaction: &'t dyn Savepoints,
    /// What is still to be done as sets.
    acknowledged: Vec<Part<Acknowledged>>,
    claims: Vec<Part<Claim>>,
    joining: Vec<Part<Box<Joining>>>,
    log: Vec<Part<Entry>>,
    tokens: Vec<Part<Box<NewToken>>>,
    weight: usize,
    /// Of what was done.
    answers: Vec<Answer>,
}

// === impl Batch ===

impl Batch<'_> {
    fn len(&self) -> usize {
        let of_sets = [
            self.acknowledged.len(),
            self.claims.len(),
            self.joining.len(),
            self.log.len(),
            self.tokens.len(),
        ];
        self.answers.len() + of_sets.iter().sum::<usize>()
    }

    fn take(&mut self, write: Waiting) {
        match write {
            Waiting::Alone(job) => {
                self.do_sets();
                self.answers.push(job.run(self.transaction));
                return;
            }
            Waiting::Acknowledged(part) => {
                self.weight += part.what.weight();
                self.acknowledged.push(part);
            }
            Waiting::Claim(part) => {
                self.weight += part.what.weight();
                self.claims.push(part);
            }
            Waiting::Joining(part) => {
                self.weight += part.what.weight();
                self.joining.push(part);
            }
            Waiting::Log(part) => {
                self.weight += part.what.weight();
                self.log.push(part);
            }
            Waiting::Token(part) => {
                self.weight += part.what.weight();
                self.tokens.push(part);
            }
        }
        if self.weight >= SET_MAX {
            self.do_sets();
        }
    }

    fn do_sets(&mut self) {
        self.weight = 0;
        let claims = std::mem::take(&mut self.claims);
        self.answers.extend(together(self.transaction, claims));
        let tokens = std::mem::take(&mut self.tokens);
        self.answers.extend(together(self.transaction, tokens));
        let joining = std::mem::take(&mut self.joining);
        self.answers.extend(together(self.transaction, joining));
        let log = std::mem::take(&mut self.log);
        self.answers.extend(together(self.transaction, log));
        let acknowledged = std::mem::take(&mut self.acknowledged);
        self.answers
            .extend(together(self.transaction, acknowledged));
    }
}

/// Does a set, and what fails of it one by one: whatever is wrong with one is that one's alone.
fn together<T>(transaction: &dyn Savepoints, parts: Vec<Part<T>>) -> Vec<Answer>
where
    T: Together + 'static,
    T::Outcome: Send,
{
    let (several, senders): (Vec<_>, Vec<_>) = parts
        .into_iter()
        .map(|part| (part.what, part.sender))
        .unzip();
    if several.is_empty() {
        return Vec::new();
    }
    let results: Vec<_> = match all(transaction, &several) {
        Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
        Err(error) if several.len() == 1 => vec![Err(error)],
        Err(_) => several.iter().map(|one| alone(transaction, one)).collect(),
    };
    let answers = senders.into_iter().zip(results);
    answers
        .map(|(sender, result)| answer(sender, result))
        .collect()
}

fn all<T: Together>(
    transaction: &dyn Savepoints,
    several: &[T],
) -> Result<Vec<T::Outcome>, StoreError> {
    if !transaction.goes_on() {
        return Err(NotCommitted::RolledBack.into());
    }
    in_savepoint(transaction, |connection| T::all(connection, several))
}

fn alone<T: Together>(transaction: &dyn Savepoints, one: &T) -> Result<T::Outcome, StoreError> {
    let mut outcomes = all(transaction, std::slice::from_ref(one))?;
    outcomes.pop().ok_or(StoreError::Panicked)
}

/// What tells a caller what its write came to, once that is committed.
fn answer<T: Send + 'static>(
    sender: oneshot::Sender<Result<T, StoreError>>,
    result: Result<T, StoreError>,
) -> Answer {
    Box::new(move |committed| {
        let answer = match result {
            Ok(value) => committed.map(|()| value).map_err(StoreError::from),
            // It was not kept in either case, and this is the nearer cause.
            Err(error) => Err(error),
        };
        // The caller may have gone; what it wrote stays written.
        let _ = sender.send(answer);
    })
}

// === impl Waiting ===

impl Waiting {
    /// Answers without writing, when there is no transaction to write in. The caller may have gone.
    pub(super) fn refuse(self, cause: NotCommitted) {
        match self {
            Self::Alone(job) => job.0.refuse(cause),
            Self::Acknowledged(part) => drop(part.sender.send(Err(cause.into()))),
            Self::Claim(part) => drop(part.sender.send(Err(cause.into()))),
            Self::Joining(part) => drop(part.sender.send(Err(cause.into()))),
            Self::Log(part) => drop(part.sender.send(Err(cause.into()))),
            Self::Token(part) => drop(part.sender.send(Err(cause.into()))),
        }
    }
}

impl From<Part<Acknowledged>> for Waiting {
    fn from(part: Part<Acknowledged>) -> Self {
        Self::Acknowledged(part)
    }
}

impl From<Part<Claim>> for Waiting {
    fn from(part: Part<Claim>) -> Self {
        Self::Claim(part)
    }
}

impl From<Part<Box<Joining>>> for Waiting {
    fn from(part: Part<Box<Joining>>) -> Self {
        Self::Joining(part)
    }
}

impl From<Part<Box<NewToken>>> for Waiting {
    fn from(part: Part<Box<NewToken>>) -> Self {
        Self::Token(part)
    }
}

impl From<Part<Entry>> for Waiting {
    fn from(part: Part<Entry>) -> Self {
        Self::Log(part)
    }
}

impl<T: Together> fmt::Debug for Part<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").finish_non_exhaustive()
    }
}

// === impl Job ===

impl Job {
    /// Makes a write of `work`, and the place where its result will arrive.
    pub(super) fn new<T: Send + 'static>(
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> (Self, oneshot::Receiver<Result<T, StoreError>>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Box::new(Work { work, sender })), receiver)
    }

    /// Writes, and says what will answer: nothing is answered before the commit.
    fn run(self, transaction: &dyn Savepoints) -> Answer {
        self.0.run(transaction)
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}

// === impl Work ===

impl<T, F> Write for Work<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, StoreError> + Send,
{
    fn run(self: Box<Self>, transaction: &dyn Savepoints) -> Answer {
        let Self { work, sender } = *self;
        answer(sender, in_savepoint(transaction, work))
    }

    fn refuse(self: Box<Self>, cause: NotCommitted) {
        // The caller may have gone, and nothing was written.
        let _ = self.sender.send(Err(cause.into()));
    }
}

fn in_savepoint<T>(
    transaction: &dyn Savepoints,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    transaction.begin()?;
    let result = work(transaction.connection());
    let ended = transaction.end(result.is_ok());
    // What the work says is the nearer cause.
    let value = result?;
    ended?;
    Ok(value)
}
