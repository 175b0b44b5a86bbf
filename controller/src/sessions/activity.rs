//! Whether something of a host was stored lately, so that its session gives it another pass in time.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// A mark that wakes the session with the first note of many: a session in which nothing happens is woken by nothing.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    is_noted: AtomicBool,
    noted: Notify,
}

// === impl Activity ===

impl Activity {
    /// Something was stored.
    pub(super) fn note(&self) {
        if !self.is_noted.swap(true, Ordering::SeqCst) {
            self.noted.notify_one();
        }
    }

    /// Waits for the first note since the last was taken.
    pub(super) async fn noted(&self) {
        self.noted.notified().await;
    }

    /// Whether there is a note; what is noted from now on is another.
    pub(super) fn take(&self) -> bool {
        self.is_noted.swap(false, Ordering::SeqCst)
    }
}
