//! Pools of connections that only read, lent to blocking threads.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;

use super::error::StoreError;

/// What opens connections of one engine.
pub(super) trait Source: Send + Sync + 'static {
    type Connection: Send + 'static;

    fn open(&self) -> Result<Self::Connection, StoreError>;
    /// Whether one that was used may be used again.
    fn is_usable(&self, connection: &Self::Connection) -> bool;
    /// Closes them, where nobody may wait.
    fn discard(&self, connections: Vec<Self::Connection>) {
        drop(connections);
    }
}

/// One pool; connections are opened as they are needed.
pub(super) struct Lane<S: Source> {
    source: S,
    free: Mutex<Vec<S::Connection>>,
    permits: Arc<Semaphore>,
    /// Who goes on stands in a line of its own before that of the places.
    going_on: Arc<Semaphore>,
}

/// Which piece of its work somebody comes with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Piece {
    /// The first, and mostly the only one.
    First,
    /// One of many: whoever has not begun waits for one such at most, however many there are.
    Further,
}

/// A place in a lane.
#[derive(Debug)]
pub(super) struct Permit {
    _place: OwnedSemaphorePermit,
    _going_on: Option<OwnedSemaphorePermit>,
}

// === impl Lane ===

impl<S: Source> Lane<S> {
    /// `max` connections at one time; more work waits in line.
    pub(super) fn new(source: S, max: usize) -> Arc<Self> {
        Arc::new(Self {
            source,
            free: Mutex::new(Vec::new()),
            permits: Arc::new(Semaphore::new(max)),
            // Half of the places, so that what is short has others.
            going_on: Arc::new(Semaphore::new((max / 2).max(1))),
        })
    }

    /// Waits for a place.
    pub(super) async fn permit(&self, piece: Piece) -> Result<Permit, StoreError> {
        let going_on = match piece {
            Piece::First => None,
            Piece::Further => Some(acquire(&self.going_on).await?),
        };
        Ok(Permit {
            _place: acquire(&self.permits).await?,
            _going_on: going_on,
        })
    }

    /// Does `work` in a place.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        permit: Permit,
        work: impl FnOnce(&S::Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let lane = Arc::clone(self);
        let reading = tokio::task::spawn_blocking(move || {
            // Held by the work, not by whoever waits for it: work goes on when its caller is gone.
            let _permit = permit;
            let connection = lane.take()?;
            let result = work(&connection);
            if lane.source.is_usable(&connection) {
                lane.free.lock().push(connection);
            }
            result
        });
        reading.await.map_err(|error| broken_off(&error))?
    }

    /// Refuses what comes now or waits in line; what has begun goes on.
    pub(super) fn close(&self) {
        self.permits.close();
        self.going_on.close();
    }

    fn take(&self) -> Result<S::Connection, StoreError> {
        loop {
            let free = self.free.lock().pop();
            match free {
                Some(connection) if self.source.is_usable(&connection) => return Ok(connection),
                Some(_) => {}
                None => return self.source.open(),
            }
        }
    }
}

impl<S: Source> Drop for Lane<S> {
    fn drop(&mut self) {
        let free = std::mem::take(self.free.get_mut());
        if !free.is_empty() {
            self.source.discard(free);
        }
    }
}

impl<S: Source> fmt::Debug for Lane<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").finish_non_exhaustive()
    }
}

async fn acquire(of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, StoreError> {
    let permit = Arc::clone(of).acquire_owned().await;
    permit.map_err(|_| StoreError::Closed)
}

/// A reading ends without a result when it panics or when the runtime shuts down under it.
fn broken_off(error: &JoinError) -> StoreError {
    if error.is_panic() {
        StoreError::Panicked
    } else {
        StoreError::Closed
    }
}
