//! Acknowledgements: the controller is told what is in force here, at every change and as a sign of
//! life.

use std::time::Duration;

use engine::{HostStatus, Status};
use fleet::heartbeat;
use fleet::wire::agent_client::AgentClient;
use fleet::wire::{AcknowledgeRequest, AcknowledgeResponse, Commands};
use gate::Now;
use policy::PortSet;
use spa::Service;
use tokio::sync::watch;
use tonic::Request;
use tonic::transport::Channel;

use super::events::Spool;
use super::{Connection, Trouble, deliver, share, up};
use crate::clock;
use crate::link_state::LinkState;
use crate::orders::{Order, OrderSender};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Before an acknowledgement that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// A change of the clocks' difference that is worth saying, in milliseconds: more than the way to
/// the controller and back makes of it.
const OFFSET_NEWS_MS: u64 = 50;
/// An offset above this is logged as a fault.
const OFFSET_OFF_MS: u64 = 30_000;

/// Why the controller does not take our acknowledgements; `None` when it does.
#[derive(Debug, Default)]
struct Refused(Option<String>);

/// What a failed acknowledgement is worth in the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Worth {
    /// It passes, or has been said.
    Debug,
    /// A person must hear of it.
    Error,
}

/// Reports for as long as the link lives.
pub(super) async fn keep(
    mut connection: watch::Receiver<Connection>,
    told: Told,
    mut heard: Heard,
) {
    let Told {
        mut status,
        mut audit_fault,
        backend,
        spool,
    } = told;
    let mut refused = Refused::default();
    while let Some(peer) = up(&mut connection).await {
        let now = status.borrow_and_update().clone();
        let fault = audit_fault.borrow_and_update().clone();
        let asked = clock::now();
        let grants_open = spool.grants_open(asked.wall_ms()).await;
        let request = AcknowledgeRequest {
            backend: backend.to_owned(),
            grants_open,
            ..acknowledgement(&now, fault, asked)
        };
        match acknowledge(peer.channel, request).await {
            Ok(answer) => {
                heard
                    .controller_time(answer.controller_time_ms, asked, clock::now())
                    .await;
                if refused.end() {
                    tracing::info!("the controller takes our acknowledgements again");
                }
                let said = Said {
                    grants_open,
                    at: asked,
                    again_after: heartbeat::again_after(answer.heartbeat_secs, share()),
                };
                tokio::select! {
                    () = until_due(&said, &spool) => {}
                    // A new connection means a controller that may not have heard the last word.
                    changed = connection.changed() => if changed.is_err() { return },
                    changed = status.changed() => if changed.is_err() { return },
                    changed = audit_fault.changed() => if changed.is_err() { return },
                }
            }
            Err(status) => {
                refused.complain(&status);
                tokio::select! {
                    () = tokio::time::sleep(RETRY_PAUSE) => {}
                    changed = connection.changed() => if changed.is_err() { return },
                }
            }
        }
    }
}

/// What the controller was told last, of what changes without a word of the gate.
#[derive(Clone, Copy, Debug)]
struct Said {
    grants_open: Option<u32>,
    at: Now,
    /// Without news it is said again.
    again_after: Duration,
}

/// We look whether there is something to say as often as it is said at most.
async fn until_due(said: &Said, spool: &Spool) {
    loop {
        tokio::time::sleep(heartbeat::LEAST).await;
        let now = clock::now();
        if said.is_due(spool.grants_open(now.wall_ms()).await, now) {
            return;
        }
    }
}

// === impl Said ===

impl Said {
    /// Whether it is time, or something else is to be said: grants, or a clock that was set.
    fn is_due(&self, grants_open: Option<u32>, now: Now) -> bool {
        let passed = now.steady.saturating_sub(self.at.steady);
        let by_clock = now.wall_ms().abs_diff(self.at.wall_ms());
        let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let was_set = by_clock.abs_diff(passed_ms) > OFFSET_NEWS_MS;
        passed >= self.again_after || grants_open != self.grants_open || was_set
    }
}

/// What the controller is told of.
pub(super) struct Told {
    pub(super) status: watch::Receiver<Status>,
    pub(super) audit_fault: watch::Receiver<String>,
    pub(super) backend: &'static str,
    pub(super) spool: Spool,
}

