//! `postern-controller serve`.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use controller::Running;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Serve the fleet until SIGTERM or SIGINT.
///
/// RUST_LOG sets what is logged, for example `info` (the default) or `controller=debug`.
#[derive(Args, Debug)]
pub(super) struct Serve {
    /// Directory of the controller.
    #[arg(long, value_name = "DIR", env = "POSTERN_CONTROLLER_DATA")]
    data: PathBuf,
    /// Where to listen; otherwise every address, at the port of the controller's address.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
}

// === impl Serve ===

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
            .init();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("runtime")?;
        runtime.block_on(self.serve())
    }

    async fn serve(self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
        let running = Running::start(&self.data, self.listen).await?;
        tracing::info!(address = %running.address(), data = %self.data.display(), "serving");
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
            anyhow::bail!("the store is gone; the log above says why");
        }
        Ok(())
    }
}

/// Tells systemd, when there is one.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
