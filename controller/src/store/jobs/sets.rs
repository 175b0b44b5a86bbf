//! What waits to be done together with others of its kind.

use tokio::sync::oneshot;

use super::{Answer, Savepoints, answer, in_savepoint, one_by_one};
use crate::store::error::{NotCommitted, StoreError};
use crate::store::model::{
    Acknowledged, Claim, Entry, HostSeen, Joining, NewToken, PassWanted, SessionWanted,
};
use crate::store::sql::Connection;

/// A write that can be done together with others of its kind.
pub(in crate::store) trait Together: Sized + Send + 'static {
    type Outcome: Send + 'static;

    /// What each comes to, as if they were done one after another.
    fn all(connection: &Connection, several: &[Self]) -> Result<Vec<Self::Outcome>, StoreError>;

    /// Where those of its kind wait.
    fn among(sets: &mut Sets) -> &mut Lot<Self>;

    /// How many rows it is, roughly.
    fn weight(&self) -> usize {
        1
    }
}

/// What waits at one time: those who do have said nothing of an order.
#[derive(Default)]
pub(in crate::store) struct Sets {
    pub(in crate::store) claims: Lot<Claim>,
    pub(in crate::store) tokens: Lot<Box<NewToken>>,
    pub(in crate::store) joining: Lot<Box<Joining>>,
    pub(in crate::store) log: Lot<Entry>,
    pub(in crate::store) acknowledged: Lot<Acknowledged>,
    pub(in crate::store) passes: Lot<PassWanted>,
    pub(in crate::store) sessions: Lot<Box<SessionWanted>>,
    pub(in crate::store) seen: Lot<HostSeen>,
    weight: usize,
}

/// Those of one kind, and who waits for each.
pub(in crate::store) struct Lot<T: Together> {
    several: Vec<T>,
    senders: Vec<oneshot::Sender<Outcome<T>>>,
}

/// What one comes to, or why it does not.
type Outcome<T> = Result<<T as Together>::Outcome, StoreError>;

/// What those of all kinds have come to.
pub(in crate::store) struct Outcomes {
    claims: Vec<<Claim as Together>::Outcome>,
    tokens: Vec<<Box<NewToken> as Together>::Outcome>,
    joining: Vec<<Box<Joining> as Together>::Outcome>,
    log: Vec<<Entry as Together>::Outcome>,
    acknowledged: Vec<<Acknowledged as Together>::Outcome>,
    passes: Vec<<PassWanted as Together>::Outcome>,
    sessions: Vec<<Box<SessionWanted> as Together>::Outcome>,
    seen: Vec<<HostSeen as Together>::Outcome>,
}

/// One of a set, whatever it is.
pub(in crate::store) trait Joins: Send {
    fn join(self: Box<Self>, sets: &mut Sets);
    /// Answers without writing. The caller may have gone.
    fn refuse(self: Box<Self>, cause: NotCommitted);
}

struct Part<T: Together> {
    what: T,
    sender: oneshot::Sender<Outcome<T>>,
}

/// One of a set, and the place where its outcome will arrive.
pub(super) fn part<T: Together>(what: T) -> (Box<dyn Joins>, oneshot::Receiver<Outcome<T>>) {
    let (sender, answer) = oneshot::channel();
    (Box::new(Part { what, sender }), answer)
}

impl<T: Together> Joins for Part<T> {
    fn join(self: Box<Self>, sets: &mut Sets) {
        sets.weight += self.what.weight();
        let lot = T::among(sets);
        lot.several.push(self.what);
        lot.senders.push(self.sender);
    }

    fn refuse(self: Box<Self>, cause: NotCommitted) {
        let _ = self.sender.send(Err(cause.into()));
    }
}

// === impl Sets ===

impl Sets {
    pub(super) fn len(&self) -> usize {
        let of_each = [
            self.claims.several.len(),
            self.tokens.several.len(),
            self.joining.several.len(),
            self.log.several.len(),
            self.acknowledged.several.len(),
            self.passes.several.len(),
            self.sessions.several.len(),
            self.seen.several.len(),
        ];
        of_each.iter().sum()
    }

    /// How many rows they are, roughly.
    pub(super) const fn weight(&self) -> usize {
        self.weight
    }

    /// Does all of them, each kind as one set.
    pub(super) fn all(&self, transaction: &dyn Savepoints) -> Result<Outcomes, StoreError> {
        if !transaction.goes_on() {
            return Err(NotCommitted::RolledBack.into());
        }
        in_savepoint(transaction, |connection| {
            Ok(Outcomes {
                claims: self.claims.all(connection)?,
                tokens: self.tokens.all(connection)?,
                joining: self.joining.all(connection)?,
                log: self.log.all(connection)?,
                acknowledged: self.acknowledged.all(connection)?,
                passes: self.passes.all(connection)?,
                sessions: self.sessions.all(connection)?,
                seen: self.seen.all(connection)?,
            })
        })
    }

    /// What tells their callers what they have come to.
    pub(super) fn answers(self, outcomes: Outcomes) -> Vec<Answer> {
        let mut answers = self.claims.answers(outcomes.claims);
        answers.extend(self.tokens.answers(outcomes.tokens));
        answers.extend(self.joining.answers(outcomes.joining));
        answers.extend(self.log.answers(outcomes.log));
        answers.extend(self.acknowledged.answers(outcomes.acknowledged));
        answers.extend(self.passes.answers(outcomes.passes));
        answers.extend(self.sessions.answers(outcomes.sessions));
        answers.extend(self.seen.answers(outcomes.seen));
        answers
    }

    /// Does each by itself: whatever is wrong with one is that one's alone.
    pub(super) fn one_by_one(self, transaction: &dyn Savepoints) -> Vec<Answer> {
        let mut answers = self.claims.one_by_one(transaction);
        answers.extend(self.tokens.one_by_one(transaction));
        answers.extend(self.joining.one_by_one(transaction));
        answers.extend(self.log.one_by_one(transaction));
        answers.extend(self.acknowledged.one_by_one(transaction));
        answers.extend(self.passes.one_by_one(transaction));
        answers.extend(self.sessions.one_by_one(transaction));
        answers.extend(self.seen.one_by_one(transaction));
        answers
    }
}

// === impl Lot ===

impl<T: Together> Default for Lot<T> {
    fn default() -> Self {
        Self {
            several: Vec::new(),
            senders: Vec::new(),
        }
    }
}

impl<T: Together> Lot<T> {
    fn all(&self, connection: &Connection) -> Result<Vec<T::Outcome>, StoreError> {
        if self.several.is_empty() {
            return Ok(Vec::new());
        }
        T::all(connection, &self.several)
    }

    fn answers(self, outcomes: Vec<T::Outcome>) -> Vec<Answer> {
        let each = self.senders.into_iter().zip(outcomes);
        each.map(|(sender, outcome)| answer(sender, Ok(outcome)))
            .collect()
    }

    /// The whole lot, and when that cannot be done each of it.
    fn one_by_one(self, transaction: &dyn Savepoints) -> Vec<Answer> {
        if self.several.is_empty() {
            return Vec::new();
        }
        if let Ok(outcomes) = one_by_one(transaction, |connection| self.all(connection)) {
            return self.answers(outcomes);
        }
        let each = self.senders.into_iter().zip(&self.several);
        let each = each.map(|(sender, one)| {
            let done = one_by_one(transaction, |connection| {
                let mut outcomes = T::all(connection, std::slice::from_ref(one))?;
                outcomes.pop().ok_or(StoreError::Panicked)
            });
            answer(sender, done)
        });
        each.collect()
    }
}
