//! Hosts that vanished without a word.
//!
//! A host asks whether the controller is there whenever nothing was said for a while (`member/src/tls.rs`; agents of
//! every version do), so a connection of a host on which nothing at all comes is cut, and is closed. That costs the
//! controller one answer, where asking each host itself would cost a question, its time limit and the reading of
//! an answer; and nothing of it reads a clock: whoever has heard something sets a mark, and one sweep for all
//! connections takes the marks away. A controller that stood still has swept nothing meanwhile, so nobody is given up for that.
//! Persons' programs and strangers are asked by HTTP/2, since not all of them ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Between two sweeps.
const SWEEP: Duration = Duration::from_secs(1);
/// A host of which so many sweeps have found no mark is gone, clearly before twenty seconds are over: it asks every
/// twelve seconds.
const SWEEPS_MAX: u8 = 18;

/// The connections that are watched; its copies are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Silence(Arc<Mutex<Vec<Watched>>>);

/// The mark of one connection; it is watched until this is dropped.
#[derive(Debug)]
pub(super) struct Heard(Arc<AtomicBool>);

#[derive(Debug)]
struct Watched {
    heard: Arc<AtomicBool>,
    /// Sweeps since something was heard.
    silent: u8,
    closed: CancellationToken,
}

// === impl Heard ===

impl Heard {
    /// Something has come.
    pub(super) fn mark(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

// === impl Silence ===

impl Silence {
    /// Watches a connection, which ends when `closed` fires.
    pub(super) fn watch(&self, closed: CancellationToken) -> Heard {
        let heard = Arc::new(AtomicBool::new(true));
        let watched = Watched {
            heard: Arc::clone(&heard),
            silent: 0,
            closed,
        };
        self.0.lock().push(watched);
        Heard(heard)
    }

    /// Closes whoever is silent for too long, until the controller stops.
    pub(super) async fn sweep_until(self, stopping: CancellationToken) {
        let mut sweeps = interval(SWEEP);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let sweeping = async {
            loop {
                sweeps.tick().await;
                let closed = self.sweep();
                if closed > 0 {
                    tracing::info!(
                        closed,
                        "connections of hosts were cut: nothing was heard of them"
                    );
                }
            }
        };
        stopping.run_until_cancelled(sweeping).await;
    }

    /// One sweep; how many it has closed.
    fn sweep(&self) -> usize {
        let mut closed = 0;
        self.0.lock().retain_mut(|watched| {
            // Its connection has ended.
            if Arc::strong_count(&watched.heard) == 1 {
                return false;
            }
            if watched.heard.swap(false, Ordering::Relaxed) {
                watched.silent = 0;
            } else {
                watched.silent += 1;
            }
            let is_gone = watched.silent >= SWEEPS_MAX;
            if is_gone {
                watched.closed.cancel();
                closed += 1;
            }
            !is_gone
        });
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_says_something_stays_and_whoever_says_nothing_for_eighteen_sweeps_is_closed() {
        let silence = Silence::default();
        let [speaks, vanished] = [CancellationToken::new(), CancellationToken::new()];
        let heard = silence.watch(speaks.clone());
        let _never = silence.watch(vanished.clone());

        for sweep in 0..=SWEEPS_MAX {
            assert!(!vanished.is_cancelled(), "closed before sweep {sweep}");
            if sweep % 11 == 0 {
                heard.mark();
            }
            silence.sweep();
        }

        assert!(vanished.is_cancelled());
        assert!(!speaks.is_cancelled());
        assert_eq!(silence.0.lock().len(), 1);
    }

    #[test]
    fn a_connection_that_has_ended_is_watched_no_more() {
        let silence = Silence::default();
        let closed = CancellationToken::new();
        drop(silence.watch(closed.clone()));

        assert_eq!(silence.sweep(), 0);
        assert!(silence.0.lock().is_empty());
        assert!(!closed.is_cancelled());
    }
}
