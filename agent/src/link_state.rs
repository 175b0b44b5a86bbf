//! How the link to the controller is, for those who ask: written by its tasks, read beside the gate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gate::Now;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::report::{LinkReport, RotationReport};

/// Why a host is locked that belongs to its fleet no more.
pub(crate) const MEMBERSHIP_ENDED: &str =
    "this host was removed from its fleet, or another has taken its place; join it again";

/// What is known of the link. Its copies are one.
#[derive(Clone, Debug, Default)]
pub struct LinkState(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    seen: Mutex<Seen>,
    claims_won: AtomicU64,
    claims_lost: AtomicU64,
    claims_unanswered: AtomicU64,
    rotation: Mutex<RotationReport>,
    /// When the controller asked for one the last time, milliseconds since the Unix epoch.
    rotation_asked_ms: AtomicU64,
    rotation_wished: Notify,
}

#[derive(Debug, Default)]
struct Seen {
    controller: String,
    controllers: Vec<String>,
    /// When an earlier one of them is tried, by the steady clock.
    goes_home_at: Option<Duration>,
    joined_as: String,
    called: String,
    is_connected: bool,
    /// By the steady clock, in seconds: since when it is so.
    since_secs: u64,
    /// Why it is not connected.
    error: String,
    offset_ms: Option<i64>,
    certificate_expires_secs: u64,
    log_conflict: String,
}

// === impl LinkState ===

#[cfg_attr(
    not(feature = "link"),
    expect(dead_code, reason = "what only a link has to say")
)]
impl LinkState {
    /// Where the controller is dialled, of all places that are known.
    pub(crate) fn dials(&self, address: &str, all: Vec<String>) {
        let mut seen = self.0.seen.lock();
        address.clone_into(&mut seen.controller);
        seen.controllers = all;
    }

    /// When an earlier controller than that in use is tried, by the steady clock; `None` where it is the first.
    pub(crate) fn goes_home_at(&self, due: Option<Duration>) {
        self.0.seen.lock().goes_home_at = due;
    }

    /// By which name this host joined, and what it is called now.
    pub(crate) fn named(&self, joined_as: &str, called: &str) {
        let mut seen = self.0.seen.lock();
        joined_as.clone_into(&mut seen.joined_as);
        called.clone_into(&mut seen.called);
    }

    /// What the controller calls this host now.
    pub(crate) fn called(&self, name: &str) {
        name.clone_into(&mut self.0.seen.lock().called);
    }

    /// The session is open.
    pub(crate) fn connected(&self, now: Now) {
        let mut seen = self.0.seen.lock();
        seen.is_connected = true;
        seen.since_secs = now.steady.as_secs();
        seen.error.clear();
    }

    /// The session is over, or none was opened, for this reason; empty where the controller ended it
    /// in an orderly way.
    pub(crate) fn disconnected(&self, error: String, now: Now) {
        let mut seen = self.0.seen.lock();
        if std::mem::take(&mut seen.is_connected) || seen.since_secs == 0 {
            seen.since_secs = now.steady.as_secs();
        }
        seen.error = error;
    }

    /// How far our clock is ahead of the controller's.
    pub(crate) fn clock_offset(&self, ms: i64) {
        self.0.seen.lock().offset_ms = Some(ms);
    }

    /// When this host's certificate is over, seconds since the Unix epoch.
    pub(crate) fn certificate(&self, expires_secs: u64) {
        self.0.seen.lock().certificate_expires_secs = expires_secs;
    }

    /// The fleet's log is not what this host was shown of it.
    pub(crate) fn log_conflict(&self, reason: &str) {
        reason.clone_into(&mut self.0.seen.lock().log_conflict);
    }

    /// Asks for other keys of this host, unless that is under way; how it is.
    pub(crate) fn rotate(&self) -> RotationReport {
        let report = {
            let mut rotation = self.0.rotation.lock();
            rotation.is_joined = true;
            if rotation.asked == rotation.ended {
                rotation.asked += 1;
            }
            if std::mem::take(&mut rotation.is_refused) {
                rotation.fault.clear();
            }
            rotation.clone()
        };
        self.0.rotation_wished.notify_one();
        report
    }

