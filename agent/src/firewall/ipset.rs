//! Holes as elements of kernel sets (`hash:ip,port` with a timeout), over netlink.
//!
//! Four sets per chain: what is open and what was revoked, for IPv4 and IPv6. A batch is one `send`
//! with at most a few messages, each with many elements (2.6 µs for one, 0.4 µs per element of a
//! hundred, against 931 µs for a spawn of ipset). Numbers: linux/netfilter/ipset/ip_set.h.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use engine::{Hole, HoleTimeout, Rule};
use spa::{ProtoPort, Protocol};

use super::{Firewall, FirewallError};
use crate::netlink::{
    Attributes, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, Netlink, NetlinkError, Requests,
};

const NFNL_SUBSYS_IPSET: u8 = 6;

const CMD_CREATE: u8 = 2;
const CMD_DESTROY: u8 = 3;
const CMD_FLUSH: u8 = 4;
const CMD_LIST: u8 = 7;
const CMD_ADD: u8 = 9;
const CMD_DEL: u8 = 10;

const ATTR_PROTOCOL: u16 = 1;
const ATTR_SETNAME: u16 = 2;
const ATTR_TYPENAME: u16 = 3;
const ATTR_REVISION: u16 = 4;
const ATTR_FAMILY: u16 = 5;
const ATTR_DATA: u16 = 7;
const ATTR_ADT: u16 = 8;
const ATTR_LINENO: u16 = 9;

const ATTR_IP: u16 = 1;
const ATTR_PORT: u16 = 4;
const ATTR_TIMEOUT: u16 = 6;
const ATTR_PROTO: u16 = 7;
const ATTR_MAXELEM: u16 = 19;
const ATTR_IPADDR_IPV4: u16 = 1;
const ATTR_IPADDR_IPV6: u16 = 2;

/// The version of the protocol that every kernel since 2.6.39 speaks.
const PROTOCOL: u8 = 6;
/// Revision of `hash:ip,port` that every kernel since 3.18 knows.
const REVISION: u8 = 5;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;

const ENOENT: i32 = 2;
const EPERM: i32 = 1;

/// Elements that one set can hold. More than the grants that the agent allows to be open at once,
/// so that the set is never the first to be full.
const ELEMENTS_MAX: u32 = 131_072;
/// Elements in one batch: an attribute's length has 16 bits and an IPv6 element takes 64 bytes.
const ELEMENTS_PER_MESSAGE: usize = 500;
/// For an element that names no timeout, which this agent never makes.
const DEFAULT_TIMEOUT_SECS: u32 = 30;
/// How long a revoked rule stays barred for the sessions that were established through it: as long
/// as the kernel remembers an idle TCP session (nf_conntrack_tcp_timeout_established).
const REVOKED_SECS: u32 = 432_000;

/// The names of the kernel sets that belong to a chain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SetNames {
    pub open4: String,
    pub open6: String,
    pub revoked4: String,
    pub revoked6: String,
}

/// Which address family a set or a rule is for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Family {
    V4,
    V6,
}

/// Opens holes as timed elements of kernel sets.
#[derive(Debug)]
pub struct IpsetFirewall {
    names: SetNames,
    netlink: Netlink,
    requests: Requests,
    /// Whether a rule may be in a revoked set, so that opening must take it out.
    any_revoked: bool,
}

// === impl SetNames ===

impl SetNames {
    /// The sets of `chain`, which has at most 24 characters (a set's name has at most 31).
    pub fn of_chain(chain: &str) -> Self {
        Self {
            open4: format!("{chain}_4"),
            open6: format!("{chain}_6"),
            revoked4: format!("{chain}_R4"),
            revoked6: format!("{chain}_R6"),
        }
    }

    pub fn open(&self, family: Family) -> &str {
        match family {
            Family::V4 => &self.open4,
            Family::V6 => &self.open6,
        }
    }

