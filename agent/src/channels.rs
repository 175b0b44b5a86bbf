//! What connects the gate thread with the link to the controller.

use engine::{ClaimAsk, Status};
use tokio::sync::{mpsc, watch};

use crate::journal::JournalReader;
use crate::orders::OrderSender;

/// The link's ends.
#[derive(Debug)]
pub struct Channels {
    pub orders: OrderSender,
    /// Claims to make, in order of arrival.
    pub claims: mpsc::Receiver<ClaimAsk>,
    /// Read access to events and the saved policy, on a connection of its own.
    pub journal: JournalReader,
    /// Sequence number of the last event committed; a change is the signal to push.
    pub committed: watch::Receiver<u64>,
    /// What is in force.
    pub status: watch::Receiver<Status>,
}
