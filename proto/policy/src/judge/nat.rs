//! What a stanza says to a message that wants packets led on to another place, or that it leads on
//! by itself.
//!
//! fwknop takes the first port of a request and lets the client reach the inner port of every host
//! behind it; here every port of the request counts, and only the place that was asked for is
//! reached.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use spa::{MessageType, PortRange, Request, Service};

use super::{Ask, Denied, Permitted};
use crate::nat::{ForcedTarget, NatAccess, NatRules, Place, SeenSource, is_nowhere};
use crate::own::OwnAddresses;
use crate::stanza::Stanza;

/// What stands in front of the ports that were asked for, where everything is led on (FORWARD_ALL).
pub const EVERYTHING: &str = "any";
/// How the audit calls this host among the places to which packets are led.
pub const LOCAL: &str = "local";
/// And every other one.
const ANYWHERE: &str = "anywhere";

/// What a host does about NAT, whatever its policy says. Everything is off by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatSettings {
    /// Whether the packet filter of the host can lead packets on to another place at all.
    pub is_possible: bool,
    /// Messages 2 and 4, FORCE_NAT and FORWARD_ALL: other hosts (ENABLE_IPT_FORWARDING).
    pub forward: bool,
    /// Messages 5 and 6: another port of this host (ENABLE_IPT_LOCAL_NAT).
    pub local: bool,
    /// Host names instead of addresses (ENABLE_NAT_DNS).
    pub names: bool,
    /// Whether the kernel lets packets from elsewhere be led to 127.0.0.1 (route_localnet).
    pub reaches_loopback: bool,
    /// What the place sees as the source, where the stanza does not say it (ENABLE_IPT_SNAT).
    pub source: HostSource,
    /// Whether what is opened is open for packets to one address of this host only, the one that the
    /// message was sent to (ENABLE_DESTINATION_RULE).
    pub destination_rule: bool,
}

/// What the place to which a host leads packets sees as their source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostSource {
    /// Whether it is not the sender's own address.
    pub is_translated: bool,
    /// Which address it is instead (SNAT_TRANSLATE_IP); `None` is that of the interface through
    /// which they leave.
    pub v4: Option<Ipv4Addr>,
    /// The same in IPv6.
    pub v6: Option<Ipv6Addr>,
}

/// Where packets are led on to, for one permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// What the message asks this host for: sorted, and none of it twice; at least one.
    pub asked: Vec<Service>,
    /// Whether everything is led on, and not only that (FORWARD_ALL).
    pub is_everything: bool,
    /// Where to.
    pub to: ForwardTo,
    /// The port there; `None` leaves the one that is asked for.
    pub port: Option<NonZeroU16>,
    /// What the place sees as the source.
    pub source: SeenSource,
}

/// A place to which packets are led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardTo {
    /// This host, also where it is one of its own addresses that was named.
    Here {
        /// Whether they are led to 127.0.0.1, and not to the address at which they arrive.
        is_loopback: bool,
    },
    /// Another host.
    Inner {
        /// Its address, of the family of the address that is let in.
        address: IpAddr,
        /// Whether packets are translated, and not sent there already (DISABLE_DNAT).
        is_translated: bool,
    },
    /// Another host, whose address must be looked up.
    Name(NamedTarget),
    /// Wherever they are sent: they are only let through.
    Anywhere,
}

/// Another host by its name, and which addresses it may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedTarget {
    name: Box<str>,
    is_translated: bool,
    permitted: NatAccess,
    /// Whether it may be this host, of which these are the addresses.
    local: bool,
    own: OwnAddresses,
}

/// What a message or its stanza wants led on.
enum Wanted<'a> {
    Forced(ForcedTarget),
    Asked(&'a spa::NatAccess),
    /// FORWARD_ALL with FORCE_SNAT or FORCE_MASQUERADE: this host is a router for the sender.
    Routed,
}

// === impl Stanza ===

