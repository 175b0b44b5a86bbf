//! Holes as elements of kernel sets, over netlink.
//!
//! Eight sets per chain, four for each family: what is open for single addresses and ports, what is
//! open for networks and ranges, what was taken back, and the clients of connections that were led on
//! and cut. A batch is one `send` with at most a few
//! messages, each with many elements (2.6 µs for one, 0.4 µs per element of a hundred, against 931 µs
//! for a spawn of ipset).

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

use engine::{Capabilities, Connection, Hole, HoleTimeout, Rule};
use spa::{ProtoPort, Protocol, Service};

use super::super::family::Family;
use super::super::{FirewallError, Holes};
use super::ipset::{self, Change, SetKind};
use super::ledger::{Ledger, Part, joined};
use crate::clock;
use crate::connections::Cutter;
use crate::netlink::{Netlink, NetlinkError, Requests};

/// Elements in one batch: an attribute's length has 16 bits and an IPv6 element takes 64 bytes.
const ELEMENTS_PER_MESSAGE: usize = 500;
/// Ports of one range: each is an element. As many as mosh uses.
const PORTS_MAX: u16 = 1_024;
/// How long a revoked rule stays barred for the sessions that were established through it, where
/// they cannot be ended one by one, and for UDP, where what this host says begins them anew: as long
/// as the kernel remembers an idle TCP session (nf_conntrack_tcp_timeout_established).
const REVOKED_SECS: u32 = 432_000;
/// The same where they can: until those are known that had just begun.
const HELD_UP_SECS: u32 = 5;

/// The names of the kernel sets that belong to a chain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct SetNames([Named; 8]);

/// A set of a chain.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Named {
    family: Family,
    what: What,
    name: String,
}

/// What a set holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum What {
    /// Single addresses that may begin.
    Addresses,
    /// Networks, and ranges of ports.
    Networks,
    /// What was taken back.
    Barred,
    /// Clients, by address and port, whose connection to a machine behind this one was cut.
    Cut,
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
    /// What is open for networks and ranges.
    wide: Ledger,
    /// What may be barred: opening takes it out.
    barred: Barred,
    /// `None` where connections cannot be ended one by one.
    cutter: Option<Cutter>,
}

/// What was taken back, and until when it is held up.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Barred {
    narrow: BTreeMap<Rule, Duration>,
    wide: BTreeMap<Rule, Duration>,
}

// === impl SetNames ===

impl SetNames {
    /// The sets of `chain`, which has at most 24 characters (a set's name has at most 31).
    pub(super) fn of_chain(chain: &str) -> Self {
        let named = |family, what, suffix: &str| Named {
            family,
            what,
            name: format!("{chain}_{suffix}"),
        };
        Self([
            named(Family::V4, What::Addresses, "4"),
            named(Family::V4, What::Networks, "N4"),
            named(Family::V4, What::Barred, "B4"),
            named(Family::V4, What::Cut, "C4"),
            named(Family::V6, What::Addresses, "6"),
            named(Family::V6, What::Networks, "N6"),
            named(Family::V6, What::Barred, "B6"),
            named(Family::V6, What::Cut, "C6"),
        ])
    }

    /// What begins through a hole is in one of these.
    pub(super) fn open(&self, family: Family) -> [&str; 2] {
        [What::Addresses, What::Networks].map(|what| self.of(family, what))
    }

    pub(super) fn of(&self, family: Family, what: What) -> &str {
        let mut all = self.0.iter();
        let named = all.find(|named| named.family == family && named.what == what);
        named.map_or("", |named| &named.name)
    }
}

// === impl What ===

