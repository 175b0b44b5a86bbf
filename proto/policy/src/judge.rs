//! What a stanza says to an authentic, recent message: one function of values.
//!
//! The order of the rules is fwknop's, so that the reason given is the one its users know. Three
//! rules differ from fwknop on purpose: every single port asked for must itself be listed (fwknop
//! counts matches, and a port listed twice lets another one through); MAX_FW_TIMEOUT caps
//! every timeout, also FW_ACCESS_TIMEOUT; and no hole outlives the stanza's expiry.

mod nat;
mod words;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use ipnet::IpNet;
use spa::{Allow, Message, Request, Service};

use crate::ports::{Joined, join_all};
pub use nat::{EVERYTHING, ForwardTo, Forwarding, HostSource, LOCAL, NamedTarget, NatSettings};
pub use words::RefusedFor;

use crate::cycle::{Cycle, CyclePort, CycleRule, CycleValues};
use crate::moment::utc;
use crate::os::NotTaken;
use crate::own::OwnAddresses;
use crate::stanza::{CommandRule, Stanza};

/// A request, and what is known around it.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Where the packet comes from.
    pub source: IpAddr,
    /// Where the packet went to; unspecified when that is not known.
    pub destination: IpAddr,
    /// To which port, as the policy sees it.
    pub port: SpaPort,
    /// What it says.
    pub message: &'a Message,
    /// Wall time in seconds since 1970 UTC.
    pub now_secs: u64,
    /// What this host is able and willing to do at all.
    pub host: &'a HostSettings,
    /// Its own addresses: whatever leads there leads to this host.
    pub own: &'a OwnAddresses,
    /// The client of a trusted proxy through which the packet came. A request for "the source"
    /// then means this address. SOURCE is judged by the packet's own source nevertheless, since a
    /// stranger can write any address into a request.
    pub forwarded_for: Option<IpAddr>,
}

/// The port that a packet came to, as a policy sees it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum SpaPort {
    /// It does not matter.
    Any,
    /// One that no stanza has taken for itself.
    Common,
    /// The SPA_SERVER_PORT of some stanza.
    Taken(NonZeroU16),
}

/// What a host does at all, whatever its policy says. Everything is off by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostSettings {
    /// Messages 2, 4, 5 and 6, and stanzas that lead packets on by themselves.
    pub nat: NatSettings,
    /// Messages 0: commands.
    pub commands: bool,
}

/// What a stanza grants. Only [`Stanza::judge`] makes one, and nothing changes one:
///
/// ```compile_fail
/// let permit = policy::Permit {
///     stanza: 1,
///     name: None,
///     address: "192.0.2.7".parse().unwrap(),
///     opens: vec!["0.0.0.0/0".parse().unwrap()],
///     what: policy::Permitted::Ports(Vec::new()),
///     at: None,
///     timeout_secs: 30,
/// };
/// ```
///
/// ```compile_fail
/// fn longer(mut permit: policy::Permit) -> policy::Permit {
///     permit.timeout_secs = u32::MAX;
///     permit
/// }
/// ```
///
/// ```
/// fn how_long(permit: &policy::Permit) -> u32 {
///     permit.timeout_secs()
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    stanza: u32,
    name: Option<Arc<str>>,
    address: IpAddr,
    opens: Vec<IpNet>,
    what: Permitted,
    at: Option<IpAddr>,
    timeout_secs: u32,
}

/// What is opened or run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permitted {
    /// These ports, sorted, and none of them twice; at least one.
    Ports(Vec<Service>),
    /// Packets are led on to another place.
    Forward(Box<Forwarding>),
    /// What the same user has opened for this address with the same key is closed.
    Close {
        /// What; empty means everything.
        ports: Vec<Service>,
        /// Whether the connections that began through it end, too.
        cut: bool,
    },
    /// Commands of the host's owner open, and close when the time is over.
    Cycle(Box<Cycle>),
    /// This command.
    Command {
        /// As the message gives it.
        text: String,
        /// As whom it runs.
        rule: CommandRule,
    },
}

