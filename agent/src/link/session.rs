//! The session: one stream of directives from the controller, opened again whenever it ends.
//!
//! It alone says whether the line is up. A policy that comes in is judged off the async threads and
//! ordered; while that goes on the stream is not read, so a controller cannot send faster than this
//! host adopts.

use std::time::Duration;

use fleet::wire::agent_client::AgentClient;
use fleet::wire::directive::Directive as Kind;
use fleet::wire::{self, ClaimedDigests, Directive, PolicySnapshot, SessionRequest};
use member::ConnectError;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Status;

use super::adopt::{self, Terms};
use super::backoff::Backoff;
use super::claims::FOR_EVER;
use super::events::Spool;
use super::report::wire_digest;
use super::{Controller, GateStopped, Line, deliver};
use crate::clock;
use crate::orders::{ClaimedDigest, Order, OrderSender, Standing};

/// Name look-up, TCP, TLS and, when needed, the renewal before them.
const DIAL_TIMEOUT: Duration = Duration::from_secs(20);
/// The beginning of the stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// A session that lived this long was a success; after it, waiting begins anew.
const LIVED: Duration = Duration::from_secs(10);
/// The largest policy of one host that is accepted.
const DIRECTIVE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// However short a policy's life is, it is not asked for again sooner than this.
const REFRESH_MIN: Duration = Duration::from_secs(60);
/// Digests in one order.
const CLAIMED_MAX: usize = 4096;

/// What the session needs, and where it leaves what it learns.
pub(super) struct Session {
    pub(super) controller: Controller,
    pub(super) orders: OrderSender,
    pub(super) standing: watch::Receiver<Standing>,
    pub(super) line: watch::Sender<Line>,
}

/// Why a session is over.
#[derive(Debug)]
enum Ending {
    /// The gate thread has stopped.
    Stopped,
    /// It is time to ask for the whole policy again, for a later `not_after`.
    Refresh,
    /// The controller ended it in an orderly way.
    Closed,
    /// The connection failed, or the controller refused.
    Failed(ConnectError),
}

/// What is remembered from one session to the next.
#[derive(Debug, Default)]
struct Memory {
    ordered: Terms,
    /// When half of the time that the policy may be enforced is over; `None` for never.
    refresh_at: Option<Instant>,
}

// === impl Session ===

