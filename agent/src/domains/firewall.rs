//! The firewall domain: what changes the packet filter and what looks after it, as the gate has it.
//!
//! | file | what it holds |
//! |---|---|
//! | `local` | all of it in the gate's own process |
//! | `remote` | all of it in another process, as the gate's process has it |
//! | `service` | that other process, which trusts the gate in nothing |
//! | `limits` | what it refuses; pure |
//! | `message` | what the two say to each other |
//! | `link` | messages of any length over a channel |
//! | `loopback` | both ends in one process, for tests |
//! | `tell` | how the gate is told of what is found |

mod limits;
mod link;
mod local;
mod loopback;
mod message;
mod remote;
#[cfg(test)]
mod samples;
mod service;
mod tell;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use engine::{Capabilities, Connection, Rule};
use spa::Service;

pub use local::Local;
pub use loopback::through_channel;
pub use remote::Remote;
pub use service::{FirewallService, Health};
pub use tell::{Tell, Untold};

use crate::firewall::{Control, FirewallError, Holes, Notice};
use crate::orders::OrderSender;
use limits::{Checks, Limits};
use message::{Answered, Asked, Hello, Wish};

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
    /// How often systemd wants to hear that all is well.
    pub watchdog: Option<Duration>,
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
pub trait Running: Send + fmt::Debug {
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

/// Gives a part of a message to every reader here, whoever made it ([`crate::hostile`]). Returns how many
/// kinds of message it may be.
pub(crate) fn read_hostile(part: &[u8]) -> usize {
    let asked = take::<Asked<'_>>(part);
    let is_asked = usize::from(asked.is_some());
    if let Some(Asked { mut request, .. }) = asked {
        let limits = Limits {
            capabilities: Capabilities::ALL,
            nat: policy::NatSettings::default(),
            grants_max: 1,
            protect: Vec::new(),
        };
        // Whatever it says, it is carried out or not.
        let _ = Checks::new(limits, &[]).check(&mut request, Duration::ZERO);
    }
    let others = [
        take::<Wish<'_>>(part).is_some(),
        take::<Answered>(part).is_some(),
        take::<Notice>(part).is_some(),
        take::<Hello>(part).is_some(),
    ];
    is_asked + others.into_iter().filter(|is| *is).count()
}

fn take<T: serde::de::DeserializeOwned>(part: &[u8]) -> Option<T> {
    link::Parts::default().take(part).ok().flatten()
}
