//! Looks at what other controllers have changed, for whoever cannot wait for the next one: those who wait at one time are
//! served by one look, and between two of them is a pause, however many ask.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// Whoever asked is told by then that nothing is known, because the database does not answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    /// How often somebody has asked.
    asked: watch::Sender<u64>,
    /// Up to which of them everybody has been served.
    served: watch::Sender<u64>,
    /// What the last look has found; `None` before the first.
    found: watch::Sender<Option<Found>>,
}

/// What a look has found, for whoever else would ask the database whether anything moved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Found {
    /// The newest record of the log.
    pub(crate) record: u64,
    /// Another number for each state that the authorities had.
    pub(crate) authority: u64,
}

// === impl Looks ===

impl Looks {
    /// Comes back after a look that began after this was called; false when there was none in time.
    pub(crate) async fn wait(&self) -> bool {
        let mut served = self.served.subscribe();
        let mut number = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            number = *asked;
        });
        let waiting = served.wait_for(|served| *served >= number);
        matches!(timeout(ANSWERED_WITHIN, waiting).await, Ok(Ok(_)))
    }

    /// What the last look has found; `None` before the first.
    pub(crate) fn found(&self) -> Option<Found> {
        *self.found.borrow()
    }

    /// A look has found this.
    pub(crate) fn find(&self, found: Found) {
        self.found
            .send_if_modified(|held| held.replace(found) != Some(found));
    }

    /// Comes when a look finds that the log is not as it was when `found` was.
    pub(crate) async fn log_moved(&self, found: Option<Found>) {
        let before = found.map(|found| found.record);
        let mut finding = self.found.subscribe();
        // The sender is ours, so it never ends.
        let _ = finding
            .wait_for(|found| found.is_some_and(|it| Some(it.record) != before))
            .await;
    }

    /// Whom a look serves that begins now.
    pub(crate) fn begin(&self) -> u64 {
        *self.asked.borrow()
    }

    /// It was done.
    pub(crate) fn done(&self, serves: u64) {
        self.served.send_replace(serves);
    }

    /// Somebody waits whom nothing serves that has begun.
    pub(crate) async fn asked_after(&self, serves: u64) {
        let mut asked = self.asked.subscribe();
        // The sender is ours, so it never ends.
        let _ = asked.wait_for(|asked| *asked > serves).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_served_by_a_look_that_began_later_and_all_at_once() {
        let looks = Arc::new(Looks::default());
        let begun_before = looks.begin();
        let waiting: Vec<_> = (0..100)
            .map(|_| {
                let looks = Arc::clone(&looks);
                tokio::spawn(async move { looks.wait().await })
            })
            .collect();
        looks.asked_after(begun_before + 99).await;
        looks.done(begun_before);
        tokio::task::yield_now().await;
        assert!(waiting.iter().all(|it| !it.is_finished()));

        let serves = looks.begin();
        looks.done(serves);
        for one in waiting {
            assert!(one.await.unwrap());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_the_log_to_move_is_woken_by_a_look_that_finds_it_moved_and_by_no_other()
    {
        let looks = Arc::new(Looks::default());
        let found = |record, authority| Found { record, authority };
        looks.find(found(7, 1));
        let waiting = tokio::spawn({
            let (looks, seen) = (Arc::clone(&looks), looks.found());
            async move { looks.log_moved(seen).await }
        });
        for still in [found(7, 1), found(7, 2)] {
            looks.find(still);
            tokio::task::yield_now().await;
            assert!(!waiting.is_finished());
        }

        looks.find(found(8, 2));
        waiting.await.unwrap();
        // Of what has moved before somebody waits, nobody has to wait.
        looks.log_moved(Some(found(7, 1))).await;
        looks.log_moved(None).await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_database_that_does_not_answer_is_told_so() {
        assert!(!Looks::default().wait().await);
    }
}
