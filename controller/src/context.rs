//! What every use case needs.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::limits::RateLimits;
use crate::access::roster::Roster;
use crate::ca::Authority;
use crate::rollout::Rollout;
use crate::sessions::registry::Registry;
use crate::settings::Settings;
use crate::store::Store;
use crate::store::model::Claim;

/// The parts of a running controller.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) authority: Authority,
    /// Where new tokens point to.
    pub(crate) endpoint: Endpoint,
    pub(crate) store: Store,
    pub(crate) roster: Arc<Roster>,
    pub(crate) rollout: Rollout,
    pub(crate) sessions: Arc<Registry>,
    pub(crate) limits: Arc<RateLimits>,
    /// Claims that are won, to be told to the hosts that share the replay domain.
    pub(crate) won: mpsc::Sender<Claim>,
    /// Packets dated before this cannot be claimed; seconds since the Unix epoch.
    pub(crate) replay_floor_secs: u64,
    /// Fires once, when the controller is to stop.
    pub(crate) stopping: CancellationToken,
    /// Sessions and listings that run beside their request.
    pub(crate) tasks: TaskTracker,
}

/// A controller as a token names it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// `host:port`.
    pub(crate) address: String,
    /// SHA-256 of the fleet's CA certificate, DER.
    pub(crate) ca_fingerprint: [u8; 32],
}
