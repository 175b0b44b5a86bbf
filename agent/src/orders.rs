//! The mailbox of the gate thread.
//!
//! The gate thread owns the engine, the journal and the firewall's holes, and nobody else touches
//! them. What others want from it they put into this bounded mailbox as an [`Order`]; an eventfd
//! wakes the thread, which sleeps in `poll`.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use engine::{ClaimAnswer, Ended, Rejected};
use fleet::GrantId;
use fleet::event::ChainVersion;
use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::Mutex;
use policy::OsSignatures;
use tokio::sync::oneshot;

use crate::firewall::Notice;
use crate::policies::AdoptedPolicy;
use crate::report::{FloorReport, Report};

/// The addresses of a host name, or why there are none.
pub type Answer = Result<Vec<IpAddr>, String>;

/// Something the gate thread is asked to do. That it is to stop is said by [`OrderSender::stop`].
#[derive(Debug)]
pub enum Order {
    /// Enforce this policy from now on. Ignored when its generation is older than the one in force.
    ReplacePolicy(Box<AdoptedPolicy>),
    /// A policy could not be used; the old one stays. Recorded and shown in the status.
    PolicyRejected(Rejected),
    /// The controller's answer to the [`ClaimAsk`](engine::ClaimAsk) of the same number.
    ClaimAnswer { seq: u64, answer: ClaimAnswer },
    /// The controller has committed all events up to `seq` of the journal `epoch`.
    EventsAcknowledged { epoch: String, seq: u64 },
    /// The controller understands this version of the events' chain.
    UseChainVersion(ChainVersion),
    /// This host's clock is so many milliseconds ahead of the controller's.
    ClockOffset(i64),
    /// The fleet's log is not what this host was shown of it, for this reason.
    LogConflict(String),
    /// Messages that siblings have claimed.
    Claimed(Vec<ClaimedDigest>),
    /// What was found by those who look after the packet filter.
    Firewall(Notice),
    /// The controller has locked this host, for this reason.
    Lock(String),
    /// Messages dated at or before this (seconds since the Unix epoch) are refused from now on.
    RaiseFloor(u64),
    /// The controller has the journal `epoch` up to `seq`, with this chain value there.
    JournalKnown {
        epoch: String,
        seq: u64,
        chain: [u8; 32],
    },
    /// This journal is not the continuation of what the controller has of it: give it another name.
    /// Says whether that was done.
    BeginJournal(oneshot::Sender<bool>),
    /// The controller lets this host work (again). Nothing changes if it was not locked.
    Unlock,
    /// The addresses of the host name in the [`NameAsk`](engine::NameAsk) of the same number, or why
    /// there are none.
    NameAnswered { seq: u64, answer: Answer },
    /// A command has ended, or could not be run.
    CommandEnded { id: GrantId, ended: Ended },
    /// Tell SYNs apart by these from now on.
    UseOsSignatures(Arc<OsSignatures>),
    /// An operator says that the clock is right: no floor stays for a clock that was ahead.
    ResetFloor(SyncSender<FloorReport>),
    /// Say in the log what has been counted.
    LogCounters,
    /// Say which generation is in force, and whether whoever changes the packet filter can be reached.
    Confirm(SyncSender<(u64, Result<(), String>)>),
    /// Say how the agent is.
    Report(SyncSender<Report>),
}

/// One message that a sibling has claimed, so that it is a replay here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimedDigest {
    pub digest: [u8; 32],
    /// Seconds since the Unix epoch.
    pub forget_after_secs: u64,
}

/// Whether the gate thread goes on after the orders that it has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "the thread may have been told to stop"]
pub enum Next {
    GoOn,
    /// Leave, tidily.
    Stop,
}

/// Why an order was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// Try again in a moment; the order comes back.
    #[error("the mailbox of the gate is full")]
    Full(Box<Order>),
    #[error("the gate has stopped")]
    Stopped,
}

/// How many orders may wait. Claims in flight are bounded below this; a peer that sends policies or
/// digests faster than they are taken is made to wait.
const CAPACITY: usize = 4096;

/// Puts orders into the mailbox, from any thread, without waiting.
#[derive(Clone, Debug)]
pub struct OrderSender(Arc<Mailbox>);

/// The gate thread's end of the mailbox.
#[derive(Debug)]
pub struct OrderInbox(Arc<Mailbox>);

#[derive(Debug)]
struct Mailbox {
    waiting: Mutex<Waiting>,
    bell: EventFd,
}

