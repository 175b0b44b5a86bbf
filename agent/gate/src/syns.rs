//! The last SYN of each address, for stanzas with REQUIRE_OS: bounded room that is only there while
//! some stanza asks.
//!
//! Anybody can send SYNs, from any address. So there are two rooms. Where an authentic message has
//! come from is *proven*: its SYNs have a room of their own, into which strangers bring nothing. All
//! others share one that is cut into sets by a hash that nobody outside can compute; in a full set
//! the oldest goes. IPv6 addresses are in the set of their network of 48 bits, so that a stranger
//! crowds out his own neighbours only, unless he forges his address. A flood of forged addresses can
//! make a member's first try in a while fail; that makes her address proven, and her next one
//! succeeds under the same flood.

mod read;

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use policy::{Networks, NotTaken, OsMatch, OsRule, OsSignatures, Policy, Syn};

use crate::datagram::LinkType;

pub(crate) use read::Seen;
pub use read::syn_of;

/// How long a SYN speaks for its address. As old as a message may be unless it is configured.
pub const SYN_WITHIN: Duration = Duration::from_secs(120);
/// Sets of the strangers' room, and places in each: 16,384 addresses.
const SETS: usize = 2048;
const WAYS: usize = 8;
/// Addresses that are proven; the one that was so longest ago goes.
const PROVEN_MAX: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// What has been seen, and what it is compared with.
#[derive(Debug)]
pub(crate) struct Syns {
    signatures: Arc<OsSignatures>,
    /// SOURCE of each stanza that asks; nobody else's SYNs are kept.
    wanted: Box<[Networks]>,
    rooms: Option<Box<Rooms>>,
}

/// Only there while a stanza asks.
#[derive(Debug)]
struct Rooms {
    hasher: RandomState,
    /// [`WAYS`] for each set.
    strangers: Box<[Option<Kept>]>,
    proven: LruCache<IpAddr, Option<(Duration, Syn)>>,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    address: IpAddr,
    at: Duration,
    syn: Syn,
}

// === impl Syns ===

impl Syns {
    pub(crate) fn new(policy: &Policy) -> Self {
        let mut syns = Self {
            signatures: Arc::default(),
            wanted: Box::default(),
            rooms: None,
        };
        syns.follow(policy);
        syns
    }

    /// Keeps what this policy asks for. What was seen stays, as long as anybody asks.
    pub(crate) fn follow(&mut self, policy: &Policy) {
        let asking = policy.stanzas.iter().filter(|stanza| stanza.os.is_some());
        self.wanted = asking.map(|stanza| stanza.source.clone()).collect();
        if self.wanted.is_empty() {
            self.rooms = None;
        } else {
            self.rooms.get_or_insert_with(|| Box::new(Rooms::new()));
        }
    }

    /// Compares with these from now on.
    pub(crate) fn set_signatures(&mut self, signatures: Arc<OsSignatures>) {
        self.signatures = signatures;
    }

    /// Whether any stanza asks.
    pub(crate) fn are_wanted(&self) -> bool {
        self.rooms.is_some()
    }

    /// Whether a stanza asks about this address.
    fn concern(&self, address: IpAddr) -> bool {
        self.wanted.iter().any(|source| source.contains(address))
    }

    /// Keeps a SYN; reports whether any stanza asks about its sender.
    pub(crate) fn keep(&mut self, seen: &Seen, steady: Duration) -> bool {
        if !self.concern(seen.source) {
            return false;
        }
        if let Some(rooms) = &mut self.rooms {
            rooms.keep(Kept {
                address: seen.source,
                at: steady,
                syn: seen.syn,
            });
        }
        true
    }

    /// An authentic message that nobody saw before came from here.
    pub(crate) fn prove(&mut self, address: IpAddr) {
        if !self.wanted.is_empty()
            && self.concern(address)
            && let Some(rooms) = &mut self.rooms
        {
            rooms.prove(address);
        }
    }

