//! How much work strangers may cause: token buckets over trials, in total and per source.
//!
//! A packet without a tag, from a source not seen before, must be tried under every key it could
//! have been sealed with. Junk that is made to look right causes the same work, so the work is
//! bounded, for each source and in total. The total is cut in three: one part for sources that have
//! proved a key before, one for sources that were quiet until now, one for everybody. So neither
//! junk from anywhere starves those who were here before, nor junk from some addresses those who come
//! for the first time; only sources forged anew for every packet can delay these, and nobody who
//! sends our own tagged form needs any of it. A packet is tried under all its keys or under none, so that a half-empty budget cannot make the last key of a policy
//! unreachable while the first still works.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;

/// Allowances of trials, in units. One unit is about one HMAC-SHA256 over a usual packet (0.4 µs to
/// 1 µs); longer packets, other digests and keys without an HMAC cost several.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Budget {
    /// Units a second for everybody. The default takes about 20 % of a core.
    pub common_per_sec: u32,
    /// Units a second for sources that were quiet until now. The default takes about 10 %.
    pub newcomers_per_sec: u32,
    /// Units a second for sources that have proved a key before. The default takes about 10 %.
    pub known_per_sec: u32,
    /// Units a second for one source: an IPv4 address, or an IPv6 network of 64 bits.
    pub source_per_sec: u32,
}

/// Which allowance had run out.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Exhausted {
    /// This source sends more than its share.
    Source,
    /// All sources together do.
    Total,
}

/// A full scan may be asked for this many times at once by one source, whatever the rates are;
/// otherwise a large policy could never be scanned at all.
const SCANS_AT_ONCE: u64 = 8;
/// Sources whose allowance is remembered, about 0.5 MB. One that is pushed out starts afresh, which
/// costs no more than the total allows.
const SOURCES_MAX: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");
const NANOS_PER_SEC: u128 = 1_000_000_000;
/// No bucket holds more than this, so a longer gap earns nothing more.
const REFILL_MAX: Duration = Duration::from_secs(3600);

/// The allowances and what is left of them.
#[derive(Debug)]
pub(crate) struct Budgets {
    budget: Budget,
    burst: u64,
    common: Bucket,
    newcomers: Bucket,
    known: Bucket,
    sources: LruCache<IpAddr, Bucket>,
}

/// What was taken, so that it can be given back.
#[derive(Debug)]
#[must_use]
pub(crate) struct Taken {
    source: IpAddr,
    pool: Pool,
    units: u64,
}

/// The parts of the total.
#[derive(Clone, Copy, Debug)]
enum Pool {
    Common,
    Newcomers,
    Known,
}

/// A token bucket over steady time.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    units: u64,
    /// Up to when it has been refilled.
    filled: Duration,
}

// === impl Budget ===

impl Budget {
    /// No limit that any input can reach: for explaining packets, where nobody is starved.
    pub const UNLIMITED: Self = Self {
        common_per_sec: u32::MAX,
        newcomers_per_sec: u32::MAX,
        known_per_sec: u32::MAX,
        source_per_sec: u32::MAX,
    };
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            common_per_sec: 400_000,
            newcomers_per_sec: 200_000,
            known_per_sec: 200_000,
            source_per_sec: 40_000,
        }
    }
}

// === impl Budgets ===

impl Budgets {
    /// Starts with everything full. `scan_units` is the price of one scan over all keys.
    pub(crate) fn new(budget: Budget, scan_units: u64) -> Self {
        let mut budgets = Self {
            budget,
            burst: 0,
            common: Bucket::EMPTY,
            newcomers: Bucket::EMPTY,
            known: Bucket::EMPTY,
            sources: LruCache::new(SOURCES_MAX),
        };
        budgets.set_scan_units(scan_units);
        for pool in [Pool::Common, Pool::Newcomers, Pool::Known] {
            let capacity = budgets.capacity(budgets.rate(pool));
            budgets.bucket(pool).units = capacity;
        }
        budgets
    }

    /// Follows a change of policy; what has been spent stays spent.
    pub(crate) fn set_scan_units(&mut self, scan_units: u64) {
        self.burst = scan_units.saturating_mul(SCANS_AT_ONCE);
    }

