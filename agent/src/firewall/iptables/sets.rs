//! Holes as elements of kernel sets, over netlink.
//!
//! Four sets per chain: what is open and what was revoked, for IPv4 and IPv6. A batch is one `send`
//! with at most a few messages, each with many elements (2.6 µs for one, 0.4 µs per element of a
//! hundred, against 931 µs for a spawn of ipset).

use engine::{Capabilities, Connection, Hole, Rule};
use spa::{Protocol, Service};

use super::super::family::Family;
use super::super::{FirewallError, Holes};
use super::ipset::{self, Change};
use crate::connections::Cutter;
use crate::netlink::{Netlink, NetlinkError, Requests};

/// Elements in one batch: an attribute's length has 16 bits and an IPv6 element takes 64 bytes.
const ELEMENTS_PER_MESSAGE: usize = 500;
/// How long a revoked rule stays barred for the sessions that were established through it, where
/// they cannot be ended one by one, and for UDP, where what this host says begins them anew: as long
/// as the kernel remembers an idle TCP session (nf_conntrack_tcp_timeout_established).
const REVOKED_SECS: u32 = 432_000;
/// The same where they can: until those are known that had just begun.
const HELD_UP_SECS: u32 = 5;

/// The names of the kernel sets that belong to a chain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct SetNames {
    open4: String,
    open6: String,
    revoked4: String,
    revoked6: String,
}

/// The sets of a chain, as the kernel has them.
#[derive(Debug)]
pub(super) struct Sets {
    names: SetNames,
    netlink: Netlink,
    requests: Requests,
}

/// Opens holes as timed elements of kernel sets.
#[derive(Debug)]
pub(super) struct SetHoles {
    sets: Sets,
    /// What the chains that match the sets are there for.
    capabilities: Capabilities,
    /// Whether a rule may be in a revoked set, so that opening must take it out.
    any_revoked: bool,
    /// `None` where connections cannot be ended one by one.
    cutter: Option<Cutter>,
}

// === impl SetNames ===

impl SetNames {
    /// The sets of `chain`, which has at most 24 characters (a set's name has at most 31).
    pub(super) fn of_chain(chain: &str) -> Self {
        Self {
            open4: format!("{chain}_4"),
            open6: format!("{chain}_6"),
            revoked4: format!("{chain}_R4"),
            revoked6: format!("{chain}_R6"),
        }
    }

    pub(super) fn open(&self, family: Family) -> &str {
        match family {
            Family::V4 => &self.open4,
            Family::V6 => &self.open6,
        }
    }

    pub(super) fn revoked(&self, family: Family) -> &str {
        match family {
            Family::V4 => &self.revoked4,
            Family::V6 => &self.revoked6,
        }
    }

    /// Every set and its family.
    fn all(&self) -> [(Family, &str); 4] {
        [
            (Family::V4, &self.open4),
            (Family::V4, &self.revoked4),
            (Family::V6, &self.open6),
            (Family::V6, &self.revoked6),
        ]
    }
}

// === impl Sets ===

impl Sets {
    /// Connects to the kernel of this thread's network namespace. Makes no set.
    ///
    /// # Errors
    ///
    /// When there is no netlink socket to be had.
    pub(super) fn connect(names: SetNames) -> Result<Self, FirewallError> {
        let netlink = Netlink::open().map_err(|cause| FirewallError::Netlink {
            doing: "open a socket",
            reason: cause.to_string(),
        })?;
        Ok(Self {
            names,
            netlink,
            requests: Requests::default(),
        })
    }

    pub(super) fn names(&self) -> &SetNames {
        &self.names
    }

    /// Makes the sets that are not there yet; those that are keep their elements.
    ///
    /// # Errors
    ///
    /// [`FirewallError::Set`] when the kernel has no ipset, or a set of that name is of another
    /// kind.
    pub(super) fn create(&mut self) -> Result<(), FirewallError> {
        for (family, name) in self.names.all() {
            self.requests.clear();
            ipset::create(&mut self.requests, name, family);
            self.netlink
                .execute(&mut self.requests)
                .map_err(|cause| refused("create the set", name, &cause))?;
        }
        Ok(())
    }