/// What has been heard of the controller's clock.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) orders: OrderSender,
    pub(super) state: LinkState,
    /// What the gate thread was told last.
    pub(super) offset_ms: Option<i64>,
}

// === impl Heard ===

impl Heard {
    /// Tells the gate thread how far our clock is ahead, when that is news.
    async fn controller_time(&mut self, controller_time_ms: u64, asked: Now, answered: Now) {
        let Some(offset) = offset(controller_time_ms, asked, answered) else {
            return;
        };
        self.state.clock_offset(offset);
        let is_news = |before: i64| before.abs_diff(offset) > OFFSET_NEWS_MS;
        if self.offset_ms.is_none_or(is_news) {
            let was_off = self.offset_ms.is_some_and(is_off);
            match (was_off, is_off(offset)) {
                (_, true) => tracing::warn!(
                    ahead_ms = offset,
                    "this host's clock and the controller's differ; packets may be refused for it"
                ),
                (true, false) => tracing::info!("this host's clock agrees with the controller's"),
                (false, false) => {}
            }
            self.offset_ms = Some(offset);
            // A gate that has stopped writes no more events.
            let _ = deliver(&self.orders, Order::ClockOffset(offset)).await;
        }
    }
}

/// Whether an offset is more than a packet may come from the future.
fn is_off(offset_ms: i64) -> bool {
    offset_ms.unsigned_abs() > OFFSET_OFF_MS
}

/// How far our clock is ahead of the controller's, in milliseconds, taken from the middle of the
/// call; `None` when the controller does not say what time it is.
fn offset(controller_time_ms: u64, asked: Now, answered: Now) -> Option<i64> {
    let theirs = i64::try_from(controller_time_ms)
        .ok()
        .filter(|ms| *ms > 0)?;
    let ours = i64::try_from(asked.wall_ms().midpoint(answered.wall_ms())).ok()?;
    Some(ours.saturating_sub(theirs))
}

// === impl Refused ===

impl Refused {
    /// Notes a failure: a refusal is worth an error, once per change of its reason. The controller
    /// hears nothing from us then, not even that it should.
    fn note(&mut self, status: &tonic::Status) -> Worth {
        if Trouble::of(status) == Trouble::Passing || self.0.as_deref() == Some(status.message()) {
            return Worth::Debug;
        }
        self.0 = Some(status.message().to_owned());
        Worth::Error
    }

    /// Says it, as loudly as it is worth.
    fn complain(&mut self, status: &tonic::Status) {
        let error = program::one_line(status);
        match self.note(status) {
            Worth::Debug => tracing::debug!(%error, "acknowledgement failed"),
            Worth::Error => tracing::error!(%error, "the controller refuses our acknowledgement"),
        }
    }

    /// Notes a success; whether that is news.
    fn end(&mut self) -> bool {
        self.0.take().is_some()
    }
}

async fn acknowledge(
    channel: Channel,
    request: AcknowledgeRequest,
) -> Result<AcknowledgeResponse, tonic::Status> {
    let mut request = Request::new(request);
    request.set_timeout(TIMEOUT);
    let answer = AgentClient::new(channel).acknowledge(request).await?;
    Ok(answer.into_inner())
}

/// A newer policy that was rejected is what the controller needs to hear about first.
fn acknowledgement(status: &Status, audit_fault: String, now: Now) -> AcknowledgeRequest {
    let Status {
        generation,
        digest,
        rejected,
        drift,
        locked,
        host,
    } = status;
    let said = AcknowledgeRequest {
        drift: drift.clone().unwrap_or_default(),
        audit_fault,
        locked: locked.as_deref().map_or_else(String::new, said_lock),
        host_time_ms: now.wall_ms(),
        ..of_host(host)
    };
    match rejected {
        Some(rejected) => AcknowledgeRequest {
            generation: rejected.generation,
            policy_digest: rejected.digest.to_vec(),
            rejected: rejected.reasons.clone(),
            ..said
        },
        None => AcknowledgeRequest {
            generation: *generation,
            policy_digest: wire_digest(*generation, digest),
            ..said
        },
    }
}

/// Why this host is locked, as the controller is told: it takes an empty reason for no lock.
fn said_lock(reason: &str) -> String {
    if reason.is_empty() {
        "no reason was given".to_owned()
    } else {
        reason.to_owned()
    }
}