impl Stanza {
    /// Where the packets of this request are led; `None` where they stay. `ports` says what is asked
    /// for, as far as the stanza permits it.
    pub(super) fn judge_nat(
        &self,
        ask: &Ask<'_>,
        address: IpAddr,
        ports: impl FnOnce() -> Result<Vec<Service>, Denied>,
    ) -> Result<Option<Forwarding>, Denied> {
        let Some(wanted) = self.wanted(ask) else {
            return Ok(None);
        };
        let is_local = match &wanted {
            Wanted::Forced(forced) => {
                forced.address.is_loopback() || ask.own.contain(forced.address)
            }
            Wanted::Asked(nat) => {
                let address = nat.host.parse().ok();
                is_local(ask.message.message_type)
                    || address.is_some_and(|address| ask.own.contain(address))
            }
            Wanted::Routed => false,
        };
        ask.host.nat.allows(is_local)?;
        let asked = ports()?;
        if asked.contains(&Service::Echo) && !self.nat.forward_all {
            return Err(Denied::NatEcho);
        }
        let is_everything = !is_local && self.nat.forward_all;
        let port = match &wanted {
            _ if is_everything => None,
            Wanted::Forced(forced) => Some(forced.port),
            Wanted::Asked(nat) => inner_port(&ask.message.request, &asked, nat)?,
            Wanted::Routed => None,
        };
        let mut forwarding = Forwarding {
            asked,
            is_everything,
            to: ForwardTo::Anywhere,
            port,
            source: SeenSource::Own,
        };
        forwarding.to = match wanted {
            Wanted::Forced(forced) => self.forced(ask, forced, address)?,
            Wanted::Asked(nat) if is_local => self.local(ask, nat, &forwarding, address)?,
            Wanted::Asked(nat) => self.inner(ask, nat, &forwarding, address)?,
            Wanted::Routed => self.routed()?,
        };
        forwarding.source = self.source_of(ask, &forwarding.to, address)?;
        Ok(Some(forwarding))
    }

    /// FORCE_NAT has the last word, as with fwknop.
    fn wanted<'a>(&self, ask: &Ask<'a>) -> Option<Wanted<'a>> {
        let message = ask.message;
        match (&self.nat, &message.nat_access) {
            (
                NatRules {
                    force: Some(forced),
                    ..
                },
                _,
            ) => Some(Wanted::Forced(*forced)),
            (_, Some(nat)) => Some(Wanted::Asked(nat)),
            (
                NatRules {
                    forward_all: true,
                    source: Some(_),
                    ..
                },
                None,
            ) => Some(Wanted::Routed),
            (_, None) => None,
        }
    }

    /// No list of places is kept where this host is a router: one that names some would be ignored.
    fn routed(&self) -> Result<ForwardTo, Denied> {
        if self.nat.access.is_limit() {
            return Err(Denied::NatTarget("everything of every host".to_owned()));
        }
        Ok(ForwardTo::Anywhere)
    }

    fn forced(
        &self,
        ask: &Ask<'_>,
        forced: ForcedTarget,
        client: IpAddr,
    ) -> Result<ForwardTo, Denied> {
        if forced.address.is_loopback() {
            let is_v4 = forced.address.is_ipv4() && client.is_ipv4();
            return Ok(ForwardTo::Here {
                is_loopback: is_v4 && ask.host.nat.reaches_loopback,
            });
        }
        same_family(forced.address, client)?;
        if ask.own.contain(forced.address) {
            return Ok(ForwardTo::Here { is_loopback: false });
        }
        Ok(ForwardTo::Inner {
            address: forced.address,
            is_translated: !self.nat.disable_dnat,
        })
    }

    /// Whatever address the message names: stock clients name the one that they dial, which may be
    /// that of a router in front of this host.
    fn local(
        &self,
        ask: &Ask<'_>,
        nat: &spa::NatAccess,
        forwarding: &Forwarding,
        client: IpAddr,
    ) -> Result<ForwardTo, Denied> {
        let address: Option<Ipv4Addr> = nat.host.parse().ok();
        let is_v4 = address.is_some_and(|address| address.is_loopback()) && client.is_ipv4();
        forwarding.permitted(&self.nat.access, Place::Local)?;
        Ok(ForwardTo::Here {
            is_loopback: is_v4 && ask.host.nat.reaches_loopback,
        })
    }

    fn inner(
        &self,
        ask: &Ask<'_>,
        nat: &spa::NatAccess,
        forwarding: &Forwarding,
        client: IpAddr,
    ) -> Result<ForwardTo, Denied> {
        let is_translated = !self.nat.disable_dnat;
        if let Ok(address) = nat.host.parse::<IpAddr>() {
            let address = address.to_canonical();
            inner_address(address)?;
            same_family(address, client)?;
            forwarding.permitted(&self.nat.access, Place::Inner(address))?;
            return Ok(ForwardTo::Inner {
                address,
                is_translated,
            });
        }
        if !is_name(&nat.host) {
            return Err(Denied::NatHost(nat.host.clone()));
        }
        if !ask.host.nat.names {
            return Err(Denied::NatName(nat.host.clone()));
        }
        if self.nat.access.permits_nothing() {
            return Err(Denied::NatTarget(nat.to_string()));
        }
        Ok(ForwardTo::Name(NamedTarget {
            name: nat.host.as_str().into(),
            is_translated,
            permitted: self.nat.access.clone(),
            local: ask.host.nat.local,
            own: ask.own.clone(),
        }))
    }

    /// What the stanza says, else what the host says.
    fn source_of(
        &self,
        ask: &Ask<'_>,
        to: &ForwardTo,
        client: IpAddr,
    ) -> Result<SeenSource, Denied> {
        match (to, self.nat.source) {
            (ForwardTo::Here { .. }, _) => Ok(SeenSource::Own),
            (ForwardTo::Inner { .. } | ForwardTo::Name(_) | ForwardTo::Anywhere, Some(source)) => {
                if let SeenSource::Address(own) = source {
                    same_family(own, client)?;
                }
                Ok(source)
            }
            (ForwardTo::Inner { .. } | ForwardTo::Name(_) | ForwardTo::Anywhere, None) => {
                Ok(ask.host.nat.source.of_family(client))
            }
        }
    }
}

