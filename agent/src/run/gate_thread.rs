//! The gate thread: from a captured frame to an open hole, without an async hop.
//!
//! One turn: wait for packets or orders; carry out orders; judge a bounded batch of packets; then
//! [`settle`](super::settle): one commit, and after it one message to the kernel. Everything that
//! can wait (signals, parsing, repairs, the controller) is done by others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fleet::{Event, EventKind, Outcome};
use gate::{Datagram, Decision, Gate, Grant, Now, Refusal};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use policy::Permitted;
use tokio::sync::watch;

use super::claims::Claims;
use super::command::Commands;
use super::events;
use super::folds::Folds;
use super::grants::Grants;
use crate::capture::{Arrival, Capture};
use crate::clock;
use crate::firewall::{Holes, MonitorHandle};
use crate::journal::{Journal, LiveGrant};
use crate::orders::{ClaimAnswer, Order, OrderInbox, Standing};

/// Packets of one capture that are judged before the batch is settled. Large enough to share one
/// sync under load, small enough that the first of them does not wait for long.
const BATCH_MAX: usize = 256;
/// The longest sleep: tidying, and the watchdog, need no more.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Between two tidyings of the journal.
const TIDY_EVERY: Duration = Duration::from_secs(5);

/// Everything the gate thread owns.
#[derive(Debug)]
pub(super) struct GateThread {
    pub(super) gate: Gate,
    pub(super) journal: Journal,
    pub(super) firewall: Box<dyn Holes>,
    pub(super) captures: Vec<Box<dyn Capture>>,
    pub(super) inbox: OrderInbox,
    pub(super) grants: Grants,
    pub(super) claims: Claims,
    pub(super) folds: Folds,
    pub(super) commands: Commands,
    pub(super) monitor: Option<MonitorHandle>,
    pub(super) standing: watch::Sender<Standing>,
    pub(super) committed: watch::Sender<u64>,
    pub(super) watchdog: Option<Duration>,
    /// Ports protected by the configuration, whatever the policy says.
    pub(super) protect: Vec<spa::ProtoPort>,
    pub(super) limits: Limits,
    /// Grants of this turn, each with the number of its event.
    pub(super) opening: Vec<(u64, Grant)>,
    pub(super) housekeeping: Housekeeping,
}

/// Bounds that the configuration sets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Grants open at once.
    pub(super) grants_max: usize,
    /// Whether stopping closes what is open.
    pub(super) flush_at_exit: bool,
}

/// When the small regular things are due.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Housekeeping {
    tidy_at: Duration,
    watchdog_at: Duration,
    /// The minute for which the gate has nothing left to prepare.
    precomputed_minute: u64,
    lost: u64,
    pub(super) commit_failing: bool,
}

// === impl GateThread ===

impl GateThread {
    /// Works until it is told to stop. Gives the journal back, everything in it committed if the
    /// disk allowed it.
    pub(super) fn run(mut self) -> Journal {
        let mut orders = VecDeque::new();
        loop {
            self.wait();
            if !self.turn(&mut orders, clock::now()) {
                return self.journal;
            }
        }
    }

    /// One turn; `false` when it was the last. `orders` is room for those that wait.
    pub(super) fn turn(&mut self, orders: &mut VecDeque<Order>, now: Now) -> bool {
        self.inbox.take(orders);
        while let Some(order) = orders.pop_front() {
            if matches!(order, Order::Stop) {
                self.stop(now);
                return false;
            }
            self.obey(order, now);
        }
        self.judge_arrivals(now);
        self.settle(now);
        self.do_what_is_due(now);
        true
    }

    /// Sleeps until there is something to do. When nothing has arrived, and the next minute's tags
    /// are not made yet, makes a slice of them instead of sleeping.
    fn wait(&mut self) {
        let now = clock::now();
        let minute = now.wall_secs / 60;
        let is_precomputed = self.housekeeping.precomputed_minute == minute;
        let sleep = if is_precomputed {
            self.sleep(now)
        } else {
            Duration::ZERO
        };
        if !self.poll(sleep) && !is_precomputed && self.gate.precompute(now) {
            self.housekeeping.precomputed_minute = minute;
        }
    }

