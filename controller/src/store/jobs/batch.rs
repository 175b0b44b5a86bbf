//! What is done in one transaction.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::sets::Outcomes;
use super::{Answer, Message, Savepoints, Sets, Waiting, answer};
use crate::store::error::StoreError;

/// Writes in one transaction at most: bounds how long the first of them waits for the last.
const BATCH_MAX: usize = 1024;
/// What goes into one set at most, as it is weighed: bounds its memory, and how long nobody looks at the time.
const SET_MAX: usize = 1024;
/// And the time they may take together before they are committed.
const BATCH_TIME_MAX: Duration = Duration::from_millis(50);

/// What was done in one transaction, before its commit.
pub(in crate::store) struct Gathered {
    /// Of what could be done, and of what could not.
    pub(in crate::store) answers: Vec<Answer>,
    /// What came last, as long as nobody knows whether it could be done.
    pub(in crate::store) last: Option<Last>,
    pub(in crate::store) is_told_to_stop: bool,
}

/// A write that was done, as long as the engine has not said that it could do all of it.
pub(in crate::store) enum Last {
    Alone(Box<dyn Told>),
    Together(Box<(Sets, Outcomes)>),
}

/// Who waits for a write that nobody else knows, and what it came to.
pub(in crate::store) trait Told {
    fn answer(self: Box<Self>, confirmed: Result<(), StoreError>) -> Answer;
}

struct Alone<T> {
    sender: oneshot::Sender<Result<T, StoreError>>,
    result: Result<T, StoreError>,
}

struct Batch<'t> {
    transaction: &'t dyn Savepoints,
    /// What is still to be done.
    sets: Sets,
    answers: Vec<Answer>,
    last: Option<Last>,
}

/// Does a write and those that wait behind it in one transaction, as long as that goes on.
pub(in crate::store) fn gather(
    first: Waiting,
    jobs: &mut mpsc::Receiver<Message>,
    (transaction, now): (&dyn Savepoints, fn() -> Instant),
) -> Gathered {
    let mut batch = Batch {
        transaction,
        sets: Sets::default(),
        answers: Vec::new(),
        last: None,
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
            Err(_) if batch.sets.weight() > 0 => batch.do_sets(),
            Err(_) => break false,
        }
    };
    batch.do_sets();
    let Batch { answers, last, .. } = batch;
    Gathered {
        answers,
        last,
        is_told_to_stop,
    }
}

// === impl Batch ===

impl Batch<'_> {
    fn len(&self) -> usize {
        self.answers.len() + self.last.as_ref().map_or(0, Last::len) + self.sets.len()
    }

    fn take(&mut self, write: Waiting) {
        match write {
            Waiting::Alone(job) => {
                self.do_sets();
                self.confirm();
                self.last = Some(job.run(self.transaction));
            }
            Waiting::Together(part) => {
                part.join(&mut self.sets);
                if self.sets.weight() >= SET_MAX {
                    self.do_sets();
                }
            }
        }
    }

    /// Does what waits to be done together, as one write where all of it can be done.
    fn do_sets(&mut self) {
        let sets = std::mem::take(&mut self.sets);
        if sets.len() == 0 {
            return;
        }
        self.confirm();
        match sets.all(self.transaction) {
            Ok(outcomes) => self.last = Some(Last::Together(Box::new((sets, outcomes)))),
            Err(_) => self.answers.extend(sets.one_by_one(self.transaction)),
        }
    }

    /// Before anything else is done: whether what came last could be.
    fn confirm(&mut self) {
        if let Some(last) = self.last.take() {
            let answers = match self.transaction.confirm() {
                Ok(()) => last.answers(),
                Err(error) => last.failed(error.into(), self.transaction),
            };
            self.answers.extend(answers);
        }
    }
}

// === impl Gathered ===

impl Gathered {
    /// Of an engine that says of each write at once whether it could be done.
    pub(in crate::store) fn answers(self) -> Vec<Answer> {
        let mut answers = self.answers;
        answers.extend(self.last.map(Last::answers).into_iter().flatten());
        answers
    }
}

// === impl Last ===

impl Last {
    /// A write that was alone.
    pub(super) fn one<T: Send + 'static>(
        sender: oneshot::Sender<Result<T, StoreError>>,
        result: Result<T, StoreError>,
    ) -> Self {
        Self::Alone(Box::new(Alone { sender, result }))
    }

    pub(in crate::store) fn len(&self) -> usize {
        match self {
            Self::Alone(_) => 1,
            Self::Together(done) => done.0.len(),
        }
    }

    /// It could be done.
    pub(in crate::store) fn answers(self) -> Vec<Answer> {
        match self {
            Self::Alone(told) => vec![told.answer(Ok(()))],
            Self::Together(done) => {
                let (sets, outcomes) = *done;
                sets.answers(outcomes)
            }
        }
    }

    /// It could not, and was undone: of what was done together each is done by itself.
    pub(in crate::store) fn failed(
        self,
        error: StoreError,
        transaction: &dyn Savepoints,
    ) -> Vec<Answer> {
        match self {
            Self::Alone(told) => vec![told.answer(Err(error))],
            Self::Together(done) => done.0.one_by_one(transaction),
        }
    }
}

impl<T: Send + 'static> Told for Alone<T> {
    fn answer(self: Box<Self>, confirmed: Result<(), StoreError>) -> Answer {
        let Self { sender, result } = *self;
        // What the write itself says is the nearer cause.
        answer(sender, result.and_then(|value| confirmed.map(|()| value)))
    }
}
