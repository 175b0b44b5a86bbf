//! Who says what is permitted on this host: an access file, or a controller.

use std::sync::Arc;

use gate::Now;
use policy::Policy;

use super::RunError;
use super::joined::{Joined, RunningLink};
use crate::channels::Channels;
use crate::config::{Config, Mode};
use crate::journal::Start;
use crate::policies::{self, AccessFile, AdoptedPolicy};

/// Who says what is permitted, with what that needs.
pub(super) enum Authority {
    Alone(Arc<AccessFile>, Arc<Policy>),
    Joined(Box<Joined>),
}

// === impl Authority ===

impl Authority {
    pub(super) fn of(config: &Config) -> Result<Self, RunError> {
        match &config.mode {
            Mode::Alone { access_file } => {
                let (mut file, policy) =
                    AccessFile::open(access_file.clone(), config.gnupg.clone())?;
                if config.gate.commands {
                    file.run_commands(&policy)?;
                }
                Ok(Self::Alone(Arc::new(file), policy))
            }
            Mode::Joined { controllers } => {
                let joined = Joined::load(config, controllers)?;
                Ok(Self::Joined(Box::new(joined)))
            }
        }
    }

    pub(super) fn is_joined(&self) -> bool {
        matches!(self, Self::Joined(_))
    }

    pub(super) fn access_file(&self) -> Option<Arc<AccessFile>> {
        match self {
            Self::Alone(file, _) => Some(Arc::clone(file)),
            Self::Joined(_) => None,
        }
    }

    /// The policy to begin with: the access file, or what was last adopted, or one that permits
    /// nothing.
    pub(super) fn first_policy(&self, start: &Start, now: Now) -> Result<AdoptedPolicy, RunError> {
        match (self, &start.policy) {
            (Self::Alone(file, policy), _) => {
                Ok(file.first(Arc::clone(policy), start.access_file, now)?)
            }
            (Self::Joined(joined), Some(saved)) => {
                match policies::compile(saved.clone(), &joined.exchanges(now)?, now) {
                    Ok(policy) => Ok(policy),
                    Err(reasons) => {
                        tracing::error!(?reasons, "the saved policy cannot be enforced");
                        Ok(AdoptedPolicy::nothing(now)?)
                    }
                }
            }
            (Self::Joined(_), None) => Ok(AdoptedPolicy::nothing(now)?),
        }
    }

    /// Starts the link, if there is a controller.
    pub(super) fn link(self, channels: Channels) -> Result<Option<RunningLink>, RunError> {
        match self {
            Self::Alone(..) => Ok(None),
            Self::Joined(joined) => joined.start(channels).map(Some),
        }
    }
}
