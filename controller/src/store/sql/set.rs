//! Rows of values for which a statement is run.

use super::{Error, Params, Value};

/// Values of parameters, row by row, for a statement that is run once for each.
#[derive(Debug, Default)]
pub(in crate::store) struct Set {
    rows: Vec<Vec<Value>>,
}

/// Values of parameters, owned.
pub(in crate::store) fn values(params: impl Params) -> Result<Vec<Value>, Error> {
    let mut values = Vec::new();
    params.each(&mut |value| {
        values.push(super::owned(value.to_sql()?));
        Ok(())
    })?;
    Ok(values)
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

    /// Adds a row; all have as many values.
    pub(in crate::store) fn push(&mut self, params: impl Params) -> Result<(), Error> {
        self.rows.push(values(params)?);
        Ok(())
    }

    pub(in crate::store) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(in crate::store) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn rows(&self) -> &[Vec<Value>] {
        &self.rows
    }
}