/// Why a stanza does not permit what is asked; one variant for each rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// SOURCE.
    #[error("source {0} is not in SOURCE")]
    Source(IpAddr),
    /// DESTINATION.
    #[error("destination {0} is not in DESTINATION")]
    Destination(IpAddr),
    /// SPA_SERVER_PORT.
    #[error("the packet did not come to SPA_SERVER_PORT {0}")]
    SpaServerPort(NonZeroU16),
    /// SPA_SERVER_PORT of other stanzas.
    #[error("port {0} is the SPA_SERVER_PORT of other stanzas")]
    PortTaken(NonZeroU16),
    /// ACCESS_EXPIRE, ACCESS_EXPIRE_EPOCH.
    #[error("the stanza expired at {}", utc(*.at_secs))]
    Expired {
        /// When, in seconds since 1970 UTC.
        at_secs: u64,
    },
    /// REQUIRE_SOURCE_ADDRESS.
    #[error("the message names no address, and REQUIRE_SOURCE_ADDRESS is set")]
    SourceAddressRequired,
    /// An address to which no packet of a client can belong.
    #[error("{0} is not the address of a client")]
    NotAClient(IpAddr),
    /// GPG_REMOTE_ID, GPG_FINGERPRINT_ID.
    #[error("signed by {0}, whom GPG_REMOTE_ID and GPG_FINGERPRINT_ID do not name")]
    Signer(String),
    /// How it came, and from whom.
    #[error(transparent)]
    NotTaken(NotTaken),
    /// REQUIRE_USERNAME.
    #[error("user `{0}` is not in REQUIRE_USERNAME")]
    Username(String),
    /// Message types 2 and 4, FORCE_NAT, FORWARD_ALL.
    #[error(
        "NAT to other hosts is not enabled on this host: its own configuration would have to say `nat_forward = true`"
    )]
    NatNotEnabled,
    /// Message types 5 and 6, FORCE_NAT to this host.
    #[error(
        "NAT to its own ports is not enabled on this host: its own configuration would have to say `nat_local = true`"
    )]
    LocalNatNotEnabled,
    /// The packet filter of the host.
    #[error("the packet filter of this host cannot lead packets on to another place for a time")]
    NatImpossible,
    /// NAT_ACCESS.
    #[error("{0} is not in NAT_ACCESS")]
    NatTarget(String),
    /// A NAT field that names no other host.
    #[error("packets cannot be led to {0}: it is not the address of another host")]
    NatHost(String),
    /// A host name, where none are looked up.
    #[error(
        "{0} is a name, and names are not looked up on this host: its own configuration would have to say `nat_dns = true`"
    )]
    NatName(String),
    /// A host name that leads nowhere.
    #[error("the name {0} has no address to which packets could be led")]
    NatUnresolved(String),
    /// IPv4 leads to IPv4, and IPv6 to IPv6.
    #[error("packets of {client} cannot be led to {address}, which is of another family")]
    NatFamily {
        /// Where to.
        address: IpAddr,
        /// Whose packets.
        client: IpAddr,
    },
    /// One port there for several that are asked for.
    #[error(
        "several ports are asked for, and it cannot be told which of them leads to port {0}: ask for one at a time, or name no port behind -N"
    )]
    NatAmbiguous(NonZeroU16),
    /// Echo, which has no port that could be led anywhere.
    #[error("icmp/echo cannot be led on to another place")]
    NatEcho,
    /// ENABLE_DESTINATION_RULE, where it cannot be kept.
    #[error(
        "this host opens for one of its addresses only, and it is not known to which of {0}'s family the message was sent"
    )]
    NoDestination(IpAddr),
    /// ENABLE_CMD_EXEC of the stanza.
    #[error("the stanza does not set ENABLE_CMD_EXEC")]
    CommandNotEnabled,
    /// Commands of the host.
    #[error(
        "this host runs no commands: its own configuration would have to say `commands = true`"
    )]
    CommandsOff,
    /// CMD_CYCLE_OPEN, and a message of a type that asks for NAT.
    #[error("the stanza runs a command in place of the firewall, which leads packets nowhere")]
    CycleNat,
    /// CMD_CYCLE_OPEN, and what has no one port.
    #[error("the stanza runs a command for one port, and {0} is not one port")]
    CycleService(Service),
    /// No port at all.
    #[error("no port is asked for")]
    NoPorts,
    /// OPEN_PORTS.
    #[error("{0} is not in OPEN_PORTS")]
    PortNotOpen(Service),
    /// RESTRICT_PORTS.
    #[error("{0} is in RESTRICT_PORTS")]
    PortRestricted(Service),
    /// FW_ACCESS_TIMEOUT 0 or MAX_FW_TIMEOUT 0.
    #[error("the timeout of the stanza is 0, so that nothing opens")]
    NoTime,
}

