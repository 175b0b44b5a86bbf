//! Why the store did not do something. It knows neither the engine's errors nor the services'.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::seal::SealError;

/// Why the store did not do something. A conflict with what is stored is not among these: it is an
/// answer of the operation.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine could not do it; nothing of this operation was kept.
    #[error("database")]
    Engine(#[source] EngineError),
    /// The operation itself went well, but its transaction was lost.
    #[error("the transaction was not committed")]
    NotCommitted(#[from] NotCommitted),
    /// It was told to close.
    #[error("the store is closed")]
    Closed,
    /// A defect: one of the store's threads is gone, and its panic is in the log.
    #[error("a thread of the store panicked")]
    Panicked,
    /// What is stored is not what this program writes.
    #[error("`{what}` in the database is damaged")]
    Damaged {
        /// Table and column.
        what: &'static str,
    },
    /// A text cannot be sealed or read back.
    #[error("a sealed text")]
    Seal(#[from] SealError),
}

/// Why a whole transaction was lost; every write in it hears the same.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotCommitted {
    /// As engines do when the disk is full.
    #[error("the engine rolled it back by itself")]
    RolledBack,
    /// It could not be begun or committed.
    #[error("the engine refused it")]
    Refused(#[source] EngineError),
}

/// An error in the engine's own words.
#[derive(Clone)]
pub struct EngineError(Arc<dyn Error + Send + Sync>);

// === impl EngineError ===

impl EngineError {
    pub(crate) fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Arc::new(error))
    }
}

impl fmt::Debug for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for EngineError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}
