//! Why a statement was not run, or what it gave is not what was expected.

use rusqlite::ErrorCode;
use rusqlite::types::FromSqlError;
use tokio_postgres::error::SqlState;

use crate::store::error::{EngineError, NotCommitted, StoreError};

/// Why a statement was not run, or what it gave is not what was expected.
#[derive(Debug, thiserror::Error)]
pub(in crate::store) enum Error {
    /// Where one row was expected.
    #[error("the query gave no row")]
    NoRows,
    /// In a row.
    #[error("column {column} of the answer")]
    Value {
        /// From 0.
        column: usize,
        source: FromSqlError,
    },
    #[error(transparent)]
    Sqlite(rusqlite::Error),
    #[error("PostgreSQL")]
    Postgres(#[from] tokio_postgres::Error),
    /// It would write over a row that something else has written.
    #[error("row {row} of {table} is not the controller's own")]
    Altered {
        /// Where it is.
        table: &'static str,
        /// What names it.
        row: String,
    },
    /// It is not at the statement any more, or nobody is reached.
    #[error("the server does not answer")]
    Silent,
    /// It was not asked.
    #[error("nobody waits for the answer any more")]
    Unwanted,
    /// Of a set, that cannot be sent.
    #[error("a value that is none of its column's")]
    Unfit(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Its transaction was not begun.
    #[error("there is no transaction")]
    NotBegun(#[source] NotCommitted),
    #[error("a connection without anything to wait with")]
    Thread(#[source] std::io::Error),
}

/// Where no row is an answer, too.
pub(in crate::store) trait OptionalExtension<T> {
    fn optional(self) -> Result<Option<T>, Error>;
}

/// Whether an operation was interrupted because it cost too much, or because nobody waits for it.
pub(in crate::store) fn is_cut(error: &StoreError) -> bool {
    let StoreError::Engine(error) = error else {
        return false;
    };
    error.downcast_ref().is_some_and(is_interrupted)
        || error.downcast_ref().is_some_and(Error::is_interrupted)
}

fn is_interrupted(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted)
}

// === impl Error ===

impl Error {
    /// Whether it is that of an interruption.
    pub(in crate::store) fn is_interrupted(&self) -> bool {
        match self {
            Self::Sqlite(error) => is_interrupted(error),
            Self::Postgres(error) => error.code() == Some(&SqlState::QUERY_CANCELED),
            Self::Unwanted => true,
            Self::Altered { .. }
            | Self::NoRows
            | Self::Value { .. }
            | Self::Silent
            | Self::NotBegun(_)
            | Self::Unfit(_)
            | Self::Thread(_) => false,
        }
    }
}

impl<T> OptionalExtension<T> for Result<T, Error> {
    fn optional(self) -> Result<Option<T>, Error> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(Error::NoRows) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        if matches!(error, rusqlite::Error::QueryReturnedNoRows) {
            return Self::NoRows;
        }
        Self::Sqlite(error)
    }
}

impl From<Error> for EngineError {
    fn from(error: Error) -> Self {
        if let Error::Postgres(error) = error {
            return Self::new(error);
        }
        Self::new(error)
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match error {
            Error::Altered { table, row } => Self::Altered { table, row },
            Error::NotBegun(cause) => cause.into(),
            // Some of these are known by those who handle them.
            Error::Sqlite(error) => error.into(),
            error @ (Error::NoRows
            | Error::Value { .. }
            | Error::Postgres(_)
            | Error::Silent
            | Error::Unwanted
            | Error::Unfit(_)
            | Error::Thread(_)) => Self::Engine(EngineError::new(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn an_interruption_is_told_from_every_other_error() {
        let error = |code| rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);

        assert!(is_cut(&Error::from(error(ffi::SQLITE_INTERRUPT)).into()));
        assert!(!is_cut(&Error::from(error(ffi::SQLITE_FULL)).into()));
        assert!(!is_cut(&Error::NoRows.into()));
    }
}
