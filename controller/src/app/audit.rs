//! The auditor's question: who opened what.

use crate::context::Context;
use crate::error::Error;
use crate::store::model::{Cursor, EventFilter, LogRow};

const LIMIT_DEFAULT: usize = 100;
/// Rows read at once; the first page is smaller, so that the first row comes soon.
const PAGE: usize = 1_000;
/// Rows of the first page.
pub(crate) const FIRST_PAGE: usize = 100;

/// An answer that is read page by page, newest first.
#[derive(Debug)]
pub(crate) struct Listing {
    filter: EventFilter,
    after: Cursor,
    /// Rows that may still come.
    left: usize,
    page: usize,
    /// The last page was given up.
    cut: bool,
}

// === impl Listing ===

impl Listing {
    /// At most `limit` rows; 0 for the usual number.
    pub(crate) fn new(filter: EventFilter, limit: u32) -> Self {
        Self {
            filter,
            after: Cursor::NEWEST,
            left: match limit {
                0 => LIMIT_DEFAULT,
                limit => usize::try_from(limit).unwrap_or(usize::MAX),
            },
            page: FIRST_PAGE,
            cut: false,
        }
    }

    /// The next rows; empty when there are no more. A future that is dropped ends the search.
    ///
    /// # Errors
    ///
    /// [`Error::TooCostly`] after the rows that were found before the search was given up.
    pub(crate) async fn next(&mut self, context: &Context) -> Result<Vec<LogRow>, Error> {
        if self.cut {
            return Err(Error::TooCostly);
        }
        if self.left == 0 {
            return Ok(Vec::new());
        }
        let rows = self.page.min(self.left);
        let filter = self.filter.clone();
        let page = context.store.page(filter, self.after, rows).await?;
        self.page = PAGE;
        self.cut = page.cut;
        self.left -= page.rows.len();
        match page.rows.last() {
            Some(last) if page.rows.len() == rows => self.after = Cursor::after(last),
            None if page.cut => return Err(Error::TooCostly),
            Some(_) | None => self.left = 0,
        }
        Ok(page.rows)
    }
}

#[cfg(test)]
mod tests;
