//! The firewall domain: what changes the packet filter and what looks after it, as the gate has it.
//!
//! | file | what it holds |
//! |---|---|
//! | `local` | all of it in the gate's own process |
//! | `tell` | how the gate is told of what it finds by itself |

mod local;
mod tell;

use std::fmt;

use engine::{Capabilities, Connection, Rule};
use spa::Service;

pub use local::Local;
pub use tell::{Tell, Untold};

use crate::firewall::{Control, FirewallError, Holes};
use crate::orders::OrderSender;

/// What is known of the packet filter before anything is opened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Facts {
    /// Which back end opens.
    pub backend: &'static str,
    /// Why that one.
    pub why: String,
    /// What it can hold.
    pub capabilities: Capabilities,
    /// What is hidden already; `None` when nothing was laid yet.
    pub hidden: Option<Vec<Service>>,
}

/// The packet filter before the gate thread runs: for what an earlier run left.
pub trait Domain: fmt::Debug {
    /// What is known of it.
    fn facts(&self) -> &Facts;

    /// Makes what holes need, hiding and opening nothing, and begins to follow connections. Returns
    /// those that there are through these rules.
    ///
    /// # Errors
    ///
    /// When the host refuses.
    fn begin(&mut self, rules: &[Rule]) -> Result<Vec<Connection>, FirewallError>;

    /// What an earlier run left open, to be listed, closed and opened again.
    fn holes(&mut self) -> &mut dyn Holes;

    /// Starts what looks after the packet filter, which tells the gate thread by orders.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    fn start(self: Box<Self>, orders: &OrderSender) -> Result<FirewallEnds, FirewallError>;
}

/// What is had of the packet filter while the agent runs.
#[derive(Debug)]
pub struct FirewallEnds {
    /// For the gate thread, which changes what is open.
    pub holes: Box<dyn Holes>,
    /// For the gate thread, too.
    pub control: Box<dyn Control>,
    /// Takes down what was started.
    pub running: Box<dyn Running>,
}

/// What looks after the packet filter, while it runs.
pub trait Running: fmt::Debug {
    /// Takes down what must not stay. A port is never opened by leaving: where something is protected,
    /// the base rules stay, without a hole. To be called when nobody opens anything any more.
    ///
    /// # Errors
    ///
    /// When the host refuses.
    ///
    /// # Panics
    ///
    /// When one of its threads has panicked.
    fn leave(self: Box<Self>) -> Result<(), FirewallError>;
}