    /// Removes the sets with all their elements. A set that is not there is no error.
    ///
    /// # Errors
    ///
    /// When a rule still refers to a set.
    pub(super) fn destroy(&mut self) -> Result<(), FirewallError> {
        let own = self.names.all().map(|(_, name)| name.to_owned());
        own.iter().try_for_each(|name| self.destroy_one(name))
    }

    /// Removes the sets that an earlier version had for these chains. What is not there is no error.
    ///
    /// # Errors
    ///
    /// When a rule still refers to a set.
    pub(super) fn destroy_former(&mut self, chains: &[&str]) -> Result<(), FirewallError> {
        let own = self.names.all().map(|(_, name)| name.to_owned());
        let names = chains
            .iter()
            .flat_map(|chain| ["4", "6", "R4", "R6"].map(|set| format!("{chain}_{set}")));
        for name in names.filter(|name| !own.contains(name)) {
            self.destroy_one(&name)?;
        }
        Ok(())
    }

    fn destroy_one(&mut self, name: &str) -> Result<(), FirewallError> {
        self.requests.clear();
        ipset::destroy(&mut self.requests, name);
        match self.netlink.execute(&mut self.requests) {
            Err(NetlinkError::Kernel(errno)) if errno.code == ipset::ENOENT => Ok(()),
            other => other.map_err(|cause| refused("destroy the set", name, &cause)),
        }
    }

    /// Whether all sets are there.
    ///
    /// # Errors
    ///
    /// When the kernel cannot be asked.
    pub(super) fn complete(&mut self) -> Result<bool, FirewallError> {
        for (_, name) in self.names.all() {
            match elements(&mut self.netlink, &mut self.requests, name, &mut |_| ()) {
                Err(NetlinkError::Kernel(errno)) if errno.code == ipset::ENOENT => {
                    return Ok(false);
                }
                other => other.map_err(|cause| refused("list the set", name, &cause))?,
            }
        }
        Ok(true)
    }

    /// Whether anything is revoked; a set that cannot be read may hold something.
    fn has_revoked(&mut self) -> bool {
        let mut any = false;
        Family::ALL.into_iter().any(|family| {
            let name = self.names.revoked(family);
            let listed = elements(&mut self.netlink, &mut self.requests, name, &mut |_| {
                any = true
            });
            match listed {
                Err(NetlinkError::Kernel(errno)) if errno.code == ipset::ENOENT => false,
                Err(_) => true,
                Ok(()) => any,
            }
        })
    }

    /// An empty batch, and the names to use in it.
    fn begin(&mut self) -> (&SetNames, &mut Requests) {
        self.requests.clear();
        (&self.names, &mut self.requests)
    }

    fn execute(&mut self, doing: &'static str) -> Result<(), FirewallError> {
        if self.requests.is_empty() {
            return Ok(());
        }
        self.netlink
            .execute(&mut self.requests)
            .map_err(|cause| refused(doing, &self.names.open4, &cause))
    }
}

// === impl SetHoles ===

impl SetHoles {
    /// `families` are those whose chain matches its sets.
    pub(super) fn new(mut sets: Sets, families: &[Family]) -> Self {
        let any_revoked = sets.has_revoked();
        let cutter = Cutter::open();
        if cutter.is_none() {
            tracing::warn!(
                "this kernel does not show its connections: what is revoked is barred by address \
                 and port, until it is opened again"
            );
        }
        Self {
            sets,
            capabilities: Capabilities {
                ipv6: families.contains(&Family::V6),
                connections: cutter.is_some(),
                forward: false,
                networks: false,
                ports_max: 1,
            },
            any_revoked,
            cutter,
        }
    }

