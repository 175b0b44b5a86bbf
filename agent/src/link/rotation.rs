//! This host's own keys are replaced while it runs: what `postern-agent rotate-keys` and an operator ask for.
//!
//! The order is what matters. The gate takes packets for the former and for the next exchange key before the
//! controller hears that the former identity is to end, and only then does the controller give the next exchange
//! key to users. What is on the disk says how far it is, so it goes on after a restart.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use member::{ConnectError, FilesError, JoinError, Membership, Rotation, RotationStep};
use program::{Exit, Failure as _};

use super::backoff::Backoff;
use super::events::Spool;
use super::keys::OwnKeys;
use super::{Addresses, Controller, GateStopped, deliver};
use crate::clock;
use crate::link_state::LinkState;
use crate::orders::{Order, OrderSender};

/// Between two looks whether a former key has ended, at most: the wall clock may jump.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(15 * 60);
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(5 * 60);
/// For how long the gate is waited for, and a session with the next keys.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks whether the policy that was ordered last is saved.
const PAUSE: Duration = Duration::from_millis(100);

/// Replaces this host's keys when somebody asks for it.
pub(super) struct KeyRotation {
    keys: OwnKeys,
    /// Where the controller is dialled.
    addresses: Addresses,
    orders: OrderSender,
    spool: Spool,
    state: LinkState,
}

/// Why a rotation does not go on.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Step(#[from] JoinError),
    /// The gate, or the session, takes its time.
    #[error("{0} does not use the next keys yet")]
    Slow(&'static str),
    /// The policy in force cannot be compiled with the next keys.
    #[error("the policy in force cannot be compiled anew: {}", .0.join("; "))]
    Policy(Vec<String>),
    #[error("the gate has stopped")]
    Stopped,
}

// === impl Failed ===

impl Failed {
    /// Whether the same will come of it later.
    fn lasts(&self) -> bool {
        match self {
            Self::Step(JoinError::Files(FilesError::Io { .. }) | JoinError::Running { .. }) => {
                false
            }
            Self::Step(error) => error.exit() != Exit::Unreachable,
            Self::Policy(_) => true,
            Self::Slow(_) | Self::Stopped => false,
        }
    }
}

impl From<ConnectError> for Failed {
    fn from(error: ConnectError) -> Self {
        Self::Step(error.into())
    }
}

impl From<FilesError> for Failed {
    fn from(error: FilesError) -> Self {
        Self::Step(error.into())
    }
}

impl From<GateStopped> for Failed {
    fn from(GateStopped: GateStopped) -> Self {
        Self::Stopped
    }
}

// === impl KeyRotation ===

impl KeyRotation {
    pub(super) fn new(
        controller: &Controller,
        orders: OrderSender,
        spool: Spool,
        state: LinkState,
    ) -> Self {
        Self {
            keys: controller.keys.clone(),
            addresses: controller.addresses.clone(),
            orders,
            spool,
            state,
        }
    }

    /// Replaces keys whenever that is wished, and ends former ones, for as long as the link lives.
    pub(super) async fn keep(self) {
        let Some(dir) = self.keys.member().map(|member| member.dir().to_owned()) else {
            return;
        };
        let mut backoff = Backoff::between(RETRY_FIRST, RETRY_LAST);
        // One that was cut off goes on.
        if let Ok(Some(_)) = Membership::load(&dir).and_then(|member| member.rotation()) {
            self.state.rotate();
        }
        loop {
            if !self.state.rotation().goes_on() {
                self.wait(&dir).await;
                continue;
            }
            match self.rotated(&dir).await {
                Ok(()) => {
                    tracing::info!("this host has other keys now");
                    self.state.rotated();
                    backoff = Backoff::between(RETRY_FIRST, RETRY_LAST);
                }
                Err(Failed::Stopped) => return,
                Err(failed) => {
                    let error = program::one_line(&failed).to_string();
                    tracing::warn!(error, "the keys of this host are not replaced yet");
                    self.state.rotation_failed(error, failed.lasts());
                    let again = self.state.rotation_wished();
                    let _ = tokio::time::timeout(backoff.next(), again).await;
                }
            }
        }
    }

