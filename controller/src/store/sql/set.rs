//! Rows of values for which a statement is run.

use std::slice::ChunksExact;

use super::{Error, Params, Value};

/// Values of parameters, row by row, for a statement that is run once for each.
#[derive(Debug, Default)]
pub(in crate::store) struct Set {
    /// One row after the other.
    values: Vec<Value>,
    width: usize,
}

/// Values of parameters, owned.
pub(in crate::store) fn values(params: impl Params) -> Result<Vec<Value>, Error> {
    let mut values = Vec::new();
    add(&mut values, params)?;
    Ok(values)
}

fn add(values: &mut Vec<Value>, params: impl Params) -> Result<(), Error> {
    params.each(&mut |value| {
        values.push(super::owned(value.to_sql()?));
        Ok(())
    })
}

// === impl Set ===

impl Set {
    /// Of these rows; all have as many values.
    pub(in crate::store) fn of(rows: impl IntoIterator<Item = impl Params>) -> Result<Self, Error> {
        let mut set = Self::default();
        for row in rows {
            set.push(row)?;
        }
        Ok(set)
    }

    /// Adds a row; all have as many values, and one at least.
    pub(in crate::store) fn push(&mut self, params: impl Params) -> Result<(), Error> {
        let before = self.values.len();
        add(&mut self.values, params)?;
        self.width = self.values.len() - before;
        Ok(())
    }

    /// The same of values that need not be copied.
    pub(in crate::store) fn push_values<const N: usize>(&mut self, row: [Value; N]) {
        self.values.extend(row);
        self.width = N;
    }

    pub(in crate::store) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(in crate::store) fn len(&self) -> usize {
        self.rows().len()
    }

    pub(super) fn rows(&self) -> ChunksExact<'_, Value> {
        self.values.chunks_exact(self.width.max(1))
    }
}
