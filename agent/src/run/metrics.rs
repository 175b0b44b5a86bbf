//! Answers Prometheus, on a thread of its own, where an address is configured: nothing of the gate's
//! but one report for each question.

use std::io;
use std::net::SocketAddr;
use std::thread;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::RunError;
use super::status::Reporter;
use crate::clock;
use crate::metrics;

/// The listener, which goes with this value.
#[derive(Debug)]
pub(super) struct Metrics {
    _stop: oneshot::Sender<()>,
}

/// Starts to listen, if an address is given.
pub(super) fn start(
    address: Option<SocketAddr>,
    reporter: impl FnOnce() -> Result<Reporter, RunError>,
) -> Result<Option<Metrics>, RunError> {
    let Some(address) = address else {
        return Ok(None);
    };
    let reporter = reporter()?;
    let failed = |cause| RunError::Metrics { address, cause };
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let (stop, until) = oneshot::channel::<()>();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .map_err(RunError::Thread)?;
    program::metrics::announce(address);
    let serve = async move {
        let listener = TcpListener::from_std(listener)?;
        let reporter = Mutex::new(reporter);
        let source = move || {
            let report = reporter.lock().report()?;
            program::metrics::text(&metrics::registry(&report, clock::now().wall_secs))
        };
        program::metrics::serve(listener, source, async {
            // Dropped at the end.
            let _ = until.await;
        })
        .await;
        Ok::<(), io::Error>(())
    };
    thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(move || {
            if let Err(error) = runtime.block_on(serve) {
                tracing::error!(%error, "metrics are not served");
            }
            // A question that is under way has nobody to answer it any more.
            runtime.shutdown_background();
        })
        .map_err(RunError::Thread)?;
    Ok(Some(Metrics { _stop: stop }))
}
