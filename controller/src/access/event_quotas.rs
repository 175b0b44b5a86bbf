//! How fast each host may fill the log: bytes a second, with a burst. Whoever is faster waits, and loses
//! nothing: its journal keeps what was not taken.
//!
//! Pure but for its lock: time is an argument.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::settings::EventQuota;

/// How long a push is held back at most; one that had to wait for longer is to come again. Below the
/// time that agents wait for an answer.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// That a host is held back is an event once in this time.
const SAID_EVERY_MS: u64 = 600_000;
/// What a record costs beside its body, bytes: its row and what it is found by.
const RECORD_BYTES: u64 = 200;

/// What becomes of a push.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Charged {
    /// It is stored now.
    Now,
    /// It is stored after so long; whether that is to be said.
    After(Duration, IsNews),
    /// It is to come again.
    Again(IsNews),
}

/// Whether something is to be said that was not said lately.
pub(crate) type IsNews = bool;

/// What is pushed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Push {
    pub(crate) records: usize,
    pub(crate) body_bytes: usize,
    /// Grants or other things that matter are among it: those go before others' noise.
    pub(crate) matters: bool,
}

/// How far each host is, by `Member::id`.
#[derive(Debug)]
pub(crate) struct EventQuotas {
    quota: Option<EventQuota>,
    hosts: Mutex<HashMap<u64, Spent>>,
}

/// What one host has pushed.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    /// When what it has pushed would have come by its rate alone, microseconds since the Unix epoch.
    paid_us: u64,
    said_ms: Option<u64>,
}

// === impl EventQuotas ===

impl EventQuotas {
    /// `None`: no bound.
    pub(crate) fn new(quota: Option<EventQuota>) -> Self {
        Self {
            quota,
            hosts: Mutex::default(),
        }
    }

    /// Counts a push of a host, unless it has to come again.
    pub(crate) fn charge(&self, host: u64, push: Push, now_ms: u64) -> Charged {
        let Some(quota) = self.quota else {
            return Charged::Now;
        };
        let Push {
            records,
            body_bytes,
            matters,
        } = push;
        let bytes = body_bytes as u64 + records as u64 * RECORD_BYTES;
        let now_us = now_ms.saturating_mul(1_000);
        let burst_us = time_us(quota, quota.burst_bytes);
        let mut hosts = self.hosts.lock();
        let spent = hosts.entry(host).or_default();
        let paid_us = spent.paid_us.max(now_us.saturating_sub(burst_us));
        // What matters has as much room again before it waits.
        let allowed_us = now_us.saturating_add(if matters { burst_us } else { 0 });
        let wait = Duration::from_micros(paid_us.saturating_sub(allowed_us));
        let is_news = !wait.is_zero()
            && spent
                .said_ms
                .is_none_or(|said| now_ms.abs_diff(said) >= SAID_EVERY_MS);
        if is_news {
            spent.said_ms = Some(now_ms);
        }
        if wait > WAIT_MAX {
            return Charged::Again(is_news);
        }
        spent.paid_us = paid_us.saturating_add(time_us(quota, bytes));
        if wait.is_zero() {
            Charged::Now
        } else {
            Charged::After(wait, is_news)
        }
    }

    /// Whether there is a bound.
    pub(crate) fn is_bounded(&self) -> bool {
        self.quota.is_some()
    }

    /// Counts what a host has pushed to another controller: it is stored, so nobody waits for it, but what comes here
    /// next does.
    pub(crate) fn charge_elsewhere(
        &self,
        host: u64,
        (records, body_bytes): (u64, u64),
        now_ms: u64,
    ) {
        let Some(quota) = self.quota else {
            return;
        };
        let now_us = now_ms.saturating_mul(1_000);
        let burst_us = time_us(quota, quota.burst_bytes);
        let bytes = body_bytes.saturating_add(records.saturating_mul(RECORD_BYTES));
        let mut hosts = self.hosts.lock();
        let spent = hosts.entry(host).or_default();
        let paid_us = spent.paid_us.max(now_us.saturating_sub(burst_us));
        let paid_us = paid_us.saturating_add(time_us(quota, bytes));
        // Whatever others have let pass, it may push here again in a while.
        spent.paid_us = paid_us.min(now_us.saturating_add(burst_us));
    }

