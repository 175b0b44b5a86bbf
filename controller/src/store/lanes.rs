//! Pools of connections that only read, lent to blocking threads.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::JoinError;

use self::line::Line;
use super::error::StoreError;

mod line;

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
    places: Arc<Places>,
}

/// A place in a lane; whoever is next has it when it is dropped.
#[derive(Debug)]
pub(super) struct Permit(Option<Arc<Places>>);

/// As many as may work at one time.
#[derive(Debug)]
struct Places(Mutex<Taken>);

/// Who has places, and who waits for one.
#[derive(Debug)]
struct Taken {
    /// Nobody waits where there is any.
    free: usize,
    /// `None` where nobody may wait any more.
    line: Option<Line<oneshot::Sender<Permit>>>,
}

// === impl Lane ===

impl<S: Source> Lane<S> {
    /// `max` connections at one time; more work waits in line.
    pub(super) fn new(source: S, max: usize) -> Arc<Self> {
        Arc::new(Self {
            source,
            free: Mutex::new(Vec::new()),
            places: Arc::new(Places::new(max)),
        })
    }

    /// Waits for a place, for work that had one for so long already: whoever had least is next.
    pub(super) async fn permit(&self, served: Duration) -> Result<Permit, StoreError> {
        let given = self.places.ask(served).ok_or(StoreError::Closed)?;
        given.await.map_err(|_| StoreError::Closed)
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
        self.places.0.lock().line = None;
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

// === impl Places ===

impl Places {
    const fn new(max: usize) -> Self {
        let line = Some(Line::new());
        Self(Mutex::new(Taken { free: max, line }))
    }

    /// What gives a place as soon as there is one. `None` where nobody may wait any more.
    fn ask(self: &Arc<Self>, served: Duration) -> Option<oneshot::Receiver<Permit>> {
        let (give, given) = oneshot::channel();
        let mut taken = self.0.lock();
        let Taken { free, line } = &mut *taken;
        let line = line.as_mut()?;
        if *free == 0 {
            line.push(served, give);
            return Some(given);
        }
        *free -= 1;
        drop(taken);
        self.give(give);
        Some(given)
    }

    /// Gives a place that somebody had to whoever is next.
    fn give_on(self: &Arc<Self>) {
        loop {
            let mut taken = self.0.lock();
            let Some(next) = taken.line.as_mut().and_then(Line::next) else {
                taken.free += 1;
                return;
            };
            drop(taken);
            if self.give(next) {
                return;
            }
        }
    }

    /// False where nobody waits there any more.
    fn give(self: &Arc<Self>, to: oneshot::Sender<Permit>) -> bool {
        match to.send(Permit(Some(Arc::clone(self)))) {
            Ok(()) => true,
            Err(mut permit) => {
                // It is still ours to give.
                permit.0 = None;
                false
            }
        }
    }
}

// === impl Permit ===

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(places) = self.0.take() {
            places.give_on();
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