fn of_host(host: &HostStatus) -> AcknowledgeRequest {
    let HostStatus {
        protected,
        own_protected,
        commands,
        warnings,
        floor_secs,
    } = host;
    // A controller of the version before knows single ports only.
    let ports = |ports: &[Service]| {
        let ports: PortSet = ports.iter().copied().collect();
        ports.spelled_out().map(|port| port.to_string()).collect()
    };
    let commands = if *commands {
        Commands::On
    } else {
        Commands::Off
    };
    AcknowledgeRequest {
        protected_ports: ports(protected),
        own_protected_ports: ports(own_protected),
        commands: commands.into(),
        warnings: warnings.clone(),
        floor_secs: *floor_secs,
        ..AcknowledgeRequest::default()
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

#[cfg(test)]
mod tests {
    use tonic::Status as Answer;

    use super::*;

    fn at_ms(ms: u64) -> Now {
        Now {
            wall_secs: ms / 1_000,
            wall_nanos: u32::try_from(ms % 1_000).unwrap() * 1_000_000,
            steady: Duration::ZERO,
        }
    }

    #[test]
    fn a_lock_without_a_reason_is_acknowledged_as_a_lock() {
        for reason in ["", "stolen"] {
            let status = Status {
                locked: Some(reason.to_owned()),
                ..Status::default()
            };
            let said = acknowledgement(&status, String::new(), at_ms(7_000)).locked;
            assert!(!said.is_empty() && said.contains(reason), "{said}");
        }
        let open = acknowledgement(&Status::default(), String::new(), at_ms(7_000));
        assert!(open.locked.is_empty());
    }

    #[test]
    fn without_news_it_is_said_as_often_as_the_controller_wants_and_with_news_at_the_next_look() {
        let after = |secs: u64, set_ms: u64| Now {
            steady: Duration::from_secs(secs),
            ..at_ms(7_000 + secs * 1_000 + set_ms)
        };
        let said = Said {
            grants_open: Some(2),
            at: at_ms(7_000),
            again_after: Duration::from_secs(300),
        };

        let due = |grants_open, now| said.is_due(Some(grants_open), now);

        assert_eq!(
            [30, 299, 300].map(|secs| due(2, after(secs, 0))),
            [false, false, true]
        );
        assert!(due(3, after(30, 0)));
        assert!(due(2, after(30, 51)) && !due(2, after(30, 50)));
        assert!(due(
            2,
            Now {
                wall_secs: 1,
                ..after(30, 0)
            }
        ));
    }

    #[test]
    fn the_clocks_difference_is_taken_from_the_middle_of_the_call() {
        assert_eq!(offset(5_000, at_ms(7_000), at_ms(7_100)), Some(2_050));
        assert_eq!(offset(9_000, at_ms(7_000), at_ms(7_100)), Some(-1_950));
        assert_eq!(offset(0, at_ms(7_000), at_ms(7_100)), None);
        assert_eq!(offset(u64::MAX, at_ms(7_000), at_ms(7_100)), None);
    }

    #[test]
    fn a_refused_acknowledgement_is_an_error_once_per_change_of_its_reason() {
        let mut refused = Refused::default();
        let no_host = Answer::permission_denied("no such host");
        let bad_digest = Answer::invalid_argument("policy_digest");

        let worth = [&no_host, &no_host, &bad_digest, &no_host].map(|status| refused.note(status));

        assert_eq!(
            worth,
            [Worth::Error, Worth::Debug, Worth::Error, Worth::Error]
        );
        assert!(refused.end());
        assert!(!refused.end());
        assert_eq!(refused.note(&no_host), Worth::Error);
    }

    #[test]
    fn a_controller_that_cannot_be_reached_is_no_refusal_and_forgets_none() {
        let mut refused = Refused::default();
        let no_host = Answer::permission_denied("no such host");

        assert_eq!(refused.note(&Answer::unavailable("down")), Worth::Debug);
        assert!(!refused.end());
        assert_eq!(refused.note(&no_host), Worth::Error);
        assert_eq!(refused.note(&Answer::unavailable("down")), Worth::Debug);
        assert_eq!(refused.note(&no_host), Worth::Debug);
    }
}
