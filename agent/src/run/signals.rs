//! Signals, taken in by a thread of their own: nothing happens inside a signal handler.

use std::io;
use std::sync::Arc;
use std::thread;

use engine::Rejected;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::{Handle, Signals};

use crate::clock;
use crate::orders::{NotTaken, Order, OrderSender};
use crate::policies::AccessFile;

/// Starts to listen. SIGTERM and SIGINT stop the gate; SIGHUP rereads the access file, if there is
/// one, off the gate thread: a file with mistakes changes nothing. SIGUSR1 logs all counters.
pub(super) fn watch(orders: &OrderSender, file: Option<Arc<AccessFile>>) -> io::Result<Handle> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
    let handle = signals.handle();
    let orders = orders.clone();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in &mut signals {
                match (signal, &file) {
                    (SIGHUP, Some(file)) => reread(file, &orders),
                    (SIGHUP, None) => {
                        tracing::info!("nothing to reread: the controller sends every change");
                    }
                    (SIGUSR1, _) => {
                        if orders.send(Order::LogCounters).is_err() {
                            tracing::error!("too much to do to log the counters");
                        }
                    }
                    _ => orders.stop(),
                }
            }
        })?;
    Ok(handle)
}

fn reread(file: &AccessFile, orders: &OrderSender) {
    let order = match file.read(clock::now()) {
        Ok(policy) => Order::ReplacePolicy(Box::new(policy)),
        Err(invalid) => Order::PolicyRejected(Rejected {
            generation: file.next_generation(),
            digest: [0; 32],
            reasons: invalid.reasons(),
        }),
    };
    if let Err(NotTaken::Full(_)) = orders.send(order) {
        tracing::error!("too much to do to reread the access file; send SIGHUP again");
    }
}