impl Session {
    /// Keeps a session open for as long as the link lives.
    pub(super) async fn keep(self, spool: Spool) {
        let Ok(mut memory) = self.begin(&spool).await else {
            return;
        };
        let mut backoff = Backoff::new();
        loop {
            let began = Instant::now();
            let ending = self.once(&mut memory).await;
            if !matches!(ending, Ending::Refresh) {
                // A refreshed session takes over from the old channel, which works until then.
                self.line.send_replace(Line::Down);
            }
            if began.elapsed() >= LIVED {
                backoff.reset();
            }
            match ending {
                Ending::Stopped => return,
                Ending::Refresh => continue,
                Ending::Closed => tracing::info!("the controller closed the session"),
                Ending::Failed(error) => log(&error),
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// Orders the policy saved in the journal, unless one is in force: the controller is not needed
    /// to go on.
    async fn begin(&self, spool: &Spool) -> Result<Memory, GateStopped> {
        let mut memory = Memory::default();
        let Some(saved) = spool.policy().await else {
            return Ok(memory);
        };
        memory.ordered = Terms::of(&saved);
        if memory.ordered.not_after_secs != 0 {
            // How long it was valid when it came is not known; so ask at once.
            memory.refresh_at = Some(Instant::now());
        }
        if self.standing.borrow().generation >= saved.generation {
            return Ok(memory);
        }
        let exchange = self.controller.exchange.clone();
        let compile =
            tokio::task::spawn_blocking(move || adopt::compile(saved, exchange.as_deref()));
        match compile.await {
            Ok(Ok(policy)) => {
                deliver(&self.orders, Order::ReplacePolicy(Box::new(policy))).await?;
            }
            Ok(Err(reasons)) => {
                tracing::error!(?reasons, "the saved policy cannot be enforced");
                memory = Memory::default();
            }
            Err(error) => {
                tracing::error!(%error, "the saved policy cannot be enforced");
                memory = Memory::default();
            }
        }
        Ok(memory)
    }

    async fn once(&self, memory: &mut Memory) -> Ending {
        match self.talk(memory).await {
            Ok(ending) => ending,
            Err(error) => Ending::Failed(error),
        }
    }

    async fn talk(&self, memory: &mut Memory) -> Result<Ending, ConnectError> {
        let channel = tokio::time::timeout(DIAL_TIMEOUT, (self.controller.dial)())
            .await
            .unwrap_or_else(|_| Err(self.no_answer(DIAL_TIMEOUT)))?;
        let mut client =
            AgentClient::new(channel.clone()).max_decoding_message_size(DIRECTIVE_BYTES_MAX);
        let request = self.request(memory);
        let mut stream = tokio::time::timeout(OPEN_TIMEOUT, client.session(request))
            .await
            .map_err(|_| self.no_answer(OPEN_TIMEOUT))?
            .map_err(|status| self.failed(status))?
            .into_inner();
        tracing::info!("connected to the controller");
        self.line.send_replace(Line::Up(channel));

        loop {
            tokio::select! {
                directive = stream.message() => {
                    let directive = directive.map_err(|status| self.failed(status))?;
                    let Some(directive) = directive else { return Ok(Ending::Closed) };
                    if self.follow(directive, memory).await == Err(GateStopped) {
                        return Ok(Ending::Stopped);
                    }
                }
                () = due(memory.refresh_at) => return Ok(Ending::Refresh),
            }
        }
    }

    /// Says what is in force here; or nothing, to be sent the whole policy again.
    fn request(&self, memory: &mut Memory) -> SessionRequest {
        let refresh = memory.refresh_at.is_some_and(|at| at <= Instant::now());
        let (generation, policy_digest) = if refresh {
            // Should none come, the next try has its pause.
            memory.refresh_at = Instant::now().checked_add(REFRESH_MIN);
            (0, Vec::new())
        } else {
            let standing = self.standing.borrow();
            let digest = wire_digest(standing.generation, &standing.digest);
            (standing.generation, digest)
        };
        SessionRequest {
            generation,
            policy_digest,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    async fn follow(&self, directive: Directive, memory: &mut Memory) -> Result<(), GateStopped> {
        match directive.directive {
            // A directive of a later version of the controller.
            None => Ok(()),
            Some(Kind::Policy(snapshot)) => self.adopt(snapshot, memory).await,
            Some(Kind::Claimed(ClaimedDigests { digests })) => {
                let digests: Vec<_> = digests.iter().filter_map(claimed).collect();
                for digests in digests.chunks(CLAIMED_MAX) {
                    deliver(&self.orders, Order::Claimed(digests.to_vec())).await?;
                }
                Ok(())
            }
        }
    }

    async fn adopt(
        &self,
        snapshot: PolicySnapshot,
        memory: &mut Memory,
    ) -> Result<(), GateStopped> {
        let generation = snapshot.generation;
        let not_after_secs = snapshot.not_after_secs;
        let standing = self.standing.borrow().clone();
        let (exchange, ordered) = (self.controller.exchange.clone(), memory.ordered);
        let judge = tokio::task::spawn_blocking(move || {
            adopt::judge(snapshot, &standing, ordered, exchange.as_deref())
        });
        let verdict = match judge.await {
            Ok(verdict) => verdict,
            Err(error) => {
                tracing::error!(%error, generation, "the policy could not be judged");
                return Ok(());
            }
        };
        // Whatever it came to, the controller has sent what it has; asking again waits its time.
        memory.refresh_at = refresh_at(not_after_secs, clock::now().wall_secs);
        if let Some(terms) = verdict.terms() {
            memory.ordered = terms;
        }
        match verdict.into_order() {
            Some(order) => deliver(&self.orders, order).await,
            None => Ok(()),
        }
    }

    fn failed(&self, status: Status) -> ConnectError {
        ConnectError::from_status(&self.controller.address, status)
    }

    fn no_answer(&self, within: Duration) -> ConnectError {
        ConnectError::Unreachable {
            address: self.controller.address.clone(),
            cause: format!("no answer within {} s", within.as_secs()).into(),
        }
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Half of the time that is left, so that a policy never runs out while the controller is there.
fn refresh_at(not_after_secs: u64, now_secs: u64) -> Option<Instant> {
    if not_after_secs == 0 {
        return None;
    }
    let half = Duration::from_secs(not_after_secs.saturating_sub(now_secs) / 2);
    Instant::now().checked_add(half.max(REFRESH_MIN))
}

/// What a sibling has claimed; `None` for what is no digest.
fn claimed(digest: &wire::ClaimedDigest) -> Option<ClaimedDigest> {
    let wire::ClaimedDigest {
        // Which key it was is in the digest: no two keys open the same message alike.
        domain: _,
        digest,
        forget_after_secs,
    } = digest;
    Some(ClaimedDigest {
        digest: digest.as_slice().try_into().ok()?,
        forget_after_secs: match *forget_after_secs {
            FOR_EVER => i64::MAX.unsigned_abs(),
            secs => secs,
        },
    })
}

/// An unreachable controller is the network's matter and soon over; a refusal needs a person.
fn log(error: &ConnectError) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    match error {
        ConnectError::Unreachable { .. } => tracing::warn!(cause, "no session: {error}"),
        ConnectError::NotTheController { .. }
        | ConnectError::Clock { .. }
        | ConnectError::Refused { .. }
        | ConnectError::Answer(_)
        | ConnectError::Files(_)
        | ConnectError::Keys(_) => tracing::error!(cause, "no session: {error}"),
    }
}