// === impl NatSettings ===

impl NatSettings {
    fn allows(&self, is_local: bool) -> Result<(), Denied> {
        match (self.is_possible, is_local) {
            (false, _) => Err(Denied::NatImpossible),
            (true, true) if !self.local => Err(Denied::LocalNatNotEnabled),
            (true, false) if !self.forward => Err(Denied::NatNotEnabled),
            (true, true | false) => Ok(()),
        }
    }
}

// === impl HostSource ===

impl HostSource {
    fn of_family(self, client: IpAddr) -> SeenSource {
        let own = match client {
            IpAddr::V4(_) => self.v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.v6.map(IpAddr::V6),
        };
        match own {
            _ if !self.is_translated => SeenSource::Own,
            Some(own) => SeenSource::Address(own),
            None => SeenSource::Masquerade,
        }
    }
}

// === impl Forwarding ===

impl Forwarding {
    /// Returns what is led on, in words: `any` in front of what was asked for, if it is everything.
    pub fn asked_words(&self) -> impl Iterator<Item = String> {
        let everything = self.is_everything.then(|| EVERYTHING.to_owned());
        let asked = self.asked.iter().map(ToString::to_string);
        everything.into_iter().chain(asked)
    }

    /// Says whether all of this may be led there.
    fn permitted(&self, access: &NatAccess, place: Place) -> Result<(), Denied> {
        let services: Vec<Option<Service>> = if self.is_everything {
            vec![None]
        } else {
            self.asked
                .iter()
                .map(|asked| Some(self.inner_service(*asked)))
                .collect()
        };
        match services
            .into_iter()
            .find(|service| !access.permits(place, *service))
        {
            None => Ok(()),
            Some(service) => Err(Denied::NatTarget(target_text(place, service))),
        }
    }

    /// What is reached there by what is asked here.
    fn inner_service(&self, asked: Service) -> Service {
        self.port.map_or(asked, |port| asked.at_port(port))
    }

    /// The same to the first of these addresses that may be one of the named host.
    pub(super) fn resolved(
        &self,
        target: &NamedTarget,
        addresses: &[IpAddr],
        client: IpAddr,
    ) -> Result<Self, Denied> {
        let mut denied = Denied::NatUnresolved(target.name.to_string());
        for address in addresses.iter().map(IpAddr::to_canonical) {
            let judged = inner_address(address)
                .and_then(|()| same_family(address, client))
                .and_then(|()| self.at(target, address));
            match judged {
                Ok(led) => return Ok(led),
                Err(cause) => denied = cause,
            }
        }
        Err(denied)
    }
}

impl Forwarding {
    /// The same to this address of the named host, if it may be led there.
    fn at(&self, target: &NamedTarget, address: IpAddr) -> Result<Self, Denied> {
        let mut led = self.clone();
        if !target.own.contain(address) {
            self.permitted(&target.permitted, Place::Inner(address))?;
            let is_translated = target.is_translated;
            led.to = ForwardTo::Inner {
                address,
                is_translated,
            };
            return Ok(led);
        }
        if !target.local {
            return Err(Denied::LocalNatNotEnabled);
        }
        // What a gateway does for others is not done to itself.
        led.is_everything = false;
        led.permitted(&target.permitted, Place::Local)?;
        led.to = ForwardTo::Here { is_loopback: false };
        led.source = SeenSource::Own;
        Ok(led)
    }
}

