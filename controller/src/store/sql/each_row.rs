//! Statements that are run for each row of a set.

use std::collections::BTreeMap;

use super::postgres::{Answer, Postgres};
use super::{Connection, Error, Row, Set, Statement, params_from_iter};

/// A question whose answer is not waited for yet: it comes with the next one that is, or when it is taken.
pub(in crate::store) enum Asked<'c> {
    Sqlite(Statement<'c>, Set),
    Postgres(&'c Postgres, Option<Answer>),
}

// === impl Connection ===

impl Connection {
    /// Asks what a statement gives for each row of a set; whoever asks something else meanwhile waits once.
    pub(in crate::store) fn ask_each(&self, sql: &str, set: Set) -> Result<Asked<'_>, Error> {
        match self.prepare_cached(sql)? {
            Statement::Postgres(connection, sql) => {
                let answer = (!set.is_empty()).then(|| connection.ask_set(&sql, &set));
                Ok(Asked::Postgres(connection, answer.transpose()?))
            }
            statement @ Statement::Sqlite(..) => Ok(Asked::Sqlite(statement, set)),
        }
    }
}

// === impl Asked ===

impl Asked<'_> {
    /// Hands to `take` what it gives for each row of the set, as [`Statement::query_each`] does.
    pub(in crate::store) fn each(
        self,
        take: impl FnMut(usize, &Row<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match self {
            Self::Sqlite(mut statement, set) => statement.query_each(&set, take),
            Self::Postgres(connection, answer) => match answer {
                Some(answer) => take_all(connection, &connection.answered(&answer)?, take),
                None => Ok(()),
            },
        }
    }

    /// What it gives for each row of the set, one row at most, by the key that has the number of that.
    pub(in crate::store) fn by<K: Clone + Ord, T>(
        self,
        keys: &[K],
        mut read: impl FnMut(&Row<'_>) -> Result<T, Error>,
    ) -> Result<BTreeMap<K, T>, Error> {
        let mut found = BTreeMap::new();
        self.each(|number, row| {
            if let Some(key) = keys.get(number) {
                found.insert(key.clone(), read(row)?);
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// Hands on rows with the numbers that stand after their own columns.
fn take_all(
    connection: &Postgres,
    found: &[tokio_postgres::Row],
    mut take: impl FnMut(usize, &Row<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    for row in found {
        let last = row.len().saturating_sub(1);
        let number: i64 = Row::Postgres(row, None).get(last)?;
        let number = usize::try_from(number).unwrap_or_default();
        take(
            number.saturating_sub(1),
            &Row::Postgres(row, connection.row_key()),
        )?;
    }
    Ok(())
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
            return take_all(connection, &found, take);
        }
        for (number, row) in set.rows().enumerate() {
            let mut rows = self.query(params_from_iter(row.iter()))?;
            while let Some(row) = rows.next()? {
                take(number, &row)?;
            }
        }
        Ok(())
    }
}
