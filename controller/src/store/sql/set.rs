//! Statements that are run for each row of a set.

use super::{Error, Params, Row, Statement, Value, params_from_iter};

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

// === impl Statement ===

impl Statement<'_> {
    /// Runs it for each row of a set, where it gives no rows. Over PostgreSQL that is one statement: no two
    /// rows may be of one row of a table, but where the second changes nothing.
    pub(in crate::store) fn execute_each(&mut self, set: &Set) -> Result<(), Error> {
        if set.is_empty() {
            return Ok(());
        }
        if let Self::Postgres(connection, sql) = self
            && connection.execute_each(sql, set)?
        {
            return Ok(());
        }
        for row in set.rows() {
            self.execute(params_from_iter(row.iter()))?;
        }
        Ok(())
    }

    /// Hands to `take` what it gives for each row of a set, with the number of that, from 0; in no order.
    pub(in crate::store) fn query_each(
        &mut self,
        set: &Set,
        mut take: impl FnMut(usize, &Row<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if set.is_empty() {
            return Ok(());
        }
        if let Self::Postgres(connection, sql) = self
            && let Some(found) = connection.query_set(sql, set)?
        {
            for row in &found {
                // What stands after the columns of the statement itself.
                let last = row.len().saturating_sub(1);
                let number: i64 = Row::Postgres(row, None).get(last)?;
                let number = usize::try_from(number).unwrap_or_default();
                take(
                    number.saturating_sub(1),
                    &Row::Postgres(row, connection.row_key()),
                )?;
            }
            return Ok(());
        }
        for (number, row) in set.rows().iter().enumerate() {
            let mut rows = self.query(params_from_iter(row.iter()))?;
            while let Some(row) = rows.next()? {
                take(number, &row)?;
            }
        }
        Ok(())
    }
}