#[derive(Debug)]
struct Waiting {
    orders: VecDeque<Order>,
    next: Next,
    /// Whether the bell is readable, so that an empty mailbox costs no system call.
    rung: bool,
    open: bool,
}

/// Makes a mailbox.
///
/// # Errors
///
/// When the kernel gives no eventfd.
pub fn mailbox() -> io::Result<(OrderSender, OrderInbox)> {
    let bell = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
    let waiting = Mutex::new(Waiting {
        orders: VecDeque::new(),
        next: Next::GoOn,
        rung: false,
        open: true,
    });
    let shared = Arc::new(Mailbox { waiting, bell });
    Ok((OrderSender(Arc::clone(&shared)), OrderInbox(shared)))
}

// === impl OrderSender ===

impl OrderSender {
    /// Leaves an order and wakes the gate thread.
    ///
    /// # Errors
    ///
    /// [`NotTaken::Full`] gives the order back; [`NotTaken::Stopped`] means nobody will read it.
    pub fn send(&self, order: Order) -> Result<(), NotTaken> {
        let mut waiting = self.0.waiting.lock();
        if !waiting.open {
            return Err(NotTaken::Stopped);
        }
        // Of those few run at once, and the next one waits for the end of one before.
        let always = matches!(order, Order::CommandEnded { .. });
        if waiting.orders.len() >= CAPACITY && !always {
            return Err(NotTaken::Full(Box::new(order)));
        }
        waiting.orders.push_back(order);
        self.0.ring(&mut waiting);
        Ok(())
    }

    /// Tells the gate thread to carry out what it has been told, and then to stop. Gets through
    /// whatever a peer floods us with.
    pub fn stop(&self) {
        let mut waiting = self.0.waiting.lock();
        if waiting.open {
            waiting.next = Next::Stop;
            self.0.ring(&mut waiting);
        }
    }
}

// === impl Mailbox ===

impl Mailbox {
    fn ring(&self, waiting: &mut Waiting) {
        if !std::mem::replace(&mut waiting.rung, true) {
            // Cannot fail: the counter is 0.
            let _ = self.bell.write(1);
        }
    }
}

// === impl OrderInbox ===

impl OrderInbox {
    /// Readable while orders wait.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.0.bell.as_fd()
    }

    /// Takes all waiting orders into `orders`, oldest first, and silences the bell. Says whether to
    /// go on after them.
    pub fn take(&self, orders: &mut VecDeque<Order>) -> Next {
        let mut waiting = self.0.waiting.lock();
        if std::mem::take(&mut waiting.rung) {
            let _ = self.0.bell.read();
            orders.append(&mut waiting.orders);
        }
        waiting.next
    }
}

impl Drop for OrderInbox {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting.lock();
        waiting.open = false;
        waiting.orders.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_come_out_in_the_order_they_went_in() {
        let (sender, inbox) = mailbox().unwrap();
        sender.send(Order::Firewall(Notice::Laid)).unwrap();
        sender.send(Order::LogCounters).unwrap();

        let mut orders = VecDeque::new();
        let next = inbox.take(&mut orders);

        assert_eq!(next, Next::GoOn);
        assert!(matches!(
            orders.pop_front(),
            Some(Order::Firewall(Notice::Laid))
        ));
        assert!(matches!(orders.pop_front(), Some(Order::LogCounters)));
    }

    #[test]
    fn a_full_mailbox_gives_the_order_back_but_still_takes_a_stop() {
        let (sender, inbox) = mailbox().unwrap();
        for _ in 0..CAPACITY {
            sender.send(Order::LogCounters).unwrap();
        }

        let refused = sender.send(Order::LogCounters);

        assert!(matches!(refused, Err(NotTaken::Full(_))));
        sender.stop();
        let mut orders = VecDeque::new();
        assert_eq!(inbox.take(&mut orders), Next::Stop);
        assert_eq!(orders.len(), CAPACITY);
    }

    #[test]
    fn the_end_of_a_command_gets_into_a_full_mailbox() {
        let (sender, _inbox) = mailbox().unwrap();
        for _ in 0..CAPACITY {
            sender.send(Order::LogCounters).unwrap();
        }

        let (id, ended) = (GrantId([1; 16]), engine::CommandEnd::Exited(0).into());

        sender.send(Order::CommandEnded { id, ended }).unwrap();
    }

    #[test]
    fn nobody_can_leave_an_order_after_the_gate_has_stopped() {
        let (sender, inbox) = mailbox().unwrap();
        drop(inbox);

        let refused = sender.send(Order::LogCounters);

        assert!(matches!(refused, Err(NotTaken::Stopped)));
    }
}
