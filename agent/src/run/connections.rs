//! Following connections, from before anything is recovered or opened.

use engine::{Capabilities, Connection};

use super::RunError;
use crate::config::FirewallConfig;
use crate::connections::{ConnectionsHandle, Follower, Following};
use crate::journal::FoundGrant;
use crate::orders::OrderSender;

/// What follows connections, and those there are.
pub(super) struct Connections {
    follower: Option<Follower>,
    /// For the gate thread.
    pub(super) handle: Option<ConnectionsHandle>,
    /// Those that may have begun through grants of earlier runs.
    pub(super) found: Vec<Connection>,
}

// === impl Connections ===

impl Connections {
    /// Begins to hear, and then looks what there is already for the grants that were found.
    pub(super) fn open(
        config: &FirewallConfig,
        capabilities: Capabilities,
        grants: &[FoundGrant],
    ) -> Result<Self, RunError> {
        let mut connections = Self {
            follower: None,
            handle: None,
            found: Vec::new(),
        };
        if config.dry_run || !capabilities.connections {
            return Ok(connections);
        }
        let mut follower = Follower::open().map_err(RunError::Connections)?;
        let mut handle = follower.handle();
        let rules = grants.iter().flat_map(|found| &found.grant.rules);
        handle.follow(rules.copied());
        match follower.list() {
            Ok(found) => connections.found = found,
            Err(cause) => {
                let error = program::one_line(&cause);
                tracing::error!(%error, "cannot see which connections there are");
            }
        }
        connections.follower = Some(follower);
        connections.handle = Some(handle);
        Ok(connections)
    }

    /// Starts the thread.
    pub(super) fn start(self, orders: OrderSender) -> Result<Option<Following>, RunError> {
        let following = self.follower.map(|follower| follower.start(orders));
        following.transpose().map_err(RunError::Thread)
    }
}