    pub fn revoked(&self, family: Family) -> &str {
        match family {
            Family::V4 => &self.revoked4,
            Family::V6 => &self.revoked6,
        }
    }
}

// === impl Family ===

impl Family {
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::V4 => AF_INET,
            Self::V6 => AF_INET6,
        }
    }
}

// === impl IpsetFirewall ===

impl IpsetFirewall {
    /// Connects to the kernel of this thread's network namespace. Makes no set.
    ///
    /// # Errors
    ///
    /// When there is no netlink socket to be had.
    pub fn connect(names: SetNames) -> Result<Self, FirewallError> {
        let netlink = Netlink::open().map_err(|cause| FirewallError::Netlink {
            doing: "open a socket",
            reason: cause.to_string(),
        })?;
        let mut firewall = Self {
            names,
            netlink,
            requests: Requests::default(),
            any_revoked: false,
        };
        firewall.any_revoked = firewall.has_revoked();
        Ok(firewall)
    }

    /// Whether an earlier run has revoked anything; a set that cannot be read may hold something.
    fn has_revoked(&mut self) -> bool {
        let mut any = false;
        Family::ALL.into_iter().any(|family| {
            let name = self.names.revoked(family);
            let listed = elements(&mut self.netlink, &mut self.requests, name, &mut |_| {
                any = true
            });
            match listed {
                Err(NetlinkError::Kernel(errno)) if errno.code == ENOENT => false,
                Err(_) => true,
                Ok(()) => any,
            }
        })
    }

    /// Makes the sets that are not there yet; those that are keep their elements.
    ///
    /// # Errors
    ///
    /// [`FirewallError::Set`] when the kernel has no ipset, or a set of that name is of another
    /// kind.
    pub fn create(&mut self) -> Result<(), FirewallError> {
        for family in Family::ALL {
            for name in [self.names.open(family), self.names.revoked(family)] {
                self.requests.clear();
                let flags = NLM_F_ACK | NLM_F_CREATE;
                begin(&mut self.requests, CMD_CREATE, flags, name);
                self.requests.text(ATTR_TYPENAME, "hash:ip,port");
                self.requests.attribute(ATTR_REVISION, &[REVISION]);
                self.requests.attribute(ATTR_FAMILY, &[family.number()]);
                let data = self.requests.nest(ATTR_DATA);
                self.requests
                    .attribute_be(ATTR_TIMEOUT, &DEFAULT_TIMEOUT_SECS.to_be_bytes());
                self.requests
                    .attribute_be(ATTR_MAXELEM, &ELEMENTS_MAX.to_be_bytes());
                self.requests.end_nest(data);
                self.requests.end();
                self.netlink
                    .execute(&mut self.requests)
                    .map_err(|cause| refused("create the set", name, &cause))?;
            }
        }
        Ok(())
    }

    /// Removes the sets with all their elements. A set that is not there is no error.
    ///
    /// # Errors
    ///
    /// When a rule still refers to a set.
    pub fn destroy(&mut self) -> Result<(), FirewallError> {
        for family in Family::ALL {
            for name in [self.names.open(family), self.names.revoked(family)] {
                self.requests.clear();
                begin(&mut self.requests, CMD_DESTROY, NLM_F_ACK, name);
                self.requests.end();
                match self.netlink.execute(&mut self.requests) {
                    Err(NetlinkError::Kernel(errno)) if errno.code == ENOENT => {}
                    other => other.map_err(|cause| refused("destroy the set", name, &cause))?,
                }
            }
        }
        Ok(())
    }