    /// For how long sessions through a rule that was taken back are held up.
    fn barred_secs(&self, rule: &Rule) -> u32 {
        let is_tcp = match rule.asked() {
            Some(Service::Ports(range)) => range.protocol() == Protocol::Tcp,
            Some(Service::Echo) | None => false,
        };
        match (is_tcp, &self.cutter) {
            (true, Some(_)) => HELD_UP_SECS,
            (true, None) | (false, _) => REVOKED_SECS,
        }
    }
}

impl Holes for SetHoles {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn open(&mut self, holes: &[Hole]) -> Result<(), FirewallError> {
        for hole in holes {
            self.can(&hole.rule)?;
        }
        for batch in holes.chunks(ELEMENTS_PER_MESSAGE) {
            let (names, requests) = self.sets.begin();
            for family in Family::ALL {
                let of_this = || of_family(batch, family, |hole| hole.rule);
                let open = of_this().map(|hole| (hole.rule, Some(hole.timeout.secs())));
                ipset::change(requests, Change::Add, names.open(family), open);
                if self.any_revoked {
                    let lifted = of_this().map(|hole| (hole.rule, None));
                    ipset::change(requests, Change::Delete, names.revoked(family), lifted);
                }
            }
            self.sets.execute("add to the set")?;
        }
        Ok(())
    }

    fn close(&mut self, rules: &[Rule], connections: &[Connection]) -> Result<(), FirewallError> {
        self.any_revoked |= !rules.is_empty();
        for batch in rules.chunks(ELEMENTS_PER_MESSAGE) {
            let held_up: Vec<_> = batch
                .iter()
                .map(|rule| (*rule, self.barred_secs(rule)))
                .collect();
            let (names, requests) = self.sets.begin();
            for family in Family::ALL {
                // Barred first, then taken out: at no moment does a session slip through.
                let barred = of_family(&held_up, family, |(rule, _)| *rule)
                    .map(|(rule, secs)| (*rule, Some(*secs)));
                ipset::change(requests, Change::Add, names.revoked(family), barred);
                let closed = of_family(batch, family, |rule| *rule).map(|rule| (*rule, None));
                ipset::change(requests, Change::Delete, names.open(family), closed);
            }
            self.sets.execute("revoke in the set")?;
        }
        let Some(cutter) = &mut self.cutter else {
            return Ok(());
        };
        cutter
            .cut(connections)
            .map_err(|cause| FirewallError::Netlink {
                doing: "end a connection",
                reason: program::one_line(&cause).to_string(),
            })
    }

    fn list(&mut self) -> Result<Vec<Hole>, FirewallError> {
        let Sets {
            names,
            netlink,
            requests,
        } = &mut self.sets;
        let mut holes = Vec::new();
        for family in Family::ALL {
            let name = names.open(family);
            elements(netlink, requests, name, &mut |hole| holes.push(hole))
                .map_err(|cause| refused("list the set", name, &cause))?;
        }
        Ok(holes)
    }

    fn flush(&mut self) -> Result<(), FirewallError> {
        let (names, requests) = self.sets.begin();
        for family in Family::ALL {
            ipset::flush(requests, names.open(family));
        }
        self.sets.execute("flush the set")
    }
}

fn of_family<T>(
    items: &[T],
    family: Family,
    rule: impl Fn(&T) -> Rule,
) -> impl Iterator<Item = &T> {
    items
        .iter()
        .filter(move |item| Family::of(rule(item).from().addr()) == family)
}

/// Every element of a set.
fn elements(
    netlink: &mut Netlink,
    requests: &mut Requests,
    set: &str,
    each: &mut dyn FnMut(Hole),
) -> Result<(), NetlinkError> {
    requests.clear();
    ipset::list(requests, set);
    netlink.dump(requests, &mut |message| ipset::elements(message, each))
}

fn refused(doing: &'static str, set: &str, cause: &NetlinkError) -> FirewallError {
    let reason = match cause {
        NetlinkError::Kernel(errno) => ipset::kernel_reason(errno.code),
        NetlinkError::Io(cause) => cause.to_string(),
        NetlinkError::Truncated(cause) => cause.to_string(),
    };
    FirewallError::Set {
        doing,
        set: set.to_owned(),
        reason,
    }
}