    /// Whether packets or orders arrived within `timeout`.
    fn poll(&self, timeout: Duration) -> bool {
        let mut fds = Vec::with_capacity(self.captures.len() + 1);
        for capture in &self.captures {
            capture.poll_fds(&mut fds);
        }
        fds.push(PollFd::new(self.inbox.bell(), PollFlags::POLLIN));
        // Rounded up: waking just before a deadline would be waking twice.
        let millis = timeout.as_micros().div_ceil(1_000);
        let millis = u16::try_from(millis).unwrap_or(u16::MAX);
        // A signal is as good as an arrival: the loop looks again.
        poll(&mut fds, PollTimeout::from(millis)).is_ok_and(|ready| ready > 0)
    }

    fn sleep(&self, now: Now) -> Duration {
        let steady = now.steady;
        let deadlines = [
            self.grants.next_deadline(),
            self.claims.next_deadline(),
            Some(self.folds.ends_at()),
            Some(self.housekeeping.tidy_at),
            self.watchdog.map(|_| self.housekeeping.watchdog_at),
        ];
        let retries = self.captures.iter().filter_map(|c| c.retry_in(steady));
        let waits = deadlines.into_iter().flatten();
        let waits = waits.map(|at| at.saturating_sub(steady)).chain(retries);
        waits.min().unwrap_or(SLEEP_MAX).min(SLEEP_MAX)
    }

    fn judge_arrivals(&mut self, now: Now) {
        let mut captures = std::mem::take(&mut self.captures);
        for capture in &mut captures {
            let judged = capture.next_batch(BATCH_MAX, now.steady, &mut |arrival| {
                self.judge(arrival, now);
            });
            if let Err(cause) = judged {
                tracing::error!(%cause, "a capture went down; it is tried again");
            }
        }
        self.captures = captures;
    }

    fn judge(&mut self, arrival: Arrival<'_>, now: Now) {
        let datagram = match arrival {
            Arrival::Datagram(datagram) => datagram,
            Arrival::Frame(link, frame) => match Datagram::parse(frame, link) {
                Ok(datagram) => datagram,
                Err(_) => return,
            },
        };
        let decision = self.gate.admit(&datagram, now, &mut self.journal);
        self.follow(decision, now);
    }

    /// Does what the gate decided, as far as it can be done before the commit.
    pub(super) fn follow(&mut self, decision: Decision, now: Now) {
        match decision {
            Decision::Grant(grant) => self.prepare(grant, now),
            Decision::Claim(pending) => {
                if let Err(pending) = self.claims.ask(pending, now.steady) {
                    self.follow_unclaimed(pending.unreachable(), now);
                }
            }
            Decision::Refused(refusal) => self.refuse(&refusal, now),
        }
    }

    fn follow_unclaimed(&mut self, concluded: Result<Grant, Box<Refusal>>, now: Now) {
        match concluded {
            Ok(grant) => self.prepare(grant, now),
            Err(refusal) => self.refuse(&refusal, now),
        }
    }

    /// Stages the record of a grant.
    fn prepare(&mut self, grant: Grant, now: Now) {
        match &grant.permit().what() {
            Permitted::Ports(ports) => {
                if self.grants.len() + self.opening.len() >= self.limits.grants_max {
                    let reason = "too many grants are open on this host";
                    self.refuse_grant(&grant, now, reason);
                    return;
                }
                let (live, opened) = (live_grant(&grant, ports, now), events::opened(&grant, now));
                let seq = self.journal.stage_opened(live, opened);
                self.opening.push((seq, grant));
            }
            Permitted::Command { text, .. } => {
                if !self.commands.has_room() {
                    self.refuse_grant(&grant, now, "too many commands are running on this host");
                    return;
                }
                let reason = format!("start: {text}");
                let seq = self.journal.stage(events::command(&grant, now, reason));
                self.opening.push((seq, grant));
            }
        }
    }

    fn refuse_grant(&mut self, grant: &Grant, now: Now, reason: &str) {
        tracing::warn!(user = grant.identity().user(), reason, "grant refused");
        let mut event = events::opened(grant, now);
        event.set_kind(EventKind::Refused);
        event.set_outcome(Outcome::Failure);
        event.grant_id.clear();
        event.until_ms = 0;
        reason.clone_into(&mut event.reason);
        self.journal.stage(event);
    }

