//! How a session is opened, and when one is dialled beside an open one.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use fleet::wire::agent_client::AgentClient;
use fleet::wire::{Directive, SessionRequest};
use member::ConnectError;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use super::Controller;

/// Name look-up, TCP, TLS and, when needed, the renewal before them.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(20);
/// The beginning of the stream.
pub(super) const OPEN_TIMEOUT: Duration = Duration::from_secs(20);
/// The largest policy of one host that is accepted.
const DIRECTIVE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why none was opened.
#[derive(Debug)]
pub(super) enum Unopened {
    NoAnswer,
    Refused(Status),
}

/// An earlier controller that was reached: its address, and how it is spoken to.
pub(super) type Reached = (String, Channel);

/// Asks for a session there.
pub(super) async fn open(
    channel: Channel,
    request: SessionRequest,
) -> Result<Response<Streaming<Directive>>, Unopened> {
    let mut client = AgentClient::new(channel).max_decoding_message_size(DIRECTIVE_BYTES_MAX);
    match tokio::time::timeout(OPEN_TIMEOUT, client.session(request)).await {
        Ok(answer) => answer.map_err(Unopened::Refused),
        Err(_) => Err(Unopened::NoAnswer),
    }
}

/// Waits until it is time to go back to an earlier controller, and dials it; `None` where that is not there. The session
/// that is open goes on meanwhile.
pub(super) fn homeward(
    controller: Controller,
) -> Pin<Box<dyn Future<Output = Option<Reached>> + Send>> {
    Box::pin(async move {
        let address = controller.addresses.time_to_go_home().await;
        let dialled = tokio::time::timeout(DIAL_TIMEOUT, (controller.dial)(address.clone()));
        if let Ok(Ok(channel)) = dialled.await {
            return Some((address, channel));
        }
        tracing::debug!(address, "an earlier controller is not there yet");
        controller.addresses.stays();
        None
    })
}

/// An unreachable controller is the network's matter and soon over; a refusal needs a person.
pub(super) fn log(error: &ConnectError) {
    let words = program::one_line(error);
    match error {
        ConnectError::Unreachable { .. } => tracing::warn!("no session: {words}"),
        ConnectError::NotTheController { .. }
        | ConnectError::Clock { .. }
        | ConnectError::Refused { .. }
        | ConnectError::Answer(_)
        | ConnectError::Files(_)
        | ConnectError::Keys(_) => tracing::error!("no session: {words}"),
    }
}
