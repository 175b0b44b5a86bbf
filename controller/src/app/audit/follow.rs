//! A listing that stays: what is there, and then each record as it is stored.

use crate::context::Context;
use crate::error::Error;
use crate::store::model::{EventFilter, LogRow};

/// Records looked at in one step.
const STEP: u16 = 500;
/// The most records that are shown before it follows: they are held at once.
const BEFORE_MAX: u32 = 1_000;

/// Where in the log somebody is who follows it. Nothing is left out and nothing comes twice: the log
/// only grows, and its records are numbered in the order in which they are stored.
#[derive(Debug)]
pub(crate) struct Following {
    filter: EventFilter,
    /// Everything up to this record has been looked at.
    position: u64,
}

/// What was found in one step.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// In the order in which they were stored.
    pub(crate) rows: Vec<LogRow>,
    /// There was nothing more to look at.
    pub(crate) is_at_end: bool,
}

// === impl Following ===

impl Following {
    /// From now on; and the newest `before` records that match, oldest first.
    pub(crate) async fn begin(
        context: &Context,
        filter: EventFilter,
        before: u32,
    ) -> Result<(Self, Vec<LogRow>), Error> {
        let position = context.store.newest_record().await?;
        let mut rows = Vec::new();
        if before > 0 {
            let limit = usize::try_from(before.min(BEFORE_MAX)).unwrap_or_default();
            let page = context.store.newest(filter.clone(), limit).await?;
            if page.cut {
                return Err(Error::TooCostly);
            }
            rows = page.rows;
            rows.retain(|row| row.id <= position);
            rows.reverse();
        }
        Ok((Self { filter, position }, rows))
    }

    /// From the record after `position`.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] when the log does not reach there: the controller was put back to an older
    /// copy, and the numbers begin again.
    pub(crate) async fn after(
        context: &Context,
        filter: EventFilter,
        position: u64,
    ) -> Result<Self, Error> {
        let newest = context.store.newest_record().await?;
        if position > newest {
            return Err(Error::Conflict(format!(
                "record {position} is not in the log, which ends at {newest}: was the controller put \
                 back to an older copy? Follow it without --after-id"
            )));
        }
        Ok(Self { filter, position })
    }

    /// Everything up to this record has been looked at.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next records that match.
    pub(crate) async fn next(&mut self, context: &Context) -> Result<Step, Error> {
        let mut rows = context.store.records_after(self.position, STEP).await?;
        let is_at_end = rows.len() < usize::from(STEP);
        if let Some(last) = rows.last() {
            self.position = last.id;
        }
        rows.retain(|row| self.filter.matches(&row.host, &row.event()));
        Ok(Step { rows, is_at_end })
    }
}
