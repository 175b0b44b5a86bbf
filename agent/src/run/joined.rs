//! A host that belongs to a fleet.

use std::time::Duration;

use gate::Now;
use member::Membership;
use tokio::runtime::Runtime;

use super::RunError;
use crate::channels::Channels;
use crate::config::Config;
use crate::leaving;
use crate::link::{self, Link, LinkConfig};

/// Whom this host belongs to.
#[derive(Debug)]
pub(super) struct Joined(LinkConfig);

/// The link, on a runtime of its own.
#[derive(Debug)]
pub(super) struct RunningLink {
    runtime: Runtime,
    link: Link,
}

// === impl Joined ===

impl Joined {
    /// Reads the membership in the state directory. `controllers` are dialled before the
    /// addresses in it.
    pub(super) fn load(config: &Config, controllers: &[String]) -> Result<Self, RunError> {
        if let Some(kept) = leaving::settle(&config.state_dir, None)? {
            tracing::info!(kept = %kept.display(), "a join was cut off: what was kept as the host before is set aside");
        }
        Ok(Self(LinkConfig {
            member: Membership::load(&config.state_dir)?,
            controllers: controllers.to_vec(),
            return_after: config.return_after,
        }))
    }

    /// With which the keys of pairwise stanzas are derived.
    pub(super) fn exchanges(&self, now: Now) -> Result<Vec<spa::ExchangeSecret>, RunError> {
        Ok(self.0.member.exchanges(now.wall_secs)?)
    }

    /// Starts the link.
    pub(super) fn start(self, channels: Channels) -> Result<RunningLink, RunError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("link")
            .enable_all()
            .build()
            .map_err(RunError::Thread)?;
        let link = link::spawn(runtime.handle(), self.0, channels);
        Ok(RunningLink { runtime, link })
    }
}

// === impl RunningLink ===

impl RunningLink {
    /// Ends the link; what is recorded gets `patience` to reach the controller.
    pub(super) fn finish(self, patience: Duration) {
        self.runtime.block_on(self.link.finish(patience));
    }
}