impl What {
    const fn kind(self) -> SetKind {
        match self {
            Self::Addresses => SetKind::Address,
            Self::Cut => SetKind::Newest,
            Self::Networks | Self::Barred => SetKind::Network,
        }
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
            doing: "open a socket".into(),
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
        for Named { family, what, name } in &self.names.0 {
            self.requests.clear();
            ipset::create(&mut self.requests, name, what.kind(), *family);
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
        let SetNames(own) = self.names.clone();
        own.iter().try_for_each(|own| self.destroy_one(&own.name))
    }

    /// Whether there is any set of this chain.
    pub(super) fn any_of(&mut self, chain: &str) -> bool {
        let Self {
            netlink, requests, ..
        } = self;
        let names = ["4", "6", "R4", "R6"].map(|set| format!("{chain}_{set}"));
        names
            .iter()
            .any(|name| elements(netlink, requests, name, &mut |_| ()).is_ok())
    }

    /// Removes the sets that an earlier version had for these chains. What is not there is no error.
    ///
    /// # Errors
    ///
    /// When a rule still refers to a set.
    pub(super) fn destroy_former(&mut self, chains: &[&str]) -> Result<(), FirewallError> {
        let SetNames(own) = self.names.clone();
        let names = chains
            .iter()
            .flat_map(|chain| ["4", "6", "R4", "R6"].map(|set| format!("{chain}_{set}")));
        for name in names.filter(|name| own.iter().all(|own| own.name != *name)) {
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
        for Named { name, .. } in &self.names.0 {
            self.requests.clear();
            ipset::header(&mut self.requests, name);
            match self.netlink.execute(&mut self.requests) {
                Err(NetlinkError::Kernel(errno)) if errno.code == ipset::ENOENT => {
                    return Ok(false);
                }
                other => other.map_err(|cause| refused("look at the set", name, &cause))?,
            }
        }
        Ok(true)
    }

    /// The elements of the sets that hold this, of both families; none of a set that is not there.
    fn holds(&mut self, what: What) -> Result<Vec<Hole>, NetlinkError> {
        let mut holes = Vec::new();
        for named in self.names.0.iter().filter(|named| named.what == what) {
            let Self {
                netlink, requests, ..
            } = self;
            let listed = elements(netlink, requests, &named.name, &mut |hole| holes.push(hole));
            match listed {
                Err(NetlinkError::Kernel(errno)) if errno.code == ipset::ENOENT => {}
                other => other?,
            }
        }
        Ok(holes)
    }

    /// Keeps machines behind this one from speaking to the clients of these connections, where they
    /// were led on, unless the client begins anew.
    fn hold_cut(&mut self, connections: &[Connection]) -> Result<(), FirewallError> {
        let led_on = connections.iter().filter(|it| it.server != it.asked);
        let clients: Vec<_> = led_on.filter_map(client).collect();
        for batch in clients.chunks(ELEMENTS_PER_MESSAGE) {
            let (names, requests) = self.begin();
            for family in Family::ALL {
                let of_family = batch.iter().filter(|rule| is_of(rule, family));
                let held = of_family.map(|rule| (*rule, Some(REVOKED_SECS)));
                let name = names.of(family, What::Cut);
                ipset::change(requests, Change::Add, name, held);
            }
            self.execute("hold up in the set")?;
        }
        Ok(())
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
            .map_err(|cause| refused(doing, self.names.of(Family::V4, What::Addresses), &cause))
    }
}

// === impl SetHoles ===

impl SetHoles {
    /// `families` are those whose chain matches its sets.
    pub(super) fn new(mut sets: Sets, families: &[Family]) -> Self {
        let now = clock::now().steady;
        // What cannot be read is not there yet, or cannot be opened either.
        let barred = sets.holds(What::Barred).unwrap_or_default();
        let until = |hole: Hole| (hole.rule, now + hole.timeout.duration());
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
                networks: true,
                ports_max: PORTS_MAX,
            },
            wide: Ledger::default(),
            barred: Barred::of(barred.into_iter().map(until)),
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

// === impl Barred ===

impl Barred {
    fn of(rules: impl Iterator<Item = (Rule, Duration)>) -> Self {
        let (wide, narrow) = rules.partition(|(rule, _)| is_wide(rule));
        Self { narrow, wide }
    }

    fn add(&mut self, rules: &[(Rule, u32)], now: Duration) {
        self.narrow.retain(|_, until| *until > now);
        self.wide.retain(|_, until| *until > now);
        for (rule, secs) in rules {
            let barred = if is_wide(rule) {
                &mut self.wide
            } else {
                &mut self.narrow
            };
            barred.insert(*rule, now + Duration::from_secs((*secs).into()));
        }
    }

    /// What is barred no longer when these are open: whoever may begin again is not held up.
    fn lift(&mut self, holes: &[Hole]) -> Vec<Rule> {
        let mut lifted = Vec::new();
        if self.narrow.is_empty() && self.wide.is_empty() {
            return lifted;
        }
        for Hole { rule, .. } in holes {
            let overlaps = |barred: &Rule, _: &mut Duration| barred.overlaps(rule);
            lifted.extend(self.wide.extract_if(.., overlaps).map(|(rule, _)| rule));
            if is_wide(rule) {
                lifted.extend(self.narrow.extract_if(.., overlaps).map(|(rule, _)| rule));
            } else {
                lifted.extend(self.narrow.remove_entry(rule).map(|(rule, _)| rule));
            }
        }
        lifted
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
        let now = clock::now().steady;
        for batch in holes.chunks(ELEMENTS_PER_MESSAGE) {
            let mut wide = Vec::new();
            for hole in batch.iter().filter(|hole| is_wide(&hole.rule)) {
                let deadline = now + hole.timeout.duration();
                wide.extend(self.wide.open(hole.rule, deadline, now));
            }
            let lifted = self.barred.lift(batch);
            let (names, requests) = self.sets.begin();
            for family in Family::ALL {
                let narrow = batch.iter().filter(|hole| is_of(&hole.rule, family));
                let narrow = narrow.filter(|hole| !is_wide(&hole.rule));
                let open = narrow.map(|hole| (hole.rule, Some(hole.timeout.secs())));
                let name = names.of(family, What::Addresses);
                ipset::change(requests, Change::Add, name, open);
                change_wide(requests, names, family, &wide);
                let lifted = lifted.iter().filter(|rule| is_of(rule, family));
                let lifted = lifted.map(|rule| (*rule, None));
                let name = names.of(family, What::Barred);
                ipset::change(requests, Change::Delete, name, lifted);
            }
            self.sets.execute("add to the set")?;
        }
        Ok(())
    }

    fn close(&mut self, rules: &[Rule], connections: &[Connection]) -> Result<(), FirewallError> {
        let now = clock::now().steady;
        for batch in rules.chunks(ELEMENTS_PER_MESSAGE) {
            let barred: Vec<_> = batch
                .iter()
                .flat_map(|rule| parts(*rule))
                .map(|rule| (rule, self.barred_secs(&rule)))
                .collect();
            self.barred.add(&barred, now);
            let mut wide = Vec::new();
            for rule in batch.iter().filter(|rule| is_wide(rule)) {
                wide.extend(self.wide.close(*rule, now));
            }
            let (names, requests) = self.sets.begin();
            for family in Family::ALL {
                // Barred first, then taken out: at no moment does a session slip through.
                let barred = barred.iter().filter(|(rule, _)| is_of(rule, family));
                let barred = barred.map(|(rule, secs)| (*rule, Some(*secs)));
                let name = names.of(family, What::Barred);
                ipset::change(requests, Change::Add, name, barred);
                let narrow = batch
                    .iter()
                    .filter(|rule| is_of(rule, family) && !is_wide(rule));
                let name = names.of(family, What::Addresses);
                let closed = narrow.map(|rule| (*rule, None));
                ipset::change(requests, Change::Delete, name, closed);
                change_wide(requests, names, family, &wide);
            }
            self.sets.execute("revoke in the set")?;
        }
        let Some(cutter) = &mut self.cutter else {
            return Ok(());
        };
        // Held first: a machine behind must not begin again what is ended here.
        // That it cannot be kept from that is no reason not to end it.
        if let Err(cause) = self.sets.hold_cut(connections) {
            tracing::warn!(
                error = %program::one_line(&cause),
                "what a machine behind this one says in a connection that is cut may reach its client"
            );
        }
        cutter
            .cut(connections)
            .map_err(|cause| FirewallError::Netlink {
                doing: "end a connection".into(),
                reason: program::one_line(&cause).to_string(),
            })
    }

    fn list(&mut self) -> Result<Vec<Hole>, FirewallError> {
        let mut list = |what| {
            let holes = self.sets.holds(what);
            holes.map_err(|cause| {
                let name = self.sets.names.of(Family::V4, what);
                refused("list the set", name, &cause)
            })
        };
        let mut holes = list(What::Addresses)?;
        let wide = list(What::Networks)?;
        let wide = wide.iter().map(|hole| (hole.rule, hole.timeout)).collect();
        holes.extend(
            joined(wide)
                .into_iter()
                .map(|(rule, timeout)| Hole { rule, timeout }),
        );
        Ok(holes)
    }

    fn flush(&mut self) -> Result<(), FirewallError> {
        self.wide.clear();
        let (names, requests) = self.sets.begin();
        for family in Family::ALL {
            for name in names.open(family) {
                ipset::flush(requests, name);
            }
        }
        self.sets.execute("flush the set")
    }
}

/// Puts into a batch what becomes of the elements of wide rules.
fn change_wide(requests: &mut Requests, names: &SetNames, family: Family, wide: &[Part]) {
    let name = names.of(family, What::Networks);
    let of_family = wide.iter().filter(|(rule, _)| is_of(rule, family));
    let of_family = of_family.flat_map(|(rule, timeout)| {
        parts(*rule).map(|part| (part, timeout.map(HoleTimeout::secs)))
    });
    let (stay, go): (Vec<_>, Vec<_>) = of_family.partition(|(_, timeout)| timeout.is_some());
    ipset::change(requests, Change::Add, name, stay.into_iter());
    ipset::change(requests, Change::Delete, name, go.into_iter());
}

/// The address and port of who began it, as an element is written.
fn client(connection: &Connection) -> Option<Rule> {
    let port = ProtoPort {
        protocol: connection.protocol,
        port: NonZeroU16::new(connection.client.port())?,
    };
    Some(Rule::accept(connection.client.ip(), port))
}

/// Whether it is for more than one address or one port.
fn is_wide(rule: &Rule) -> bool {
    let from = rule.from();
    let is_single = match rule.asked() {
        Some(Service::Ports(range)) => range.count() == 1,
        Some(Service::Echo) => true,
        None => false,
    };
    from.prefix_len() != from.max_prefix_len() || !is_single
}

fn is_of(rule: &Rule, family: Family) -> bool {
    Family::of(rule.from().addr()) == family
}

/// The rule, or its halves if it is for all addresses: a set has no element for those.
fn parts(rule: Rule) -> impl Iterator<Item = Rule> {
    let halves = match rule {
        Rule::Accept { from, to } if from.prefix_len() == 0 => {
            let halves = from.subnets(1).into_iter().flatten();
            halves.map(|from| Rule::Accept { from, to }).collect()
        }
        Rule::Accept { .. } | Rule::Forward(_) => vec![rule],
    };
    halves.into_iter()
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
        doing: doing.into(),
        set: set.to_owned(),
        reason,
    }
}
