//! Read-only connections, lent to blocking threads.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::Semaphore;
use tokio::task::JoinError;

use super::connection;
use crate::store::error::StoreError;

/// Readings at one time; more wait in line.
const READERS_MAX: usize = 4;

/// A pool of connections to one database, opened as they are needed.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    free: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

// === impl Readers ===

impl Readers {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            free: Mutex::new(Vec::new()),
            permits: Semaphore::new(READERS_MAX),
        }
    }

    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.permits.acquire().await;
        let _permit = permit.map_err(|_| StoreError::Closed)?;
        let readers = Arc::clone(self);
        let reading = tokio::task::spawn_blocking(move || {
            let connection = readers.take()?;
            let result = work(&connection);
            readers.free.lock().push(connection);
            result
        });
        reading.await.map_err(|error| broken_off(&error))?
    }

    /// Refuses what comes now or waits in line; readings that have begun go on.
    pub(super) fn close(&self) {
        self.permits.close();
    }

    fn take(&self) -> Result<Connection, StoreError> {
        let free = self.free.lock().pop();
        match free {
            Some(connection) => Ok(connection),
            None => Ok(connection::reading(&self.path)?),
        }
    }
}

/// A reading ends without a result when it panics or when the runtime shuts down under it.
fn broken_off(error: &JoinError) -> StoreError {
    if error.is_panic() {
        StoreError::Panicked
    } else {
        StoreError::Closed
    }
}
