//! The controller, as a knock asks it: somebody waits for her port, so a controller that does not
//! answer at once says nothing, and is not asked again.

use std::future::Future;
use std::time::{Duration, Instant};

use member::Membership;
use program::Failure as _;

use crate::clock;
use crate::connection::Connection;
use crate::error::{CommandError, Result};

/// By how much a controller that is not there may delay a knock, in all.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same after a knock that has opened nothing: nobody waits for a port any more, and who is told no reason has
/// to find it out by herself. A busy controller, or a busy machine here, may take more than a second.
const PATIENCE_AFTER: Duration = Duration::from_secs(4);

/// One conversation, which is begun when there is something to ask.
#[derive(Debug)]
pub(crate) struct Asker {
    membership: Membership,
    connection: Option<Connection>,
    patience: Duration,
    /// When the patience is over; `None` before the first question.
    until: Option<Instant>,
    /// What was said last, when that was no answer.
    silence: Option<Silence>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Silence {
    /// Nobody answered in time.
    Late,
    /// There is no connection, or the question was refused.
    Failed(CommandError),
}

// === impl Asker ===

impl Asker {
    /// Asks as this member.
    pub(crate) fn new(membership: Membership) -> Self {
        Self {
            membership,
            connection: None,
            patience: PATIENCE,
            until: None,
            silence: None,
        }
    }

    pub(crate) fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Begins anew, with all of the patience.
    pub(crate) fn again(&mut self) {
        self.until = None;
        self.silence = None;
    }

    /// Begins anew, after a knock that has opened nothing, with the patience of then.
    pub(crate) fn after_knock(&mut self) {
        self.patience = PATIENCE_AFTER;
        self.again();
    }

    /// Asks on where the last question was refused: a controller of the version before does not know it, but others.
    pub(crate) fn go_on(&mut self) {
        if matches!(self.silence, Some(Silence::Failed(_))) {
            self.silence = None;
        }
    }

    /// Why the last question was not answered.
    pub(crate) fn silence(&self) -> Option<&Silence> {
        self.silence.as_ref()
    }

    /// The words of a controller that did not merely keep silent, and what to do about it.
    pub(crate) fn refusal(&self) -> Option<(String, String)> {
        let Silence::Failed(error) = self.silence.as_ref()? else {
            return None;
        };
        let hint = error.hint()?;
        (!error.is_unreachable()).then(|| (error.to_string(), hint.into_owned()))
    }

    /// Asks `question`; `None` when there is no answer in time. After that nothing is asked any more.
    pub(crate) async fn ask<T, F>(&mut self, question: impl FnOnce(Connection) -> F) -> Option<T>
    where
        F: Future<Output = Result<T>>,
    {
        if self.silence.is_some() {
            return None;
        }
        let until = *self
            .until
            .get_or_insert_with(|| clock::moment() + self.patience);
        let left = until.saturating_duration_since(clock::moment());
        let known = self.connection.clone();
        let membership = self.membership.clone();
        let asked = async {
            let connection = match known {
                Some(connection) => connection,
                None => Connection::of(membership).await?,
            };
            let answer = question(connection.clone()).await?;
            Ok((connection, answer))
        };
        match tokio::time::timeout(left, asked).await {
            Ok(Ok((connection, answer))) => {
                self.connection = Some(connection);
                Some(answer)
            }
            Ok(Err(error)) => {
                self.silence = Some(Silence::Failed(error));
                None
            }
            Err(_) => {
                self.silence = Some(Silence::Late);
                None
            }
        }
    }
}