    /// Takes `units` from the source's allowance and from a part of the total. What a source asks for
    /// is taken from its allowance also when the total has nothing left for it: who asks again and
    /// again is not quiet.
    pub(crate) fn take(
        &mut self,
        source: IpAddr,
        is_known: bool,
        units: u64,
        steady: Duration,
    ) -> Result<Taken, Exhausted> {
        let source = network_of(source);
        let was_quiet = self.take_from_source(source, units, steady)?;
        let own = match (is_known, was_quiet) {
            (true, _) => Pool::Known,
            (false, true) => Pool::Newcomers,
            (false, false) => Pool::Common,
        };
        for pool in [own, Pool::Common] {
            let rate = self.rate(pool);
            let capacity = self.capacity(rate);
            let bucket = self.bucket(pool);
            bucket.refill(rate, capacity, steady);
            if bucket.units >= units {
                bucket.units -= units;
                return Ok(Taken {
                    source,
                    pool,
                    units,
                });
            }
        }
        Err(Exhausted::Total)
    }

    /// Gives back what an authentic packet cost: its sender is no stranger.
    pub(crate) fn give_back(&mut self, taken: Taken) {
        let Taken {
            source,
            pool,
            units,
        } = taken;
        let bucket = self.bucket(pool);
        bucket.units = bucket.units.saturating_add(units);
        if let Some(of_source) = self.sources.peek_mut(&source) {
            of_source.units = of_source.units.saturating_add(units);
        }
    }

    /// Takes `units` if the source has so many left, and reports whether it had spent nothing lately.
    fn take_from_source(
        &mut self,
        source: IpAddr,
        units: u64,
        steady: Duration,
    ) -> Result<bool, Exhausted> {
        let rate = self.budget.source_per_sec;
        let capacity = self.capacity(rate);
        let of_source = self.sources.get_or_insert_mut(source, || Bucket {
            units: capacity,
            filled: steady,
        });
        of_source.refill(rate, capacity, steady);
        if of_source.units < units {
            return Err(Exhausted::Source);
        }
        let was_quiet = of_source.units >= capacity;
        of_source.units -= units;
        Ok(was_quiet)
    }

    fn rate(&self, pool: Pool) -> u32 {
        match pool {
            Pool::Common => self.budget.common_per_sec,
            Pool::Newcomers => self.budget.newcomers_per_sec,
            Pool::Known => self.budget.known_per_sec,
        }
    }

    fn bucket(&mut self, pool: Pool) -> &mut Bucket {
        match pool {
            Pool::Common => &mut self.common,
            Pool::Newcomers => &mut self.newcomers,
            Pool::Known => &mut self.known,
        }
    }

    /// A tenth of a second's worth, and always enough for some whole scans.
    fn capacity(&self, per_sec: u32) -> u64 {
        u64::from(per_sec / 10).max(self.burst)
    }
}

// === impl Bucket ===

impl Bucket {
    const EMPTY: Self = Self {
        units: 0,
        filled: Duration::ZERO,
    };

    fn refill(&mut self, per_sec: u32, capacity: u64, steady: Duration) {
        let elapsed = steady.saturating_sub(self.filled).min(REFILL_MAX);
        let earned = elapsed.as_nanos() * u128::from(per_sec) / NANOS_PER_SEC;
        let Ok(earned) = u64::try_from(earned) else {
            return;
        };
        self.units = self.units.saturating_add(earned).min(capacity);
        // What is left of a unit adds up: at low rates it takes longer than the gap between packets.
        let left_nanos = elapsed.as_nanos() * u128::from(per_sec) % NANOS_PER_SEC;
        let left_nanos = left_nanos / u128::from(per_sec.max(1));
        let left = Duration::from_nanos(u64::try_from(left_nanos).unwrap_or(0));
        self.filled = steady.max(self.filled).saturating_sub(left);
    }
}