    /// The same because the controller has asked for it at this moment, milliseconds since the Unix epoch; 0 for not.
    /// It says so until it has heard of other keys.
    pub(crate) fn rotate_as_asked(&self, asked_ms: u64) {
        let before = self.0.rotation_asked_ms.swap(asked_ms, Ordering::Relaxed);
        if asked_ms > 0 && asked_ms != before {
            tracing::info!("an operator asks for other keys of this host");
            self.rotate();
        }
    }

    /// How that is.
    pub(crate) fn rotation(&self) -> RotationReport {
        let mut rotation = self.0.rotation.lock();
        rotation.is_joined = true;
        rotation.clone()
    }

    /// Waits until somebody asks for it.
    pub(crate) async fn rotation_wished(&self) {
        self.0.rotation_wished.notified().await;
    }

    /// This host has other keys.
    pub(crate) fn rotated(&self) {
        let mut rotation = self.0.rotation.lock();
        rotation.ended = rotation.asked;
        rotation.fault.clear();
    }

    /// It does not have them yet, for this reason; `lasts` if trying again is of no use.
    pub(crate) fn rotation_failed(&self, fault: String, lasts: bool) {
        let mut rotation = self.0.rotation.lock();
        rotation.fault = fault;
        rotation.is_refused = lasts;
    }

    /// What came of a claim.
    pub(crate) fn claimed(&self, answer: &engine::ClaimAnswer) {
        let counter = match answer {
            engine::ClaimAnswer::Won => &self.0.claims_won,
            engine::ClaimAnswer::Lost { .. } => &self.0.claims_lost,
            engine::ClaimAnswer::Unreachable => &self.0.claims_unanswered,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// What there is to say now.
    pub(crate) fn report(&self, now: Now) -> LinkReport {
        let Known {
            seen,
            claims_won,
            claims_lost,
            claims_unanswered,
            rotation: _,
            rotation_asked_ms: _,
            rotation_wished: _,
        } = &*self.0;
        let seen = seen.lock();
        LinkReport {
            controller: seen.controller.clone(),
            controllers: seen.controllers.clone(),
            returns_in_secs: seen
                .goes_home_at
                .filter(|_| seen.is_connected)
                .map(|due| due.saturating_sub(now.steady).as_secs()),
            joined_as: seen.joined_as.clone(),
            called: seen.called.clone(),
            is_connected: seen.is_connected,
            since_secs: now.steady.as_secs().saturating_sub(seen.since_secs),
            error: seen.error.clone(),
            clock_offset_ms: seen.offset_ms,
            certificate_expires_secs: seen.certificate_expires_secs,
            log_conflict: seen.log_conflict.clone(),
            claims_won: claims_won.load(Ordering::Relaxed),
            claims_lost: claims_lost.load(Ordering::Relaxed),
            claims_unanswered: claims_unanswered.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Now {
        Now {
            steady: Duration::from_secs(secs),
            ..Now::default()
        }
    }

    #[test]
    fn since_when_a_controller_is_away_is_not_forgotten_by_trying_again() {
        let state = LinkState::default();
        state.connected(at(10));
        state.disconnected("refused".to_owned(), at(20));
        state.disconnected("no route".to_owned(), at(25));

        let report = state.report(at(30));

        assert!(!report.is_connected);
        assert_eq!((report.since_secs, &*report.error), (10, "no route"));
        state.connected(at(40));
        let report = state.report(at(41));
        assert!(report.is_connected && report.error.is_empty());
        assert_eq!(report.since_secs, 1);
    }

    #[test]
    fn every_answer_to_a_claim_is_counted_once() {
        let state = LinkState::default();
        state.claimed(&engine::ClaimAnswer::Won);
        state.claimed(&engine::ClaimAnswer::Unreachable);
        state.claimed(&engine::ClaimAnswer::Lost {
            held_by: "web-2".to_owned(),
        });

        let report = state.report(at(1));

        let counts = (
            report.claims_won,
            report.claims_lost,
            report.claims_unanswered,
        );
        assert_eq!(counts, (1, 1, 1));
    }
}
