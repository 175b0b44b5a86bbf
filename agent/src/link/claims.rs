//! Claims: asking the fleet's shared list to record a replay digest, for which it is won once.
//!
//! A user waits for the answer, so there is always one soon: the controller's, or that it cannot be
//! reached. What that means is for the stanza to say (`ON_CONTROLLER_LOSS`), not for this file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engine::{ClaimAnswer, ClaimAsk};
use fleet::claims::MAX_FUTURE_SECS;
use fleet::wire::agent_client::AgentClient;
use fleet::wire::{ClaimRequest, ClaimResponse};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::Channel;

use super::{Connection, Trouble, deliver};
use crate::clock;
use crate::link_state::LinkState;
use crate::orders::{Order, OrderSender};

/// A claim that is not answered within this counts as unreachable.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two attempts at the same claim.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Claims under way at once; the others wait in the channel, whose capacity bounds them.
const IN_FLIGHT_MAX: usize = 256;
/// How the wire says that a digest is never to be forgotten.
pub(super) const FOR_EVER: u64 = 0;

/// What answering claims needs, and where it leaves what it learns.
#[derive(Clone)]
pub(super) struct Claims {
    pub(super) connection: watch::Receiver<Connection>,
    pub(super) orders: OrderSender,
    /// The date of the newest message that was won here, in seconds since the Unix epoch.
    pub(super) newest: Arc<AtomicU64>,
    pub(super) state: LinkState,
}

// === impl Claims ===

impl Claims {
    /// Answers every ask, until the gate thread asks no more.
    pub(super) async fn answer(self, mut asks: mpsc::Receiver<ClaimAsk>) {
        let mut in_flight = JoinSet::new();
        while let Some(ask) = asks.recv().await {
            while in_flight.try_join_next().is_some() {}
            if in_flight.len() >= IN_FLIGHT_MAX {
                in_flight.join_next().await;
            }
            in_flight.spawn(self.clone().one(ask));
        }
        in_flight.join_all().await;
    }

    async fn one(self, ask: ClaimAsk) {
        let Self {
            connection,
            orders,
            newest,
            state,
        } = self;
        let seq = ask.seq;
        let answer = tokio::time::timeout(CLAIM_TIMEOUT, ask_until_answered(&ask, connection))
            .await
            .unwrap_or(ClaimAnswer::Unreachable);
        if answer == ClaimAnswer::Won {
            // A date beyond that is kept under an earlier one.
            let latest_secs = clock::now().wall_secs.saturating_add(MAX_FUTURE_SECS);
            newest.fetch_max(ask.dated_secs.min(latest_secs), Ordering::Relaxed);
        }
        state.claimed(&answer);
        // A gate that has stopped needs no answer.
        let _ = deliver(&orders, Order::ClaimAnswer { seq, answer }).await;
    }
}

/// Asks until there is an answer or the connection is down. Asking twice is safe: the controller
/// knows a claimant that asks again.
async fn ask_until_answered(
    ask: &ClaimAsk,
    mut connection: watch::Receiver<Connection>,
) -> ClaimAnswer {
    loop {
        let state = connection.borrow_and_update().clone();
        match state {
            Connection::Down => return ClaimAnswer::Unreachable,
            Connection::Starting => {
                if connection.changed().await.is_err() {
                    return ClaimAnswer::Unreachable;
                }
            }
            Connection::Up(peer) => match claim(peer.channel, ask).await {
                Ok(answer) => return answer,
                Err(status) if Trouble::of(&status) != Trouble::Refused => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Err(status) => {
                    tracing::warn!(error = %program::one_line(&status), "the controller does not take our claim");
                    return ClaimAnswer::Unreachable;
                }
            },
        }
    }
}

async fn claim(channel: Channel, ask: &ClaimAsk) -> Result<ClaimAnswer, Status> {
    let request = ClaimRequest {
        domain: ask.domain.to_vec(),
        digest: ask.digest.to_vec(),
        seq: ask.seq,
        forget_after_secs: ask.forget_after_secs.unwrap_or(FOR_EVER),
        dated_secs: ask.dated_secs,
    };
    let ClaimResponse { won, held_by } =
        AgentClient::new(channel).claim(request).await?.into_inner();
    Ok(if won {
        ClaimAnswer::Won
    } else {
        ClaimAnswer::Lost { held_by }
    })
}
