//! Signals, taken in by a thread of their own: nothing happens inside a signal handler.

use std::io;
use std::sync::Arc;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use super::alone::AccessFile;
use crate::orders::{NotTaken, Order, OrderSender};

/// Starts to listen. SIGTERM and SIGINT stop the gate; SIGHUP rereads the access file, if there is
/// one, off the gate thread: a file with mistakes changes nothing.
pub(super) fn watch(orders: &OrderSender, file: Option<Arc<AccessFile>>) -> io::Result<Handle> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
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
                    _ => drop(orders.send(Order::Stop)),
                }
            }
        })?;
    Ok(handle)
}

fn reread(file: &AccessFile, orders: &OrderSender) {
    let order = match file.read() {
        Ok(policy) => Order::ReplacePolicy(Box::new(policy)),
        Err(invalid) => Order::PolicyRejected {
            generation: file.next_generation(),
            digest: [0; 32],
            reasons: invalid.reasons(),
        },
    };
    if let Err(NotTaken::Full(_)) = orders.send(order) {
        tracing::error!("too much to do to reread the access file; send SIGHUP again");
    }
}