    /// Whether the last SYN of an address shows what a stanza requires.
    ///
    /// # Errors
    ///
    /// [`NotTaken`] says what it shows instead.
    pub(crate) fn judge(
        &self,
        rule: &OsRule,
        address: IpAddr,
        steady: Duration,
    ) -> Result<(), NotTaken> {
        let last = self.rooms.as_ref().and_then(|rooms| rooms.last(address));
        let recent = last.filter(|(at, _)| steady.saturating_sub(*at) <= SYN_WITHIN);
        let Some((_, syn)) = recent else {
            let within_secs = SYN_WITHIN.as_secs();
            return Err(NotTaken::NoSyn {
                address,
                within_secs,
            });
        };
        let found = self.signatures.identify(&syn);
        if found.is_some_and(|found| rule.accepts(found.label)) {
            return Ok(());
        }
        let shown = shown(found, &syn);
        Err(NotTaken::OtherOs { address, shown })
    }
}

/// What a SYN shows, for people: `Linux 6.x (4:64+0:...)`.
fn shown(found: Option<OsMatch<'_>>, syn: &Syn) -> String {
    match found {
        Some(OsMatch { label, .. }) => format!("{label} ({syn})"),
        None => format!("what no signature of this host names ({syn})"),
    }
}

// === impl Rooms ===

impl Rooms {
    fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            strangers: vec![None; SETS * WAYS].into(),
            proven: LruCache::new(PROVEN_MAX),
        }
    }

    fn keep(&mut self, kept: Kept) {
        if let Some(last) = self.proven.peek_mut(&kept.address) {
            *last = Some((kept.at, kept.syn));
            return;
        }
        let set = self.set(kept.address);
        let ways = self.strangers.get_mut(set).unwrap_or_default();
        let own = |way: &Option<Kept>| way.is_some_and(|way| way.address == kept.address);
        let place = ways.iter().position(own).or_else(|| {
            let ages = ways.iter().map(|way| way.map(|way| way.at));
            // A free one is older than any.
            let oldest = ages.enumerate().min_by_key(|(_, at)| *at);
            oldest.map(|(place, _)| place)
        });
        if let Some(way) = place.and_then(|place| ways.get_mut(place)) {
            *way = Some(kept);
        }
    }

    fn prove(&mut self, address: IpAddr) {
        if self.proven.get(&address).is_some() {
            return;
        }
        let set = self.set(address);
        let ways = self.strangers.get_mut(set).unwrap_or_default();
        let own = ways
            .iter_mut()
            .find(|way| way.is_some_and(|way| way.address == address));
        let last = own.and_then(Option::take).map(|kept| (kept.at, kept.syn));
        self.proven.put(address, last);
    }

    fn last(&self, address: IpAddr) -> Option<(Duration, Syn)> {
        if let Some(last) = self.proven.peek(&address) {
            return *last;
        }
        let mut ways = self.strangers.get(self.set(address))?.iter().flatten();
        let own = ways.find(|way| way.address == address)?;
        Some((own.at, own.syn))
    }

    /// The places of an address.
    fn set(&self, address: IpAddr) -> std::ops::Range<usize> {
        let hash = match address {
            IpAddr::V4(v4) => self.hasher.hash_one(v4.octets()),
            IpAddr::V6(v6) => self.hasher.hash_one(site(v6)),
        };
        let set = usize::try_from(hash % SETS as u64).unwrap_or_default();
        set * WAYS..(set + 1) * WAYS
    }
}

/// The network of 48 bits that an IPv6 address is in: what one site has.
fn site(address: Ipv6Addr) -> [u16; 3] {
    let [first, second, third, ..] = address.segments();
    [first, second, third]
}

/// Reads the SYN in a frame, and where it was sent from and to.
pub(crate) fn read(frame: &[u8], link: LinkType) -> Option<Seen> {
    read::seen(frame, link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rooms_are_small_enough_for_a_host_that_has_little() {
        let bytes = size_of::<Option<Kept>>() * SETS * WAYS;
        assert!(bytes < 2 << 20, "{bytes}");
    }
}
