//! Rows that should be there, asked for all at once.

use crate::store::sql::{Asked, Connection, Error, Set, Value};

/// Rows of one table that should be there.
#[derive(Debug, Default)]
pub(super) struct Expected {
    rows: Set,
    /// For each of them its event, and what that is not found by without it.
    lost: Vec<(i64, &'static str)>,
}

/// The same, and the answer to whether they are.
pub(super) struct Awaited<'c> {
    answer: Asked<'c>,
    lost: Vec<(i64, &'static str)>,
}

// === impl Expected ===

impl Expected {
    /// Adds what `push` adds of the event `id`; without it that is not found by `what`.
    pub(super) fn add(
        &mut self,
        (id, what): (i64, &'static str),
        push: impl FnOnce(&mut Set) -> Result<(), Error>,
    ) -> Result<(), Error> {
        push(&mut self.rows)?;
        self.lost.resize(self.rows.len(), (id, what));
        Ok(())
    }

    /// Adds one row, in the same way.
    pub(super) fn add_row<const N: usize>(&mut self, lost: (i64, &'static str), row: [Value; N]) {
        self.rows.push_values(row);
        self.lost.push(lost);
    }

    pub(super) fn ask<'c>(
        self,
        connection: &'c Connection,
        sql: &str,
    ) -> Result<Awaited<'c>, Error> {
        Ok(Awaited {
            answer: connection.ask_each(sql, self.rows)?,
            lost: self.lost,
        })
    }
}

// === impl Awaited ===

impl Awaited<'_> {
    /// Events with what they are not found by, since its row is not there.
    pub(super) fn lost(self) -> Result<Vec<(i64, &'static str)>, Error> {
        let mut lost: Vec<_> = self.lost.into_iter().map(Some).collect();
        self.answer.each(|number, _| {
            if let Some(row) = lost.get_mut(number) {
                *row = None;
            }
            Ok(())
        })?;
        Ok(lost.into_iter().flatten().collect())
    }
}