/// One sender can use every address of its IPv6 network, so these share an allowance.
fn network_of(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !0 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Budget = Budget {
        common_per_sec: 700,
        newcomers_per_sec: 300,
        known_per_sec: 500,
        source_per_sec: 100,
    };
    const NO_SCANS: u64 = 0;

    fn address(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    /// Takes one unit at a time until refused.
    fn drain(
        budgets: &mut Budgets,
        source: IpAddr,
        known: bool,
        steady: Duration,
    ) -> (u64, Exhausted) {
        let mut taken = 0;
        loop {
            match budgets.take(source, known, 1, steady) {
                Ok(_) => taken += 1,
                Err(exhausted) => return (taken, exhausted),
            }
        }
    }

    #[test]
    fn one_source_gets_its_burst_and_then_its_rate() {
        let mut budgets = Budgets::new(BUDGET, NO_SCANS);

        assert_eq!(
            drain(&mut budgets, address(1), false, Duration::ZERO),
            (10, Exhausted::Source)
        );
        assert_eq!(
            drain(&mut budgets, address(1), false, Duration::from_millis(50)),
            (5, Exhausted::Source),
        );
    }

    #[test]
    fn what_one_source_spends_does_not_starve_another() {
        let mut budgets = Budgets::new(BUDGET, NO_SCANS);
        drain(&mut budgets, address(1), false, Duration::ZERO);

        assert!(budgets.take(address(2), false, 10, Duration::ZERO).is_ok());
    }

    #[test]
    fn many_sources_together_are_bounded_and_leave_the_share_of_known_sources_alone() {
        let mut budgets = Budgets::new(BUDGET, NO_SCANS);
        let taken: u64 = (0..200)
            .map(|n| drain(&mut budgets, address(n), false, Duration::ZERO).0)
            .sum();

        assert_eq!(taken, 100);
        let stranger = budgets.take(address(201), false, 1, Duration::ZERO);
        let known = budgets.take(address(202), true, 10, Duration::ZERO);

        assert_eq!(stranger.unwrap_err(), Exhausted::Total);
        assert!(known.is_ok());
    }

    #[test]
    fn sources_that_come_again_and_again_leave_the_share_of_newcomers_alone() {
        let mut budgets = Budgets::new(BUDGET, NO_SCANS);
        let mut spent = 0;
        for _ in 0..100 {
            // Ten sources, never quiet.
            spent += (0..10)
                .filter(|&n| budgets.take(address(n), false, 1, Duration::ZERO).is_ok())
                .count();
        }

        assert!(spent >= 70);
        assert!(
            budgets
                .take(address(100), false, 10, Duration::ZERO)
                .is_ok()
        );
    }

    #[test]
    fn sources_that_are_refused_again_and_again_are_not_quiet_for_it() {
        // Few enough that each of them would be full again if only what it got were counted.
        let budget = Budget {
            common_per_sec: 10,
            ..BUDGET
        };
        let mut budgets = Budgets::new(budget, NO_SCANS);
        for ms in 0..5_000 {
            let steady = Duration::from_millis(ms);
            let source = address(u8::try_from(ms % 8).unwrap());
            let _ = budgets.take(source, false, 1, steady);
        }

        let newcomer = budgets.take(address(100), false, 10, Duration::from_secs(5));

        assert!(newcomer.is_ok());
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_an_allowance() {
        let mut budgets = Budgets::new(BUDGET, NO_SCANS);
        drain(
            &mut budgets,
            "2001:db8::1".parse().unwrap(),
            false,
            Duration::ZERO,
        );

        let neighbour = budgets.take("2001:db8::2".parse().unwrap(), false, 1, Duration::ZERO);
        let other = budgets.take("2001:db8:0:1::1".parse().unwrap(), false, 1, Duration::ZERO);

        assert_eq!(neighbour.unwrap_err(), Exhausted::Source);
        assert!(other.is_ok());
    }

    #[test]
    fn a_large_policy_can_always_be_scanned() {
        let mut budgets = Budgets::new(BUDGET, 10_000);

        assert!(
            budgets
                .take(address(1), false, 10_000, Duration::ZERO)
                .is_ok()
        );
    }

    #[test]
    fn slow_rates_add_up_over_small_gaps() {
        let mut budgets = Budgets::new(BUDGET, NO_SCANS);
        drain(&mut budgets, address(1), false, Duration::ZERO);

        let taken = (1..=1_000)
            .filter(|&ms| {
                budgets
                    .take(address(1), false, 1, Duration::from_millis(ms))
                    .is_ok()
            })
            .count();

        assert_eq!(taken, 100);
    }

    #[test]
    fn a_steady_clock_that_steps_back_earns_nothing() {
        let mut budgets = Budgets::new(BUDGET, NO_SCANS);
        drain(&mut budgets, address(1), false, Duration::from_secs(9));

        let taken = budgets.take(address(1), false, 1, Duration::from_secs(1));

        assert_eq!(taken.unwrap_err(), Exhausted::Source);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let mut budgets = Budgets::new(BUDGET, NO_SCANS);
        let taken = budgets.take(address(1), false, 10, Duration::ZERO).unwrap();

        budgets.give_back(taken);

        assert!(budgets.take(address(1), false, 10, Duration::ZERO).is_ok());
    }
}
