//! The mailbox of the gate thread, and what it tells the rest of the program.
//!
//! The gate thread owns the gate, the journal and the firewall, and nobody else touches them. What
//! others want from it they put into this bounded mailbox as an [`Order`]; an eventfd wakes the
//! thread, which sleeps in `poll`. The other way, it publishes: claims to make ([`ClaimAsk`]), the
//! last event committed, and its [`Standing`].
//!
//! For the link to the controller, all ends of this are collected in [`Seams`].

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::journal::JournalReader;
use crate::policies::NewPolicy;

/// Something the gate thread is asked to do.
#[derive(Debug)]
pub enum Order {
    /// Enforce this policy from now on. Ignored when its generation is older than the one in force.
    ReplacePolicy(Box<NewPolicy>),
    /// A policy could not be used; the old one stays. Recorded and shown in the standing.
    PolicyRejected {
        generation: u64,
        digest: [u8; 32],
        /// One reason a line.
        reasons: Vec<String>,
    },
    /// The controller's answer to the [`ClaimAsk`] of the same number.
    ClaimAnswer { seq: u64, answer: ClaimAnswer },
    /// The controller has committed all events up to `seq` of the journal `epoch`.
    EventsAcknowledged { epoch: String, seq: u64 },
    /// Messages that siblings have claimed.
    Claimed(Vec<ClaimedDigest>),
    /// The firewall was found as it should be (`None`), or not, and has been repaired.
    Drift(Option<String>),
    /// Something to write into the audit.
    Record(Box<fleet::Event>),
    /// Leave, tidily.
    Stop,
}

/// What the controller said about a claim.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClaimAnswer {
    Won,
    /// Another host holds it.
    Lost {
        held_by: String,
    },
    /// No answer; the stanza's `ON_CONTROLLER_LOSS` decides.
    Unreachable,
}

/// A claim for the link to make at the controller. The gate thread waits for the answer no longer
/// than its own deadline; a late answer is ignored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimAsk {
    pub seq: u64,
    pub domain: [u8; 32],
    pub digest: [u8; 32],
    /// Seconds since the Unix epoch; `None` means for ever.
    pub forget_after_secs: Option<u64>,
}

/// One message that a sibling has claimed, so that it is a replay here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimedDigest {
    pub digest: [u8; 32],
    /// Seconds since the Unix epoch.
    pub forget_after_secs: u64,
}

/// What this agent enforces, for acknowledgement and for people.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Standing {
    /// The generation in force; 0 for none.
    pub generation: u64,
    /// SHA-256 of the policy text in force; zeros for none.
    pub digest: [u8; 32],
    /// The newest policy that was rejected, if that is newer than the one in force.
    pub rejected: Option<Rejected>,
    /// How the firewall differs from what it should be; `None` when it does not.
    pub drift: Option<String>,
}

/// A policy that this agent cannot use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rejected {
    pub generation: u64,
    pub digest: [u8; 32],
    pub reasons: Vec<String>,
}

/// Everything the link needs from the gate thread.
#[derive(Debug)]
pub struct Seams {
    pub orders: OrderSender,
    /// Claims to make, in order of arrival.
    pub claims: mpsc::Receiver<ClaimAsk>,
    /// Read access to events and the saved policy, on a connection of its own.
    pub journal: JournalReader,
    /// Sequence number of the last event committed; a change is the signal to push.
    pub committed: watch::Receiver<u64>,
    pub standing: watch::Receiver<Standing>,
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
        // The signal to stop gets through whatever a peer floods us with.
        let urgent = matches!(order, Order::Stop);
        if waiting.orders.len() >= CAPACITY && !urgent {
            return Err(NotTaken::Full(Box::new(order)));
        }
        waiting.orders.push_back(order);
        if !std::mem::replace(&mut waiting.rung, true) {
            // Cannot fail: the counter is 0.
            let _ = self.0.bell.write(1);
        }
        Ok(())
    }
}

// === impl OrderInbox ===

impl OrderInbox {
    /// Readable while orders wait.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.0.bell.as_fd()
    }

    /// Takes all waiting orders into `orders`, oldest first, and silences the bell.
    pub fn take(&self, orders: &mut VecDeque<Order>) {
        let mut waiting = self.0.waiting.lock();
        if std::mem::take(&mut waiting.rung) {
            let _ = self.0.bell.read();
            orders.append(&mut waiting.orders);
        }
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
        sender.send(Order::Drift(None)).unwrap();
        sender.send(Order::Stop).unwrap();

        let mut orders = VecDeque::new();
        inbox.take(&mut orders);

        assert!(matches!(orders.pop_front(), Some(Order::Drift(None))));
        assert!(matches!(orders.pop_front(), Some(Order::Stop)));
    }

    #[test]
    fn a_full_mailbox_gives_the_order_back_but_still_takes_a_stop() {
        let (sender, _inbox) = mailbox().unwrap();
        for _ in 0..CAPACITY {
            sender.send(Order::Drift(None)).unwrap();
        }

        let refused = sender.send(Order::Drift(None));

        assert!(matches!(refused, Err(NotTaken::Full(_))));
        sender.send(Order::Stop).unwrap();
    }

    #[test]
    fn nobody_can_leave_an_order_after_the_gate_has_stopped() {
        let (sender, inbox) = mailbox().unwrap();
        drop(inbox);

        assert!(matches!(sender.send(Order::Stop), Err(NotTaken::Stopped)));
    }
}