// === impl Permit ===

impl Permit {
    /// Returns the stanza's number in its text, counted from 1.
    #[must_use]
    pub fn stanza(&self) -> u32 {
        self.stanza
    }

    /// Returns the stanza's NAME.
    #[must_use]
    pub fn name(&self) -> Option<&Arc<str>> {
        self.name.as_ref()
    }

    /// Returns the address that is let in (or for which the command runs); never unspecified, never
    /// an IPv4-mapped IPv6 address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Returns the networks that are let in, each once: that around the address first (OPEN_PREFIX),
    /// then that around the packet's source, if it is another one (OPEN_PACKET_SOURCE).
    #[must_use]
    pub fn opens(&self) -> &[IpNet] {
        &self.opens
    }

    /// Returns the same as the audit writes it: addresses alone without their prefix.
    pub fn opens_words(&self) -> impl Iterator<Item = String> {
        self.opens.iter().map(|network| {
            if network.prefix_len() == network.max_prefix_len() {
                network.addr().to_string()
            } else {
                network.to_string()
            }
        })
    }

    /// Returns what is opened or run.
    #[must_use]
    pub fn what(&self) -> &Permitted {
        &self.what
    }

    /// Returns the address of this host for which alone it is opened; `None` is all.
    #[must_use]
    pub fn at(&self) -> Option<IpAddr> {
        self.at
    }

    /// Returns the name of the host to which packets are led, if it must be looked up first.
    #[must_use]
    pub fn unresolved(&self) -> Option<&str> {
        match &self.what {
            Permitted::Forward(forwarding) => match &forwarding.to {
                ForwardTo::Name(target) => Some(target.name()),
                ForwardTo::Here { .. } | ForwardTo::Inner { .. } | ForwardTo::Anywhere => None,
            },
            Permitted::Ports(_)
            | Permitted::Close { .. }
            | Permitted::Cycle(_)
            | Permitted::Command { .. } => None,
        }
    }

    /// Puts one of these addresses, to which the name was looked up, in the place of the name. A
    /// permit without a name stays as it is.
    ///
    /// # Errors
    ///
    /// [`Denied`] says why packets may be led to none of them.
    pub fn resolved(&self, addresses: &[IpAddr]) -> Result<Self, Denied> {
        let mut permit = self.clone();
        if let Permitted::Forward(forwarding) = &self.what
            && let ForwardTo::Name(target) = &forwarding.to
        {
            let resolved = forwarding.resolved(target, addresses, self.address)?;
            permit.what = Permitted::Forward(Box::new(resolved));
        }
        Ok(permit)
    }

    /// Returns for how long, in seconds: at least 1 and at most MAX_FW_TIMEOUT. 0 for what opens
    /// nothing.
    #[must_use]
    pub fn timeout_secs(&self) -> u32 {
        self.timeout_secs
    }
}

// === impl Stanza ===

