//! How much one peer may ask: so that one of them cannot take the controller away from the rest.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;

use std::time::Instant;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use super::questions::Questions;
use crate::error::Error;

/// A stranger's requests in a second: joining, renewing, health. A whole fleet may stand behind
/// one address, and each of these costs about a millisecond at most.
const STRANGER_PER_SECOND: NonZeroU32 = NonZeroU32::new(100).unwrap();
/// And at once.
const STRANGER_BURST: NonZeroU32 = NonZeroU32::new(2_000).unwrap();
/// A member's requests in a second: room for a gateway that claims every packet of a large site.
const MEMBER_PER_SECOND: NonZeroU32 = NonZeroU32::new(10_000).unwrap();
/// And at once.
const MEMBER_BURST: NonZeroU32 = NonZeroU32::new(20_000).unwrap();

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Peer {
    /// By `Member::id`.
    Member(u64),
    /// By address; IPv6 by /64, which is one site.
    Stranger(Option<IpAddr>),
}

/// The counters of all peers.
#[derive(Debug)]
pub(crate) struct RateLimits {
    pub(crate) questions: Questions,
    pub(crate) followers: Questions,
    members: Limiter<u64>,
    strangers: Limiter<Option<IpAddr>>,
}

type Limiter<K> = RateLimiter<K, DashMapStateStore<K>, InjectedClock, NoOpMiddleware<Instant>>;

/// The clock that the limits were given.
#[derive(Clone, Copy, Debug)]
struct InjectedClock(fn() -> Instant);

impl Clock for InjectedClock {
    type Instant = Instant;

    fn now(&self) -> Instant {
        (self.0)()
    }
}

// === impl Peer ===

impl Peer {
    pub(crate) fn stranger(address: Option<IpAddr>) -> Self {
        Self::Stranger(address.map(|address| match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(address) => {
                let site = u128::from(address) & !u128::from(u64::MAX);
                Ipv6Addr::from(site).into()
            }
        }))
    }
}

// === impl RateLimits ===

impl RateLimits {
    /// Counts by this clock, which is asked at every request.
    pub(crate) fn new(clock: fn() -> Instant) -> Self {
        let member = Quota::per_second(MEMBER_PER_SECOND).allow_burst(MEMBER_BURST);
        let stranger = Quota::per_second(STRANGER_PER_SECOND).allow_burst(STRANGER_BURST);
        Self {
            questions: Questions::default(),
            followers: Questions::following(),
            members: RateLimiter::dashmap_with_clock(member, InjectedClock(clock)),
            strangers: RateLimiter::dashmap_with_clock(stranger, InjectedClock(clock)),
        }
    }

    /// Counts one request.
    pub(crate) fn admit(&self, peer: Peer) -> Result<(), Error> {
        let admitted = match peer {
            Peer::Member(id) => self.members.check_key(&id).is_ok(),
            Peer::Stranger(address) => self.strangers.check_key(&address).is_ok(),
        };
        if admitted {
            Ok(())
        } else {
            Err(Error::TooMany)
        }
    }

    /// Forgets peers that have not asked for a while.
    pub(crate) fn prune(&self) {
        self.members.retain_recent();
        self.strangers.retain_recent();
        self.questions.prune();
        self.followers.prune();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;
    use crate::clock;

    thread_local! {
        static NOW: Cell<Instant> = Cell::new(clock::instant());
    }

    /// The clock of these tests, one for each.
    fn now() -> Instant {
        NOW.get()
    }

    #[test]
    fn a_peer_that_asked_too_much_may_ask_again_when_it_has_waited() {
        let limits = RateLimits::new(now);
        let loud = Peer::stranger("192.0.2.1".parse().ok());
        while limits.admit(loud).is_ok() {}

        NOW.set(NOW.get() + Duration::from_millis(9));
        assert!(limits.admit(loud).is_err());
        NOW.set(NOW.get() + Duration::from_millis(1));
        assert!(limits.admit(loud).is_ok(), "a hundred in a second");
        assert!(limits.admit(loud).is_err());
    }

    #[test]
    fn one_peer_that_asks_too_much_does_not_stop_another() {
        let limits = RateLimits::new(now);
        let loud = Peer::stranger("192.0.2.1".parse().ok());
        let quiet = Peer::stranger("192.0.2.2".parse().ok());

        let refused = (0..10 * STRANGER_BURST.get()).any(|_| limits.admit(loud).is_err());

        assert!(refused);
        assert!(limits.admit(quiet).is_ok());
    }

    #[test]
    fn addresses_of_one_ipv6_site_are_one_peer() {
        let one = Peer::stranger("2001:db8:0:1::1".parse().ok());
        let same = Peer::stranger("2001:db8:0:1:ffff::2".parse().ok());
        let other = Peer::stranger("2001:db8:0:2::1".parse().ok());

        assert_eq!(one, same);
        assert_ne!(one, other);
    }
}
