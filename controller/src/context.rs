//! What every service needs.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ca::Authority;
use crate::invite::Inviter;
use crate::limits::Limits;
use crate::publisher::Publisher;
use crate::roster::Roster;
use crate::settings::Settings;
use crate::store::Store;

/// The rooms of a running controller.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) authority: Authority,
    pub(crate) inviter: Inviter,
    pub(crate) store: Store,
    pub(crate) roster: Arc<Roster>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) replay_floor_secs: u64,
    /// Fires once, when the controller is to stop.
    pub(crate) stopping: CancellationToken,
    /// Sessions and listings that run beside their request.
    pub(crate) tasks: TaskTracker,
}