impl Stanza {
    /// Decides whether this stanza grants what the message asks.
    ///
    /// The caller has shown that the message was sealed with this stanza's key and is recent.
    ///
    /// # Errors
    ///
    /// [`Denied`] names the first rule that does not permit it.
    pub fn judge(&self, ask: &Ask<'_>) -> Result<Permit, Denied> {
        let source = self.judge_packet(ask)?;
        let address = self.judge_sender(ask, source)?;

        let address = match (ask.forwarded_for, &ask.message.request) {
            (
                Some(client),
                Request::Access {
                    allow: Allow::Source,
                    ..
                }
                | Request::Close {
                    allow: Allow::Source,
                    ..
                },
            ) => client,
            (
                Some(_) | None,
                Request::Access { .. } | Request::Close { .. } | Request::Command { .. },
            ) => address,
        };

        let (what, timeout_secs) = match &ask.message.request {
            Request::Access { ports, .. } if let Some(rule) = &self.cycle => {
                let secs = self.timeout_secs(ask)?;
                let cycle = self.judge_cycle(ask, rule, ports, (address, secs))?;
                (Permitted::Cycle(Box::new(cycle)), secs)
            }
            Request::Access { ports, .. } => {
                let what = match self.judge_nat(ask, address, || self.judge_ports(ports))? {
                    Some(forwarding) => Permitted::Forward(Box::new(forwarding)),
                    None => Permitted::Ports(self.judge_ports(ports)?),
                };
                (what, self.timeout_secs(ask)?)
            }
            // Who may open something may close it, also what she may not open any more.
            Request::Close { ports, cut, .. } => {
                let (ports, cut) = (ports.clone(), *cut);
                (Permitted::Close { ports, cut }, 0)
            }
            Request::Command { command, .. } => (self.judge_command(ask, command)?, 0),
        };
        Ok(Permit {
            stanza: self.number,
            name: self.name.clone(),
            opens: self.opens(address, ask.forwarded_for.unwrap_or(source)),
            at: nat::judge_destination(ask, &what, address)?,
            address,
            what,
            timeout_secs,
        })
    }

    /// Whether what is asked for stands in this stanza, whoever asks, when, and from where. Of several
    /// stanzas that refuse, this is the one that was meant.
    #[must_use]
    pub fn lists(&self, request: &Request) -> bool {
        match request {
            Request::Access { ports, .. } => self.judge_ports(ports).is_ok(),
            Request::Close { .. } => true,
            Request::Command { .. } => self.command.is_some(),
        }
    }

    /// Whether this stanza would let in these networks for one request, whatever their addresses: for
    /// what was opened when its text was another one.
    #[must_use]
    pub fn gives(&self, opens: &[IpNet]) -> bool {
        let is_narrow = |open: &IpNet| open.prefix_len() >= self.prefix(open.addr());
        opens.iter().all(is_narrow) && (opens.len() < 2 || self.open_packet_source)
    }

    /// OPEN_PREFIX, OPEN_PREFIX6 and OPEN_PACKET_SOURCE.
    fn opens(&self, address: IpAddr, seen: IpAddr) -> Vec<IpNet> {
        let around = |address: IpAddr| {
            let network = IpNet::new(address, self.prefix(address));
            network.map_or_else(|_| IpNet::from(address), |network| network.trunc())
        };
        let mut opens = vec![around(address)];
        let also = self.open_packet_source.then(|| around(seen));
        opens.extend(also.filter(|also| is_client(seen) && !opens.contains(also)));
        opens
    }

    /// How long the prefix is that is opened around an address.
    fn prefix(&self, address: IpAddr) -> u8 {
        match address {
            IpAddr::V4(_) => self.open_prefix,
            IpAddr::V6(_) => self.open_prefix6,
        }
    }

    /// SOURCE, DESTINATION, SPA_SERVER_PORT and expiry. Returns the packet's source in its plain form.
    fn judge_packet(&self, ask: &Ask<'_>) -> Result<IpAddr, Denied> {
        let source = ask.source.to_canonical();
        if !self.source.contains(source) {
            return Err(Denied::Source(source));
        }
        if !self.destination.contains(ask.destination) {
            return Err(Denied::Destination(ask.destination));
        }
        match (self.spa_server_port, ask.port) {
            (_, SpaPort::Any) | (None, SpaPort::Common) => {}
            (Some(own), SpaPort::Taken(port)) if own == port => {}
            (Some(own), SpaPort::Common | SpaPort::Taken(_)) => {
                return Err(Denied::SpaServerPort(own));
            }
            (None, SpaPort::Taken(port)) => return Err(Denied::PortTaken(port)),
        }
        match self.expire_at_secs {
            Some(at_secs) if ask.now_secs >= at_secs => Err(Denied::Expired { at_secs }),
            Some(_) | None => Ok(source),
        }
    }

