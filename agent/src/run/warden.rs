//! Keeps the firewall's ground as it should be, beside the gate thread.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use spa::ProtoPort;

use crate::firewall::Groundwork;
use crate::orders::{Order, OrderSender};

/// Between two looks. Four short processes each.
const EVERY: Duration = Duration::from_secs(5);

/// Asks the warden for something.
#[derive(Clone, Debug)]
pub(super) struct WardenHandle(SyncSender<Task>);

/// A thread that looks at the ground and repairs it.
#[derive(Debug)]
pub(super) struct Warden {
    tasks: SyncSender<Task>,
    thread: JoinHandle<Groundwork>,
}

#[derive(Debug)]
enum Task {
    Protect(Vec<ProtoPort>),
    Stop,
}

// === impl Warden ===

impl Warden {
    pub(super) fn start(ground: Groundwork, orders: OrderSender) -> std::io::Result<Self> {
        let (tasks, inbox) = sync_channel(16);
        let thread = thread::Builder::new()
            .name("warden".to_owned())
            .spawn(move || keep(ground, &inbox, &orders))?;
        Ok(Self { tasks, thread })
    }

    pub(super) fn handle(&self) -> WardenHandle {
        WardenHandle(self.tasks.clone())
    }

    /// Ends the thread and gives the ground back.
    pub(super) fn stop(self) -> Option<Groundwork> {
        let _ = self.tasks.send(Task::Stop);
        self.thread.join().ok()
    }
}

impl WardenHandle {
    /// Hides these ports from now on, and no others.
    pub(super) fn protect(&self, ports: Vec<ProtoPort>) {
        if self.0.try_send(Task::Protect(ports)).is_err() {
            tracing::error!("the warden is stuck: the protected ports are not changed");
        }
    }
}

fn keep(mut ground: Groundwork, inbox: &Receiver<Task>, orders: &OrderSender) -> Groundwork {
    let mut drifted = false;
    loop {
        match inbox.recv_timeout(EVERY) {
            Ok(Task::Protect(ports)) => {
                if let Err(cause) = ground.protect(ports) {
                    tracing::error!(%cause, "cannot change the protected ports");
                    report(orders, Some(cause.to_string()));
                }
            }
            Ok(Task::Stop) | Err(RecvTimeoutError::Disconnected) => return ground,
            Err(RecvTimeoutError::Timeout) => drifted = look(&mut ground, drifted, orders),
        }
    }
}

/// Looks and repairs. Reports what was found, and once when all is well again.
fn look(ground: &mut Groundwork, drifted: bool, orders: &OrderSender) -> bool {
    let found = match ground.check() {
        Ok(None) => {
            if drifted {
                report(orders, None);
            }
            return false;
        }
        Ok(Some(drift)) => drift.to_string(),
        Err(cause) => cause.to_string(),
    };
    match ground.install() {
        Ok(()) => tracing::warn!(found, "the firewall was changed by someone else; repaired"),
        Err(cause) => tracing::error!(found, %cause, "the firewall cannot be repaired"),
    }
    report(orders, Some(found));
    true
}

fn report(orders: &OrderSender, drift: Option<String>) {
    // A full mailbox gets the next report.
    let _ = orders.send(Order::Drift(drift));
}
