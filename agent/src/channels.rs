//! What connects the gate thread with the link to the controller.

use engine::{ClaimAsk, Status};
use tokio::sync::{mpsc, watch};

use crate::journal::JournalReader;
use crate::link_state::LinkState;
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
    /// What changes the packet filter, and whether it is for real.
    pub backend: &'static str,
    /// Where the link says how it is.
    pub state: LinkState,
    /// What is in force.
    pub status: watch::Receiver<Status>,
}