    fn refuse(&mut self, refusal: &Refusal, now: Now) {
        let Some(identity) = &refusal.authentic else {
            self.folds.stranger(refusal.source);
            return;
        };
        let digest = identity.opened().replay_digest().0;
        let event = || events::refused(refusal, identity, now);
        let Some(event) = self.folds.refused(refusal, digest, event) else {
            return;
        };
        log_refusal(&event);
        self.journal.stage(event);
    }

    /// Carries out one order; all but `Stop`.
    fn obey(&mut self, order: Order, now: Now) {
        match order {
            Order::ReplacePolicy(policy) => self.replace_policy(*policy, now),
            Order::PolicyRejected {
                generation,
                digest,
                reasons,
            } => self.reject_policy(generation, digest, reasons, now),
            Order::ClaimAnswer { seq, answer } => {
                if let Some(pending) = self.claims.answered(seq) {
                    let decision = match answer {
                        ClaimAnswer::Won => Ok(pending.won()),
                        ClaimAnswer::Lost { held_by } => Err(Box::new(pending.lost(&held_by))),
                        ClaimAnswer::Unreachable => pending.unreachable(),
                    };
                    self.follow_unclaimed(decision, now);
                }
            }
            Order::EventsAcknowledged { epoch, seq } => self.journal.acknowledged(&epoch, seq),
            Order::Claimed(digests) => {
                for claimed in digests {
                    let until = claimed.forget_after_secs;
                    self.journal.remember_claimed(claimed.digest, until);
                }
            }
            Order::Drift(drift) => self.note_drift(drift, now),
            Order::Record(event) => {
                self.journal.stage(*event);
            }
            Order::Stop => {}
        }
    }

    fn do_what_is_due(&mut self, now: Now) {
        while let Some((_, live)) = self.grants.take_ended(now.steady) {
            let at_ms = live.until_ms;
            let event = events::closed(EventKind::GrantClosed, &live, at_ms, "");
            tracing::info!(user = event.user, opened = event.opened, "grant closed");
            self.journal.stage_closed(live.id, event);
        }
        while let Some(pending) = self.claims.take_overdue(now.steady) {
            self.follow_unclaimed(pending.unreachable(), now);
        }
        if self.folds.ends_at() <= now.steady {
            self.note_losses(now);
            for event in self.folds.end(now) {
                self.journal.stage(event);
            }
        }
        if self.housekeeping.tidy_at <= now.steady {
            self.housekeeping.tidy_at = now.steady + TIDY_EVERY;
            self.journal.tidy(now);
        }
        if let Some(every) = self.watchdog
            && self.housekeeping.watchdog_at <= now.steady
        {
            self.housekeeping.watchdog_at = now.steady + every / 2;
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        }
        self.settle(now);
    }

    /// Says how many packets were lost since the last time, if any were.
    fn note_losses(&mut self, now: Now) {
        let lost: u64 = self.captures.iter_mut().map(|c| c.dropped()).sum();
        let more = lost.saturating_sub(self.housekeeping.lost);
        self.housekeeping.lost = lost;
        if more > 0 {
            tracing::warn!(
                packets = more,
                "packets were lost before they could be judged"
            );
            let mut event = Event::new(EventKind::Noise, now.wall_ms());
            "packets lost before they could be judged".clone_into(&mut event.reason);
            event.count = more;
            self.journal.stage(event);
        }
    }

    pub(super) fn compiled(&self) -> &Arc<gate::CompiledPolicy> {
        self.gate.compiled()
    }
}

/// How the journal remembers a grant until it is closed.
fn live_grant(grant: &Grant, ports: &[spa::ProtoPort], now: Now) -> LiveGrant {
    LiveGrant {
        id: events::grant_id(grant),
        until_ms: now.wall_ms() + u64::from(grant.permit().timeout_secs()) * 1_000,
        address: grant.permit().address(),
        ports: ports.to_vec(),
    }
}

fn log_refusal(event: &Event) {
    let (user, stanza, reason) = (&event.user, &event.stanza, &event.reason);
    if event.kind() == EventKind::Replay {
        tracing::warn!(
            user,
            stanza,
            "attempted message replay from: {}",
            event.source
        );
    } else {
        tracing::info!(
            user,
            stanza,
            reason,
            source = event.source,
            "packet refused"
        );
    }
}
