//! Acknowledgements: the controller is told what is in force here, at every change and as a sign of
//! life.

use std::time::Duration;

use engine::Status;
use fleet::wire::AcknowledgeRequest;
use fleet::wire::agent_client::AgentClient;
use tokio::sync::watch;
use tonic::Request;
use tonic::transport::Channel;

use super::{Connection, up};

/// The controller hears of us at least this often.
const HEARTBEAT: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(10);
/// Before an acknowledgement that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Reports for as long as the link lives.
pub(super) async fn keep(
    mut connection: watch::Receiver<Connection>,
    mut status: watch::Receiver<Status>,
    mut audit_fault: watch::Receiver<String>,
) {
    while let Some(peer) = up(&mut connection).await {
        let now = status.borrow_and_update().clone();
        let fault = audit_fault.borrow_and_update().clone();
        let request = acknowledgement(&now, fault);
        let pause = match acknowledge(peer.channel, request).await {
            Ok(()) => HEARTBEAT,
            Err(cause) => {
                tracing::debug!(%cause, "acknowledgement failed");
                RETRY_PAUSE
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // A new connection means a controller that may not have heard the last word.
            changed = connection.changed() => if changed.is_err() { return },
            changed = status.changed(), if pause == HEARTBEAT => {
                if changed.is_err() { return }
            }
            changed = audit_fault.changed(), if pause == HEARTBEAT => {
                if changed.is_err() { return }
            }
        }
    }
}

async fn acknowledge(channel: Channel, request: AcknowledgeRequest) -> Result<(), tonic::Status> {
    let mut request = Request::new(request);
    request.set_timeout(TIMEOUT);
    AgentClient::new(channel).acknowledge(request).await?;
    Ok(())
}

/// A newer policy that was rejected is what the controller needs to hear about first.
fn acknowledgement(status: &Status, audit_fault: String) -> AcknowledgeRequest {
    let Status {
        generation,
        digest,
        rejected,
        drift,
    } = status;
    let drift = drift.clone().unwrap_or_default();
    match rejected {
        Some(rejected) => AcknowledgeRequest {
            generation: rejected.generation,
            policy_digest: rejected.digest.to_vec(),
            rejected: rejected.reasons.clone(),
            drift,
            audit_fault,
        },
        None => AcknowledgeRequest {
            generation: *generation,
            policy_digest: wire_digest(*generation, digest),
            rejected: Vec::new(),
            drift,
            audit_fault,
        },
    }
}

/// A digest as the wire has it: empty when no policy is in force.
pub(super) fn wire_digest(generation: u64, digest: &[u8; 32]) -> Vec<u8> {
    if generation == 0 {
        Vec::new()
    } else {
        digest.to_vec()
    }
}
