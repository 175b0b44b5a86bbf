//! `postern-controller serve`.

use std::net::SocketAddr;
use std::path::Path;

use clap::Args;
use controller::Running;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use super::data::DataArgs;
use super::error::CommandError;

/// Serve the fleet until SIGTERM or SIGINT
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    data: DataArgs,
    /// Where to listen; otherwise every address, at the port of the controller's address
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
}

// === impl ServeArgs ===

impl ServeArgs {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let data = self.data.enter()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(CommandError::Runtime)?;
        let served = runtime.block_on(serve(&data, self.listen));
        // A sink may still wait for its receiver, and everything of ours is committed.
        runtime.shutdown_background();
        served
    }
}

async fn serve(data: &Path, listen: Option<SocketAddr>) -> Result<(), CommandError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(CommandError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CommandError::Signals)?;
    let running = Running::start(data, listen).await?;
    tracing::info!(address = %running.address(), data = %data.display(), "serving");
    notify(&[NotifyState::Ready]);

    let failed = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = running.failed() => true,
    };
    notify(&[NotifyState::Stopping]);
    tracing::info!("stopping");
    running.stop().await;
    if failed {
        return Err(CommandError::StoreGone);
    }
    Ok(())
}

/// Tells systemd, when there is one.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
