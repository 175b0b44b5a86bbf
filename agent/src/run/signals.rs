//! Signals, taken in by a thread of their own: nothing happens inside a signal handler.
//!
//! However many signals come, one job of a kind is under way and one more is to come after it, with
//! a pause between. So the last signal is never lost, and a storm of them costs the gate nothing.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::{Handle, Signals};

use super::reload::Reload;
use crate::orders::{Order, OrderSender};

/// Between two jobs of a kind.
const PAUSE: Duration = Duration::from_millis(100);

/// Starts to listen. SIGTERM and SIGINT stop the gate; SIGHUP rereads the access file, if there is
/// one, and the configuration, off the gate thread: a file with mistakes changes nothing. SIGUSR1 logs all counters.
pub(super) fn watch(orders: &OrderSender, reload: Reload) -> io::Result<Handle> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
    let handle = signals.handle();
    let reread = Job::start("reread", PAUSE, move || drop(reload.reload()))?;
    let counters_orders = orders.clone();
    let counters = Job::start("counters", PAUSE, move || {
        if counters_orders.send(Order::LogCounters).is_err() {
            tracing::error!("too much to do to log the counters");
        }
    })?;
    let orders = orders.clone();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in &mut signals {
                match signal {
                    SIGHUP => reread.ask(),
                    SIGUSR1 => counters.ask(),
                    _ => orders.stop(),
                }
            }
        })?;
    Ok(handle)
}

/// Something that is done as often as it is asked for, but not more often than makes sense.
#[derive(Debug)]
struct Job(SyncSender<()>);

// === impl Job ===

impl Job {
    /// Does it on a thread of its own, which ends with this value.
    fn start(
        name: &str,
        pause: Duration,
        mut work: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        let (asks, asked) = sync_channel(1);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while asked.recv().is_ok() {
                    work();
                    thread::sleep(pause);
                }
            })?;
        Ok(Self(asks))
    }

    /// It will be done once more, beginning after now.
    fn ask(&self) {
        // Full: another is to come already.
        let _ = self.0.try_send(());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn however_often_a_job_is_asked_for_one_is_under_way_and_one_is_to_come() {
        let (begun, begins) = channel();
        let (go_on, gate) = channel::<()>();
        let job = Job::start("test", Duration::ZERO, move || {
            begun.send(()).unwrap();
            let _ = gate.recv();
        })
        .unwrap();

        job.ask();
        begins.recv().unwrap();
        for _ in 0..2_000 {
            job.ask();
        }
        go_on.send(()).unwrap();
        begins.recv().unwrap();
        go_on.send(()).unwrap();
        drop((job, go_on));

        // The thread has ended, and has done it no third time.
        assert!(begins.recv().is_err());
    }
}
