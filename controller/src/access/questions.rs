//! How many questions of the log may be open: of one member, and of all together.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::Error;

/// Open questions of one member.
pub(crate) const PER_MEMBER: usize = 4;
/// Open questions of all members.
pub(crate) const IN_ALL: usize = 16;
/// Logs that one member follows.
const FOLLOWED_PER_MEMBER: usize = 4;
/// And all members.
const FOLLOWED_IN_ALL: usize = 64;
/// How long a question waits for another one to end before it is refused.
const PATIENCE: Duration = Duration::from_secs(5);

/// The open questions.
#[derive(Debug)]
pub(crate) struct Questions {
    /// What of the log they are: "questions of the log open".
    what: &'static str,
    per_member: usize,
    in_all: usize,
    all: Arc<Semaphore>,
    members: Mutex<HashMap<u64, Arc<Semaphore>>>,
}

/// One open question; it is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct OpenQuestion {
    _of_all: OwnedSemaphorePermit,
    _of_member: OwnedSemaphorePermit,
}

// === impl Questions ===

impl Default for Questions {
    fn default() -> Self {
        Self::new("questions of the log open", PER_MEMBER, IN_ALL)
    }
}

impl Questions {
    /// Those that stay: each costs little, and is never done.
    pub(crate) fn following() -> Self {
        Self::new(
            "listings that follow the log",
            FOLLOWED_PER_MEMBER,
            FOLLOWED_IN_ALL,
        )
    }

    fn new(what: &'static str, per_member: usize, in_all: usize) -> Self {
        Self {
            what,
            per_member,
            in_all,
            all: Arc::new(Semaphore::new(in_all)),
            members: Mutex::default(),
        }
    }

    /// Opens a question of this member (`Member::id`) as soon as there is room for it.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] when there is none for a while, and who is to wait for whom.
    pub(crate) async fn open(&self, member: u64) -> Result<OpenQuestion, Error> {
        let own = Arc::clone(
            self.members
                .lock()
                .entry(member)
                .or_insert_with(|| Arc::new(Semaphore::new(self.per_member))),
        );
        let of_member = within(own, ("you have", self.what), self.per_member).await?;
        let of_all = within(Arc::clone(&self.all), ("there are", self.what), self.in_all).await?;
        Ok(OpenQuestion {
            _of_all: of_all,
            _of_member: of_member,
        })
    }

    /// Forgets members that ask nothing.
    pub(crate) fn prune(&self) {
        let mut members = self.members.lock();
        members.retain(|_, own| Arc::strong_count(own) > 1);
    }
}

async fn within(
    room: Arc<Semaphore>,
    (whose, what): (&'static str, &'static str),
    max: usize,
) -> Result<OwnedSemaphorePermit, Error> {
    match timeout(PATIENCE, room.acquire_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) | Err(_) => Err(Error::Busy { whose, max, what }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_members_questions_leave_room_for_anothers_and_the_next_one_is_told_why() {
        let questions = Questions::default();
        let mut open = Vec::new();
        for _ in 0..PER_MEMBER {
            open.push(questions.open(1).await.unwrap());
        }

        let refused = questions.open(1).await.unwrap_err().to_string();
        let other = questions.open(2).await;
        open.pop();
        let again = questions.open(1).await;

        assert!(refused.contains("you have 4 questions"), "{refused}");
        assert!(other.is_ok());
        assert!(again.is_ok(), "a question that ended makes room");
    }

    #[tokio::test(start_paused = true)]
    async fn all_members_together_have_a_bound_and_nobody_is_remembered_who_asks_nothing() {
        let questions = Questions::default();
        let mut open = Vec::new();
        for number in 0..IN_ALL {
            let member = (number / PER_MEMBER) as u64;
            open.push(questions.open(member).await.unwrap());
        }

        let refused = questions.open(99).await.unwrap_err().to_string();
        assert!(refused.contains("there are 16 questions"), "{refused}");
        questions.prune();
        assert_eq!(questions.members.lock().len(), IN_ALL / PER_MEMBER);
        open.clear();
        questions.prune();
        assert!(questions.members.lock().is_empty());
    }
}
