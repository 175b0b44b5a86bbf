//! What every use case needs.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::claim_quotas::ClaimQuotas;
use crate::access::event_quotas::EventQuotas;
use crate::access::limits::RateLimits;
use crate::access::looks::Looks;
use crate::access::reads::Reads;
use crate::access::roster::Roster;
use crate::app::claims::RecentClaims;
use crate::audit::Checkpoints;
use crate::ca::authorities::Authorities;
use crate::metrics::counters::Metrics;
use crate::rollout::Rollout;
use crate::sessions::registry::Registry;
use crate::settings::Settings;
use crate::sinks::state::Sinks;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::model::{Claim, ControllerFacts, FleetState};
use crate::timestamp::Timestamp;

/// The parts of a running controller.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) authorities: Authorities,
    pub(crate) store: Store,
    pub(crate) roster: Arc<Roster>,
    pub(crate) rollout: Rollout,
    pub(crate) sessions: Arc<Registry>,
    pub(crate) limits: Arc<RateLimits>,
    /// What was read lately by those who only read.
    pub(crate) reads: Reads,
    /// What is signed of the log.
    pub(crate) checkpoints: Arc<Checkpoints>,
    /// Claims that are won, to be told to the hosts that share the replay domain.
    pub(crate) won: mpsc::Sender<Claim>,
    /// Where events are sent on to.
    pub(crate) sinks: Sinks,
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// What holds for the whole fleet, as it is stored.
    pub(crate) fleet: watch::Sender<FleetState>,
    /// What was claimed lately, for the hosts that connect.
    pub(crate) recent_claims: RecentClaims,
    /// What each host may claim.
    pub(crate) claim_quotas: ClaimQuotas,
    /// How fast each host may fill the log.
    pub(crate) event_quotas: EventQuotas,
    /// When it began to serve.
    pub(crate) since: Timestamp,
    /// Looks at what other controllers have changed, for those who wait for one.
    pub(crate) looks: Arc<Looks>,
    /// Fires once, when the controller is to stop.
    pub(crate) stopping: CancellationToken,
    /// Sessions and listings that run beside their request.
    pub(crate) tasks: TaskTracker,
}

// === impl Context ===

impl Context {
    /// Where new tokens point to, and which authority they name.
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint {
            address: self.settings.address.clone(),
            ca_fingerprint: self.authorities.get().current().fingerprint(),
        }
    }

    /// What this controller says of itself.
    pub(crate) fn facts(&self) -> ControllerFacts {
        ControllerFacts {
            address: self.settings.address.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since_ms: self.since.ms(),
        }
    }

    /// Reads again what holds for the whole fleet, after a commit that changed it, and tells the
    /// sessions.
    pub(crate) async fn refresh_fleet_state(&self) -> Result<(), StoreError> {
        let state = self.store.fleet_state().await?;
        self.fleet.send_if_modified(|held| {
            let is_news = *held != state;
            *held = state;
            is_news
        });
        Ok(())
    }
}

/// A controller as a token names it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// `host:port`.
    pub(crate) address: String,
    /// SHA-256 of the fleet's CA certificate, DER.
    pub(crate) ca_fingerprint: [u8; 32],
}