    /// Whether all sets are there.
    ///
    /// # Errors
    ///
    /// When the kernel cannot be asked.
    pub fn complete(&mut self) -> Result<bool, FirewallError> {
        for family in Family::ALL {
            for name in [self.names.open(family), self.names.revoked(family)] {
                match elements(&mut self.netlink, &mut self.requests, name, &mut |_| ()) {
                    Err(NetlinkError::Kernel(errno)) if errno.code == ENOENT => return Ok(false),
                    other => other.map_err(|cause| refused("list the set", name, &cause))?,
                }
            }
        }
        Ok(true)
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

impl Firewall for IpsetFirewall {
    fn open(&mut self, holes: &[Hole]) -> Result<(), FirewallError> {
        for batch in holes.chunks(ELEMENTS_PER_MESSAGE) {
            self.requests.clear();
            for family in Family::ALL {
                let open = of_family(batch, family, |hole| hole.rule)
                    .map(|hole| (hole.rule, Some(hole.timeout.secs())));
                change(&mut self.requests, CMD_ADD, self.names.open(family), open);
                if self.any_revoked {
                    let lifted =
                        of_family(batch, family, |hole| hole.rule).map(|hole| (hole.rule, None));
                    let set = self.names.revoked(family);
                    change(&mut self.requests, CMD_DEL, set, lifted);
                }
            }
            self.execute("add to the set")?;
        }
        Ok(())
    }

    fn close(&mut self, rules: &[Rule]) -> Result<(), FirewallError> {
        self.any_revoked = true;
        for batch in rules.chunks(ELEMENTS_PER_MESSAGE) {
            self.requests.clear();
            for family in Family::ALL {
                let of_this = || of_family(batch, family, |rule| *rule);
                // Barred first, then taken out: at no moment does a session slip through.
                let barred = of_this().map(|rule| (*rule, Some(REVOKED_SECS)));
                change(
                    &mut self.requests,
                    CMD_ADD,
                    self.names.revoked(family),
                    barred,
                );
                let closed = of_this().map(|rule| (*rule, None));
                change(&mut self.requests, CMD_DEL, self.names.open(family), closed);
            }
            self.execute("revoke in the set")?;
        }
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<Hole>, FirewallError> {
        let mut holes = Vec::new();
        for family in Family::ALL {
            let name = self.names.open(family);
            elements(&mut self.netlink, &mut self.requests, name, &mut |hole| {
                holes.push(hole);
            })
            .map_err(|cause| refused("list the set", name, &cause))?;
        }
        Ok(holes)
    }

    fn flush(&mut self) -> Result<(), FirewallError> {
        self.requests.clear();
        for family in Family::ALL {
            let name = self.names.open(family);
            begin(&mut self.requests, CMD_FLUSH, NLM_F_ACK, name);
            self.requests.end();
        }
        self.execute("flush the set")
    }
}

fn of_family<T>(
    items: &[T],
    family: Family,
    rule: impl Fn(&T) -> Rule,
) -> impl Iterator<Item = &T> {
    items.iter().filter(move |item| {
        let Rule::Accept { address, port: _ } = rule(item);
        Family::of(address) == family
    })
}

fn begin(requests: &mut Requests, command: u8, flags: u16, set: &str) {
    requests.begin(NFNL_SUBSYS_IPSET, command, flags, AF_INET);
    requests.attribute(ATTR_PROTOCOL, &[PROTOCOL]);
    requests.text(ATTR_SETNAME, set);
}

/// One message that adds or deletes many elements, or none for no elements. Without
/// `NLM_F_EXCL`, adding what is there renews its timeout and deleting what is not there is no error.
fn change(
    requests: &mut Requests,
    command: u8,
    set: &str,
    elements: impl Iterator<Item = (Rule, Option<u32>)>,
) {
    let mut elements = elements.peekable();
    if elements.peek().is_none() {
        return;
    }
    begin(requests, command, NLM_F_ACK, set);
    requests.attribute(ATTR_LINENO, &0_u32.to_ne_bytes());
    let list = requests.nest(ATTR_ADT);
    for (line, (rule, timeout_secs)) in elements.enumerate() {
        let Rule::Accept { address, port } = rule;
        let data = requests.nest(ATTR_DATA);
        let ip = requests.nest(ATTR_IP);
        match address {
            IpAddr::V4(v4) => requests.attribute_be(ATTR_IPADDR_IPV4, &v4.octets()),
            IpAddr::V6(v6) => requests.attribute_be(ATTR_IPADDR_IPV6, &v6.octets()),
        }
        requests.end_nest(ip);
        requests.attribute_be(ATTR_PORT, &port.port.get().to_be_bytes());
        requests.attribute(ATTR_PROTO, &[protocol_number(port.protocol)]);
        if let Some(secs) = timeout_secs {
            requests.attribute_be(ATTR_TIMEOUT, &secs.to_be_bytes());
        }
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        requests.attribute_be(ATTR_LINENO, &line.to_be_bytes());
        requests.end_nest(data);
    }
    requests.end_nest(list);
    requests.end();
}

fn elements(
    netlink: &mut Netlink,
    requests: &mut Requests,
    set: &str,
    each: &mut dyn FnMut(Hole),
) -> Result<(), NetlinkError> {
    requests.clear();
    begin(requests, CMD_LIST, NLM_F_ACK | NLM_F_DUMP, set);
    requests.end();
    netlink.dump(requests, &mut |attributes| {
        let Some(list) = attributes.find(ATTR_ADT) else {
            return;
        };
        for (_, data) in Attributes::inside(list).filter(|(kind, _)| *kind == ATTR_DATA) {
            if let Some(hole) = hole_of(Attributes::inside(data)) {
                each(hole);
            }
        }
    })
}

fn hole_of(element: Attributes<'_>) -> Option<Hole> {
    let ip = Attributes::inside(element.find(ATTR_IP)?);
    let address = match (ip.find(ATTR_IPADDR_IPV4), ip.find(ATTR_IPADDR_IPV6)) {
        (Some(v4), _) => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(v4).ok()?)),
        (None, Some(v6)) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(v6).ok()?)),
        (None, None) => return None,
    };
    let port = u16::from_be_bytes(element.find(ATTR_PORT)?.try_into().ok()?);
    let protocol = match element.find(ATTR_PROTO)? {
        [IPPROTO_TCP] => Protocol::Tcp,
        [IPPROTO_UDP] => Protocol::Udp,
        _ => return None,
    };
    let secs = u32::from_be_bytes(element.find(ATTR_TIMEOUT)?.try_into().ok()?);
    let port = ProtoPort {
        protocol,
        port: NonZeroU16::new(port)?,
    };
    Some(Hole {
        rule: Rule::Accept { address, port },
        timeout: HoleTimeout::clamped(secs),
    })
}

const fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => IPPROTO_TCP,
        Protocol::Udp => IPPROTO_UDP,
    }
}

fn refused(doing: &'static str, set: &str, cause: &NetlinkError) -> FirewallError {
    let reason = match cause {
        NetlinkError::Kernel(errno) => kernel_reason(errno.code),
        NetlinkError::Io(cause) => cause.to_string(),
        NetlinkError::Truncated(cause) => cause.to_string(),
    };
    FirewallError::Set {
        doing,
        set: set.to_owned(),
        reason,
    }
}

/// What the kernel's error numbers mean for sets (ip_set.h, `ipset_errno`).
fn kernel_reason(code: i32) -> String {
    match code {
        EPERM => "not permitted (root or CAP_NET_ADMIN is needed)".to_owned(),
        ENOENT => "there is no such set".to_owned(),
        22 => "this kernel has no ipset (module ip_set)".to_owned(),
        4097 => "protocol error".to_owned(),
        4098 => {
            "this kernel has no sets of type hash:ip,port (module ip_set_hash_ipport)".to_owned()
        }
        4100 => "a rule refers to it".to_owned(),
        4103 => "a set of this name is of another kind; `ipset destroy` it".to_owned(),
        4352 => "the set is full".to_owned(),
        other => std::io::Error::from_raw_os_error(other).to_string(),
    }
}