    /// Address and user of the message. Returns the address that is to be let in.
    fn judge_sender(&self, ask: &Ask<'_>, source: IpAddr) -> Result<IpAddr, Denied> {
        let address = match ask.message.request.allow() {
            Allow::Source if self.require_source_address => {
                return Err(Denied::SourceAddressRequired);
            }
            Allow::Source => source,
            Allow::Address(address) => address.to_canonical(),
        };
        if !is_client(address) {
            return Err(Denied::NotAClient(address));
        }
        let username = &ask.message.username;
        if !self.require_username.is_empty() && !self.require_username.contains(username) {
            return Err(Denied::Username(username.clone()));
        }
        Ok(address)
    }

    /// Every port must be listed, those of a range as well, and none may be restricted.
    fn judge_ports(&self, asked: &[Service]) -> Result<Vec<Service>, Denied> {
        let mut ports = asked.to_vec();
        join_all(&mut ports, Joined::Overlapping);
        if ports.is_empty() {
            return Err(Denied::NoPorts);
        }
        for &port in &ports {
            if self.restrict_ports.touches(port) {
                return Err(Denied::PortRestricted(port));
            }
            if self
                .open_ports
                .as_ref()
                .is_some_and(|open| !open.contains(port))
            {
                return Err(Denied::PortNotOpen(port));
            }
        }
        Ok(ports)
    }

    fn judge_command(&self, ask: &Ask<'_>, command: &str) -> Result<Permitted, Denied> {
        let Some(rule) = &self.command else {
            return Err(Denied::CommandNotEnabled);
        };
        if !ask.host.commands {
            return Err(Denied::CommandsOff);
        }
        Ok(Permitted::Command {
            text: command.to_owned(),
            rule: (**rule).clone(),
        })
    }

    /// CMD_CYCLE_OPEN: after all that is asked of a grant of the firewall, and for the first port, as
    /// fwknop. All ports must be permitted.
    fn judge_cycle(
        &self,
        ask: &Ask<'_>,
        rule: &CycleRule,
        asked: &[Service],
        (address, timeout_secs): (IpAddr, u32),
    ) -> Result<Cycle, Denied> {
        if !ask.host.commands {
            return Err(Denied::CommandsOff);
        }
        if ask.message.nat_access.is_some() {
            return Err(Denied::CycleNat);
        }
        self.judge_ports(asked)?;
        let first = *asked.first().ok_or(Denied::NoPorts)?;
        let port = CyclePort::of(first).ok_or(Denied::CycleService(first))?;
        let values = CycleValues {
            address,
            packet_source: ask.source.to_canonical(),
            destination: ask.destination.to_canonical(),
            port,
            timeout_secs,
            until_secs: ask.message.timestamp_secs + u64::from(timeout_secs),
        };
        Ok(rule.cycle(first, &values))
    }

    /// CMD_CYCLE_TIMER where commands open, else FW_ACCESS_TIMEOUT.
    fn own_timeout_secs(&self) -> u32 {
        let timer = self.cycle.as_ref().and_then(|cycle| cycle.timer_secs);
        timer.unwrap_or(self.fw_access_timeout_secs)
    }

    /// The client's timeout if it names one, otherwise the stanza's; capped by MAX_FW_TIMEOUT and
    /// by the stanza's expiry.
    ///
    /// A client that names 0 names none, as with fwknop. A 0 in the stanza opens nothing: a kernel
    /// set takes 0 for "for ever", so it must never reach one.
    fn timeout_secs(&self, ask: &Ask<'_>) -> Result<u32, Denied> {
        let asked = match ask.message.client_timeout_secs {
            named @ 1.. if ask.message.message_type.has_timeout() => named,
            _ => self.own_timeout_secs(),
        };
        let capped = asked.min(self.max_fw_timeout_secs);
        let left = self
            .expire_at_secs
            .map_or(u64::MAX, |at| at.saturating_sub(ask.now_secs));
        match u32::try_from(left).map_or(capped, |left| capped.min(left)) {
            0 => Err(Denied::NoTime),
            secs => Ok(secs),
        }
    }
}

/// Whether a client can have this address.
fn is_client(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_multicast() && !v4.is_broadcast(),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast(),
    }
}