    /// Waits for a wish, or for the end of a former key.
    async fn wait(&self, dir: &Path) {
        let now_secs = clock::now().wall_secs;
        match self.end_former(dir, now_secs).await {
            Ok(()) => {}
            Err(error) => {
                let error = program::one_line(&error);
                tracing::warn!(%error, "a former key of this host does not end");
            }
        }
        let until = Membership::load(dir).and_then(|member| member.former_until_secs(now_secs));
        let left = until.ok().flatten().map_or(LOOK_AGAIN_MAX, |until| {
            Duration::from_secs(until.saturating_sub(now_secs).max(1))
        });
        let wished = self.state.rotation_wished();
        let _ = tokio::time::timeout(left.min(LOOK_AGAIN_MAX), wished).await;
    }

    async fn end_former(&self, dir: &Path, now_secs: u64) -> Result<(), Failed> {
        let member = Membership::load(dir)?;
        let now = member.exchanges(now_secs)?.len();
        if now < self.keys.opening().await.secrets.len() {
            self.use_secrets(&member).await?;
            tracing::info!("a former key of this host has ended");
        }
        member.forget_ended(now_secs)?;
        Ok(())
    }

    /// Takes every step that is left.
    async fn rotated(&self, dir: &Path) -> Result<(), Failed> {
        let mut member = Membership::load(dir)?;
        if member.rotation()? == Some(Rotation::Switched) {
            self.switch(&member).await?;
        }
        loop {
            match member.rotate_step_at(&self.addresses.current()).await? {
                RotationStep::Made => {}
                RotationStep::Switched => self.switch(&member).await?,
                RotationStep::WaitsFor(_) => return Err(Failed::Slow("the fleet")),
                RotationStep::Ended(_) => return Ok(()),
            }
        }
    }

    /// Has the gate take packets for the next key too, and the controller spoken to with the next certificate.
    async fn switch(&self, member: &Membership) -> Result<(), Failed> {
        self.use_secrets(member).await?;
        member.renew_at(&self.addresses.current()).await?;
        self.state.certificate(member.expires_at_secs());
        let switches = self.keys.switch(member.clone());
        let spoken = self.keys.spoken_with(switches);
        tokio::time::timeout(PATIENCE, spoken)
            .await
            .map_err(|_| Failed::Slow("the session"))
    }

    /// Compiles the policy in force anew, with the secrets that are on the disk, and waits until the gate has it.
    async fn use_secrets(&self, member: &Membership) -> Result<(), Failed> {
        let secrets: Arc<[_]> = member.exchanges(clock::now().wall_secs)?.into();
        let mut opening = self.keys.opening().await;
        let since = tokio::time::Instant::now();
        let saved = loop {
            let saved = self.spool.policy().await;
            let is_newest = opening.ordered.is_none_or(|ordered| {
                saved.as_ref().is_some_and(|saved| {
                    let saved = saved.version;
                    (saved.generation, saved.digest) == (ordered.generation, ordered.digest)
                })
            });
            if is_newest {
                break saved;
            }
            if since.elapsed() > PATIENCE {
                return Err(Failed::Slow("the journal"));
            }
            tokio::time::sleep(PAUSE).await;
        };
        opening.secrets = secrets;
        let Some(saved) = saved else {
            return Ok(());
        };
        let policy = opening.compile(saved).await.map_err(Failed::Policy)?;
        deliver(&self.orders, Order::ReplacePolicy(Box::new(policy))).await?;
        drop(opening);
        self.wait_for_gate().await
    }

    /// Orders are taken in their order.
    async fn wait_for_gate(&self) -> Result<(), Failed> {
        let (sender, answer) = sync_channel(1);
        deliver(&self.orders, Order::Report(sender)).await?;
        let answered = tokio::task::spawn_blocking(move || answer.recv_timeout(PATIENCE));
        match answered.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Failed::Slow("the gate")),
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn a_controller_of_the_version_before_is_asked_once_and_one_that_is_away_again_and_again() {
        let refused = |code| {
            let message = "unknown".to_owned();
            Failed::from(ConnectError::Refused { code, message }).lasts()
        };
        assert!(refused(Code::Unimplemented) && refused(Code::PermissionDenied));
        let away = ConnectError::Unreachable {
            address: "controller:1".to_owned(),
            cause: "no route".into(),
        };
        assert!(!Failed::from(away).lasts());
        assert!(!Failed::Slow("the gate").lasts());
        assert!(Failed::Policy(vec!["a mistake".to_owned()]).lasts());
    }
}
