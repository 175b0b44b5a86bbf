//! Who may have a connection: so that no number of strangers takes the controller away from its
//! fleet.
//!
//! Every connection begins as a stranger's, and becomes a member's when TLS has proven one. The
//! two are counted apart: a member never waits for room that a stranger has. A newcomer is never
//! refused for what others hold: where there is no room, the connection that has waited longest
//! without saying anything is closed, of the address that has most. Whoever speaks at once is
//! through in milliseconds; whoever stays silent makes room.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Strangers' connections from one address, or from one IPv6 /64.
const PER_ADDRESS: usize = 64;
/// Of all strangers, where the limit on open files allows it.
const STRANGERS: usize = 512;
/// Of one member: a host needs two, a script of an operator some more.
const PER_MEMBER: usize = 64;
/// Of all members at most.
const MEMBERS: usize = 65_536;
/// Files that are for other things than connections: the database, its readers, the log.
const OTHER_FILES: usize = 128;

/// How many connections there may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Caps {
    pub(super) per_address: usize,
    pub(super) strangers: usize,
    pub(super) per_member: usize,
    pub(super) members: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Admission {
    caps: Caps,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// Connections so far.
    entered: u64,
    /// By number, which is by age.
    strangers: BTreeMap<u64, Stranger>,
    /// By `Member::id`.
    members: HashMap<u64, usize>,
    of_members: usize,
}

#[derive(Debug)]
struct Stranger {
    site: IpAddr,
    /// It has said what HTTP/2 begins with.
    has_spoken: bool,
    closed: CancellationToken,
}

/// The room of one connection; given back when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    admission: Arc<Admission>,
    number: u64,
    member: Option<u64>,
    closed: CancellationToken,
}

/// What was exceeded, for the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Exceeded {
    /// Strangers' connections from this address.
    Address(IpAddr, usize),
    /// Strangers' connections of all; most are from this address.
    Strangers(IpAddr, usize),
}

/// There is no room for one more connection of members.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Full {
    #[error("one member has {0} connections already")]
    Member(usize),
    #[error("members have {0} connections already")]
    Members(usize),
}

// === impl Caps ===

impl Caps {
    /// As many as so many open files allow.
    pub(super) fn of_files(files: usize) -> Self {
        let connections = files.saturating_sub(OTHER_FILES).max(16);
        let strangers = (connections / 4).min(STRANGERS);
        Self {
            per_address: PER_ADDRESS.min(strangers),
            strangers,
            per_member: PER_MEMBER,
            members: (connections - strangers).min(MEMBERS),
        }
    }
}

// === impl Admission ===

impl Admission {
    pub(super) fn new(caps: Caps) -> Arc<Self> {
        Arc::new(Self {
            caps,
            taken: Mutex::default(),
        })
    }

    /// Room for a new connection from `address`, and what was exceeded by it.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> (Place, Option<Exceeded>) {
        let site = site(address);
        let mut taken = self.taken.lock();
        let exceeded = taken.make_room(self.caps, site);
        taken.entered += 1;
        let number = taken.entered;
        let closed = CancellationToken::new();
        let stranger = Stranger {
            site,
            has_spoken: false,
            closed: closed.clone(),
        };
        taken.strangers.insert(number, stranger);
        drop(taken);
        let place = Place {
            admission: Arc::clone(self),
            number,
            member: None,
            closed,
        };
        (place, exceeded)
    }
}

// === impl Taken ===

impl Taken {
    /// Closes what must go before one more from `site` may come.
    fn make_room(&mut self, caps: Caps, site: IpAddr) -> Option<Exceeded> {
        let own = self.of_site(site);
        if own >= caps.per_address {
            self.close_one_of(site);
            return Some(Exceeded::Address(site, caps.per_address));
        }
        if self.strangers.len() >= caps.strangers {
            let most = self.largest_site()?;
            self.close_one_of(most);
            return Some(Exceeded::Strangers(most, caps.strangers));
        }
        None
    }

    fn of_site(&self, site: IpAddr) -> usize {
        let strangers = self.strangers.values();
        strangers.filter(|stranger| stranger.site == site).count()
    }

    /// The site with most connections.
    fn largest_site(&self) -> Option<IpAddr> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for stranger in self.strangers.values() {
            *counts.entry(stranger.site).or_default() += 1;
        }
        let largest = counts.into_iter().max_by_key(|(_, count)| *count);
        largest.map(|(site, _)| site)
    }

    /// Closes the oldest that is silent, or else the oldest.
    fn close_one_of(&mut self, site: IpAddr) {
        let of_site = || self.strangers.iter().filter(|(_, it)| it.site == site);
        let silent = of_site().find(|(_, stranger)| !stranger.has_spoken);
        let oldest = silent.or_else(|| of_site().next());
        let number = oldest.map(|(number, _)| *number);
        if let Some(stranger) = number.and_then(|number| self.strangers.remove(&number)) {
            stranger.closed.cancel();
        }
    }
}

// === impl Place ===

impl Place {
    /// Fires when the connection is to make room.
    pub(super) fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }

    /// The connection has said what HTTP/2 begins with.
    pub(super) fn has_spoken(&self) {
        let mut taken = self.admission.taken.lock();
        if let Some(stranger) = taken.strangers.get_mut(&self.number) {
            stranger.has_spoken = true;
        }
    }

    /// The connection is this member's (`Member::id`), who may have more.
    pub(super) fn becomes_members(&mut self, member: u64) -> Result<(), Full> {
        let caps = self.admission.caps;
        let mut taken = self.admission.taken.lock();
        let own = taken.members.get(&member).copied().unwrap_or(0);
        if own >= caps.per_member {
            return Err(Full::Member(own));
        }
        if taken.of_members >= caps.members {
            return Err(Full::Members(taken.of_members));
        }
        taken.strangers.remove(&self.number);
        taken.members.insert(member, own + 1);
        taken.of_members += 1;
        self.member = Some(member);
        Ok(())
    }

    pub(super) fn is_members(&self) -> bool {
        self.member.is_some()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.admission.taken.lock();
        let Some(member) = self.member else {
            taken.strangers.remove(&self.number);
            return;
        };
        taken.of_members = taken.of_members.saturating_sub(1);
        if let Some(own) = taken.members.get_mut(&member) {
            *own -= 1;
            if *own == 0 {
                taken.members.remove(&member);
            }
        }
    }
}

/// Whose connections are counted together.
fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests;