    /// Forgets hosts that push less than they may.
    pub(crate) fn prune(&self, now_ms: u64) {
        let now_us = now_ms.saturating_mul(1_000);
        let is_loud = |spent: &Spent| {
            let was_said = |said: u64| now_ms.abs_diff(said) < SAID_EVERY_MS;
            spent.paid_us > now_us || spent.said_ms.is_some_and(was_said)
        };
        self.hosts.lock().retain(|_, spent| is_loud(spent));
    }
}

/// How long so many bytes take by the rate alone, microseconds.
fn time_us(quota: EventQuota, bytes: u64) -> u64 {
    bytes.saturating_mul(1_000_000) / quota.bytes_per_second.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: EventQuota = EventQuota {
        bytes_per_second: 1 << 20,
        burst_bytes: 8 << 20,
    };
    const MIB: u64 = 1 << 20;

    fn push(mib: usize, matters: bool) -> Push {
        Push {
            records: 0,
            body_bytes: mib << 20,
            matters,
        }
    }

    fn wait_secs(charged: Charged) -> u64 {
        match charged {
            Charged::Now => 0,
            Charged::After(wait, _) => wait.as_secs(),
            Charged::Again(_) => panic!("to come again"),
        }
    }

    #[test]
    fn a_host_that_pushes_28_mb_at_once_is_held_to_its_rate_and_nothing_is_lost() {
        let quotas = EventQuotas::new(Some(QUOTA));
        let (mut now_ms, mut pushed) = (1_000_000_000, 0);
        let began_ms = now_ms;

        while pushed < 28 {
            match quotas.charge(1, push(1, false), now_ms) {
                Charged::Now => {}
                Charged::After(wait, _) => now_ms += u64::try_from(wait.as_millis()).unwrap() + 1,
                Charged::Again(_) => panic!("one push after the other never comes again"),
            }
            pushed += 1;
        }

        let secs = (now_ms - began_ms) / 1_000;
        assert!((18..=20).contains(&secs), "{secs}");
        assert_eq!(quotas.charge(2, push(1, false), now_ms), Charged::Now);
    }

    #[test]
    fn grants_go_before_noise_and_it_is_said_once_that_a_host_is_held_back() {
        let quotas = EventQuotas::new(Some(QUOTA));
        let now_ms = 1_000_000_000;
        while quotas.charge(1, push(1, false), now_ms) == Charged::Now {}

        assert_eq!(quotas.charge(1, push(1, true), now_ms), Charged::Now);
        let noise = quotas.charge(1, push(1, false), now_ms);
        assert!(matches!(noise, Charged::After(_, false)), "said already");
        while wait_secs(quotas.charge(1, push(1, true), now_ms)) == 0 {}
        let later = now_ms + SAID_EVERY_MS;
        assert_eq!(quotas.charge(1, push(1, false), later), Charged::Now);
        while quotas.charge(1, push(1, false), later) == Charged::Now {}
        quotas.prune(later);
        let again = later + SAID_EVERY_MS;
        quotas.prune(again);
        assert!(quotas.hosts.lock().is_empty());
    }

    #[test]
    fn what_a_host_has_pushed_to_another_controller_is_taken_off_what_it_may_push_here() {
        let quotas = EventQuotas::new(Some(QUOTA));
        let now_ms = 1_000_000_000;

        quotas.charge_elsewhere(1, (0, 8 * MIB), now_ms);
        assert_eq!(quotas.charge(1, push(1, false), now_ms), Charged::Now);
        let held_back = quotas.charge(1, push(1, false), now_ms);
        assert_eq!(wait_secs(held_back), 1);
        assert_eq!(quotas.charge(2, push(1, false), now_ms), Charged::Now);

        // However much that was, it ends.
        quotas.charge_elsewhere(1, (1_000_000, 1_000 * MIB), now_ms);
        let later = now_ms + 16_000;
        assert_eq!(quotas.charge(1, push(1, false), later), Charged::Now);
    }

    #[test]
    fn many_pushes_at_once_are_not_all_held_in_memory() {
        let quotas = EventQuotas::new(Some(QUOTA));
        let now_ms = 1_000_000_000;
        let taken = (0..100).filter(|_| {
            let charged = quotas.charge(1, push(1, false), now_ms);
            !matches!(charged, Charged::Again(_))
        });
        let taken = taken.count() as u64;
        let most = QUOTA.burst_bytes / MIB + WAIT_MAX.as_secs() + 2;
        assert!(taken <= most, "{taken} of {most}");
        let free = EventQuotas::new(None);
        assert_eq!(free.charge(1, push(1_000, false), now_ms), Charged::Now);
    }
}