impl fmt::Display for Forwarding {
    /// Where to, as `10.0.0.5:22`, `[2001:db8::5]:22`, `local:22`, `10.0.0.5` or `anywhere`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.to, self.port) {
            (ForwardTo::Here { is_loopback: true }, _) => write!(f, "{}", Ipv4Addr::LOCALHOST)?,
            (ForwardTo::Here { is_loopback: false }, _) => f.write_str(LOCAL)?,
            (
                ForwardTo::Inner {
                    address: IpAddr::V6(v6),
                    ..
                },
                Some(_),
            ) => write!(f, "[{v6}]")?,
            (ForwardTo::Inner { address, .. }, _) => address.fmt(f)?,
            (ForwardTo::Name(target), _) => f.write_str(&target.name)?,
            (ForwardTo::Anywhere, _) => f.write_str(ANYWHERE)?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

// === impl NamedTarget ===

impl NamedTarget {
    /// Returns the name to look up.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The port there: the one that the message names, if what is asked for leaves no doubt which of it
/// that is for: one port of each protocol. Several keep their numbers, where it names the first of them: so a client
/// fills in what was not said. `None` keeps them.
fn inner_port(
    request: &Request,
    asked: &[Service],
    nat: &spa::NatAccess,
) -> Result<Option<NonZeroU16>, Denied> {
    let named = NonZeroU16::new(nat.port);
    let first = match request {
        Request::Access { ports, .. } => ports.first(),
        Request::Close { .. } | Request::Command { .. } => None,
    };
    let ranges = || asked.iter().filter_map(|service| range(*service));
    // Sorted, so that those of one protocol stand together.
    let is_one = ranges().all(|range| range.count() == 1)
        && ranges().zip(ranges().skip(1)).all(|(range, next)| {
            range.protocol() != next.protocol() || range.first() == next.first()
        });
    let first = first.and_then(|first| range(*first));
    match named {
        None => Err(Denied::NatHost(nat.to_string())),
        Some(_) if is_one => Ok(named),
        Some(port) if first.is_some_and(|first| first.first() == port) => Ok(None),
        Some(port) => Err(Denied::NatAmbiguous(port)),
    }
}

fn range(service: Service) -> Option<PortRange> {
    match service {
        Service::Ports(range) => Some(range),
        Service::Echo => None,
    }
}

fn is_local(kind: MessageType) -> bool {
    match kind {
        MessageType::LocalNatAccess | MessageType::LocalNatAccessTimeout => true,
        MessageType::Command
        | MessageType::Access
        | MessageType::NatAccess
        | MessageType::AccessTimeout
        | MessageType::NatAccessTimeout => false,
    }
}

fn inner_address(address: IpAddr) -> Result<(), Denied> {
    if is_nowhere(address) || address.is_loopback() {
        return Err(Denied::NatHost(address.to_string()));
    }
    Ok(())
}

fn same_family(address: IpAddr, client: IpAddr) -> Result<(), Denied> {
    if address.is_ipv4() == client.is_ipv4() {
        return Ok(());
    }
    Err(Denied::NatFamily { address, client })
}

/// Whether a text can be looked up as a name. What ends in a number is an address, or meant to be
/// one: resolvers take `010.1` for one, too.
fn is_name(host: &str) -> bool {
    let last = host
        .trim_end_matches('.')
        .rsplit('.')
        .next()
        .unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    host.len() <= 253 && !host.contains(':') && !host.starts_with(['-', '.']) && !is_number
}

fn target_text(place: Place, service: Option<Service>) -> String {
    let what = service.map_or_else(|| "everything".to_owned(), |service| service.to_string());
    match place {
        Place::Local => format!("{what} of this host (LOCAL)"),
        Place::Inner(address) => format!("{what} of {address}"),
    }
}

/// The address of the host for which alone something is opened, where the host wants that.
pub(super) fn judge_destination(
    ask: &Ask<'_>,
    what: &Permitted,
    client: IpAddr,
) -> Result<Option<IpAddr>, Denied> {
    match what {
        Permitted::Ports(_) if ask.host.nat.destination_rule => {
            let at = ask.destination.to_canonical();
            if at.is_unspecified() || at.is_ipv4() != client.is_ipv4() {
                return Err(Denied::NoDestination(client));
            }
            Ok(Some(at))
        }
        Permitted::Ports(_)
        | Permitted::Forward(_)
        | Permitted::Close { .. }
        | Permitted::Cycle(_)
        | Permitted::Command { .. } => Ok(None),
    }
}
