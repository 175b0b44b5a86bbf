//! What the log is asked: pages of answers, what comes after a record, and whom it knows.

use std::time::Duration;

use super::Store;
use super::error::StoreError;
use super::model::{Counted, Cursor, EventFilter, LogHead, LogNames, Onward, Page, Use, UsesAsked};
use super::sqlite::{events, names, retention, search, words};

/// How long a count may have a place, in all its turns.
const COUNTED_MAX: Duration = Duration::from_secs(10);
/// Lots of events that one question has indexed before it is answered: some seconds.
const LOTS_MAX: usize = 200;

// === impl Store ===

impl Store {
    /// The next rows of an answer, newest first, at most `limit`: what was found of them in one turn at a
    /// place, and where to go on. Others have theirs in between. A future that is dropped ends the search.
    pub(crate) async fn look(
        &self,
        filter: EventFilter,
        from: impl Into<Onward>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let from = from.into();
        if filter.asks_for_words() && !self.index_all().await? {
            return Ok(Page {
                cut: true,
                ..Page::default()
            });
        }
        self.engine
            .ask(from.course.served, move |connection| {
                search::page(connection, &filter, from, limit)
            })
            .await
    }

    /// The newest `limit` rows of an answer, however long the log is; cut only where one look was.
    pub(crate) async fn newest(
        &self,
        filter: EventFilter,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.whole(filter, Cursor::NEWEST, limit).await
    }

    /// The `limit` rows of an answer that follow this one, in as many turns as it takes.
    async fn whole(
        &self,
        filter: EventFilter,
        after: Cursor,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let mut found = Page::default();
        let mut onward = Some(Onward::from(after));
        while let Some(from) = onward {
            let page = self
                .look(filter.clone(), from, limit - found.rows.len())
                .await?;
            onward = page.onward();
            found.rows.extend(page.rows);
            found.next = page.next;
            found.cut = page.cut;
            let is_full = found.rows.len() >= limit;
            onward = onward.filter(|_| !is_full && !page.cut);
        }
        Ok(found)
    }

    /// Counts grants that were opened, a turn at a time; `None` when that costs more than one question may.
    pub(crate) async fn uses(&self, asked: UsesAsked) -> Result<Option<Vec<Use>>, StoreError> {
        let mut counted = Counted::default();
        let mut onward = Some(Onward::from(Cursor::NEWEST));
        while let Some(from) = onward {
            let (asked, served) = (asked.clone(), from.course.served);
            let turn = self.engine.ask(served, move |connection| {
                search::uses::count(connection, &asked, from)
            });
            let turn = turn.await?;
            if turn.cut || served > COUNTED_MAX {
                return Ok(None);
            }
            counted.extend(turn.uses);
            onward = turn.onward;
        }
        Ok(Some(counted.into_uses()))
    }

    /// Where the log ends.
    pub(crate) async fn log_head(&self) -> Result<LogHead, StoreError> {
        self.engine.read(events::head).await
    }

    /// Up to when retention has emptied the log, noise or everything, milliseconds since the Unix epoch:
    /// what is searched finds nothing of before. `None` where nothing is emptied.
    pub(crate) async fn emptied_until(&self, is_noise: bool) -> Result<Option<u64>, StoreError> {
        self.engine
            .read(move |connection| retention::emptied_until(connection, is_noise))
            .await
    }

    /// Those of `names` that the log knows nothing of, and that no member has or had.
    pub(crate) async fn strangers(&self, names: LogNames) -> Result<LogNames, StoreError> {
        self.engine
            .read(move |connection| names::strangers(connection, names))
            .await
    }

    /// Names that the log or the members know, at most some thousands of each kind.
    pub(crate) async fn known_names(&self) -> Result<LogNames, StoreError> {
        self.engine.read(names::known).await
    }

    /// Indexes the next events that are not indexed yet. False when there are none.
    pub(crate) async fn index_some(&self) -> Result<bool, StoreError> {
        let is_behind = |connection: &_| Ok(words::end(connection)? < words::newest(connection)?);
        if !self.engine.read(is_behind).await? {
            return Ok(false);
        }
        self.engine
            .write(|connection| words::index(connection, words::LOT))
            .await?;
        Ok(true)
    }

    /// Indexes what there is now. False when that is too much for a question to wait for.
    async fn index_all(&self) -> Result<bool, StoreError> {
        let newest = self.engine.read(words::newest).await?;
        let mut end = self.engine.read(words::end).await?;
        for _ in 0..LOTS_MAX {
            if end >= newest {
                return Ok(true);
            }
            end = self
                .engine
                .write(|connection| words::index(connection, words::LOT))
                .await?;
        }
        Ok(end >= newest)
    }

    /// Its rows alone, for tests.
    #[cfg(test)]
    pub(crate) async fn search(
        &self,
        filter: EventFilter,
        after: Cursor,
        limit: usize,
    ) -> Result<Vec<super::model::LogRow>, StoreError> {
        let page = self.whole(filter, after, limit).await?;
        assert!(!page.cut);
        Ok(page.rows)
    }
}
