//! What the gate thread asks of those who look after the packet filter beside it, and what they tell.

use std::fmt;

use engine::{Connection, ConnectionChange, Hole};
use serde::{Deserialize, Serialize};
use spa::Service;

use super::Outlook;

/// The threads that keep the base rules, read the owner's rules and follow connections, wherever they
/// run. Nothing here waits for them; what they find comes as orders.
pub trait Control: Send + fmt::Debug {
    /// Follows what begins through these holes from now on. To be called before they are opened.
    fn follow(&mut self, holes: &[Hole]);

    /// Asks whether these still exist. Answered with an order, for those that do not.
    fn look_at(&mut self, connections: Vec<Connection>);

    /// Hides these ports from now on, or from when the agent is ready on, and no others; what of the
    /// owner's rules stands in the way of what is opened there is worth a warning.
    fn protect(&mut self, ports: Vec<Service>);

    /// The agent runs, and lets people in as soon as others do their part. `false` if it must be said
    /// again.
    #[must_use]
    fn announce(&mut self) -> bool;

    /// The agent can let people in: what waits for that is hidden now. `false` if it must be said
    /// again.
    #[must_use]
    fn ready(&mut self) -> bool;

    /// The gate thread goes on: whoever watches the program may hear it.
    fn alive(&mut self);
}

/// What those who look after the packet filter have found.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Notice {
    /// The base rules are as they should be (`None`), or were not, and have been repaired.
    Drift(Option<String>),
    /// The base rules are laid: what is opened from now on is open.
    Laid,
    /// What of the host's own rules would still drop what is opened.
    Outlook(Box<Outlook>),
    /// What has become of connections to this host.
    Connections(Vec<ConnectionChange>),
    /// These processes of the agent do not answer; none, when all do again.
    Silent(Vec<String>),
}
