//! Hosts that vanished without a word.
//!
//! A host asks whether the controller is there whenever nothing was said for a while (`fleet::keep_alive`; agents of
//! every version do), so a connection of a host on which nothing at all comes is cut, and is closed. That costs the
//! controller one answer, where asking each host itself would cost a question, its time limit and the reading of
//! an answer; and nothing of it reads a clock: whoever has heard something sets a mark, and one sweep for all
//! connections takes the marks away. A controller that stood still has swept nothing meanwhile, and one that is busy closes none on which
//! something waits to be read, so nobody is given up for that.
//! Persons' programs and strangers are asked by HTTP/2, since not all of them ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

use atomic_waker::AtomicWaker;
use fleet::keep_alive::{GONE_AFTER, LOOKED_EVERY};
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// A host of which so many sweeps have found no mark is gone.
const SWEEPS_MAX: u64 = GONE_AFTER.as_secs() / LOOKED_EVERY.as_secs();

/// The connections that are watched; its copies are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Silence(Arc<Mutex<Vec<Watched>>>);

/// The mark of one connection; it is watched until this is dropped.
#[derive(Debug)]
pub(super) struct Heard(Arc<Mark>);

#[derive(Debug, Default)]
struct Mark {
    is_set: AtomicBool,
    is_given_up: AtomicBool,
    /// Who reads the connection.
    reader: AtomicWaker,
}

#[derive(Debug)]
struct Watched {
    mark: Arc<Mark>,
    /// Sweeps since something was heard.
    silent: u64,
}

// === impl Heard ===

impl Heard {
    /// Something has come.
    pub(super) fn mark(&self) {
        self.0.is_given_up.store(false, Ordering::Relaxed);
        self.0.is_set.store(true, Ordering::Relaxed);
    }

    /// Whether nothing has come for too long; who asks is woken when that becomes so. To be asked by who has just
    /// found that there is nothing to read: what waits to be read was said in time, however late that is.
    pub(super) fn is_given_up(&self, context: &Context<'_>) -> bool {
        self.0.reader.register(context.waker());
        self.0.is_given_up.load(Ordering::Acquire)
    }
}

// === impl Silence ===

impl Silence {
    /// Watches a connection.
    pub(super) fn watch(&self) -> Heard {
        let mark = Arc::new(Mark::default());
        mark.is_set.store(true, Ordering::Relaxed);
        let watched = Watched {
            mark: Arc::clone(&mark),
            silent: 0,
        };
        self.0.lock().push(watched);
        Heard(mark)
    }

    /// Gives up whoever is silent for too long, until the controller stops.
    pub(super) async fn sweep_until(self, stopping: CancellationToken) {
        let mut sweeps = interval(LOOKED_EVERY);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let sweeping = async {
            loop {
                sweeps.tick().await;
                let given_up = self.sweep();
                if given_up > 0 {
                    tracing::info!(
                        given_up,
                        "nothing is heard of hosts: what has nothing to be read is cut"
                    );
                }
            }
        };
        stopping.run_until_cancelled(sweeping).await;
    }

    /// One sweep; how many it has given up.
    fn sweep(&self) -> usize {
        let mut given_up = 0;
        self.0.lock().retain_mut(|watched| {
            // Its connection has ended.
            if Arc::strong_count(&watched.mark) == 1 {
                return false;
            }
            if watched.mark.is_set.swap(false, Ordering::Relaxed) {
                watched.silent = 0;
            } else {
                watched.silent = watched.silent.saturating_add(1);
            }
            if watched.silent == SWEEPS_MAX {
                watched.mark.is_given_up.store(true, Ordering::Release);
                watched.mark.reader.wake();
                given_up += 1;
            }
            true
        });
        given_up
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn is_given_up(heard: &Heard) -> bool {
        heard.is_given_up(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn whoever_says_something_stays_and_whoever_says_nothing_for_eighteen_sweeps_is_given_up() {
        let silence = Silence::default();
        let speaks = silence.watch();
        let vanished = silence.watch();

        for sweep in 0..=SWEEPS_MAX {
            assert!(!is_given_up(&vanished), "given up before sweep {sweep}");
            if sweep % 11 == 0 {
                speaks.mark();
            }
            silence.sweep();
        }

        assert!(is_given_up(&vanished));
        assert!(!is_given_up(&speaks));
        drop(vanished);
        silence.sweep();
        assert_eq!(silence.0.lock().len(), 1);
    }

    #[test]
    fn what_was_said_and_is_read_late_is_heard_nevertheless() {
        let silence = Silence::default();
        let late = silence.watch();
        for _ in 0..=SWEEPS_MAX {
            silence.sweep();
        }

        late.mark();

        assert!(!is_given_up(&late));
        for _ in 0..=SWEEPS_MAX {
            silence.sweep();
        }
        assert!(is_given_up(&late), "it is watched on");
    }

    #[test]
    fn a_connection_that_has_ended_is_watched_no_more() {
        let silence = Silence::default();
        drop(silence.watch());

        assert_eq!(silence.sweep(), 0);
        assert!(silence.0.lock().is_empty());
    }
}
