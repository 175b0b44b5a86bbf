//! What a permit asks of the packet filter, and whether another permit asks for the same.

use std::net::IpAddr;

use ipnet::IpNet;
use policy::{ForwardTo, Forwarding, Permit, Permitted};
use spa::{NatAccess, Service};

use crate::rule::{Destination, Forward, Rule, SeenSource};

/// The rules that a permit opens; none for what is run, and for what must be looked up first.
pub(super) fn rules_of(permit: &Permit) -> Vec<Rule> {
    let of_one = |from: &IpNet| -> Vec<Rule> {
        match permit.what() {
            Permitted::Ports(ports) => {
                let rule = |port: &_| accept(*from, *port, permit.at());
                ports.iter().filter_map(rule).collect()
            }
            Permitted::Forward(forwarding) => led_from(*from, forwarding),
            Permitted::Close { .. } | Permitted::Cycle(_) | Permitted::Command { .. } => Vec::new(),
        }
    };
    permit.opens().iter().flat_map(of_one).collect()
}

/// Whether packets are led to another host, so that the kernel must forward them.
pub(super) fn leads_elsewhere(permit: &Permit, is_own: impl Fn(IpAddr) -> bool) -> bool {
    let Permitted::Forward(forwarding) = permit.what() else {
        return false;
    };
    match &forwarding.to {
        ForwardTo::Inner { address, .. } => !is_own(*address),
        ForwardTo::Anywhere => true,
        ForwardTo::Here { .. } | ForwardTo::Name(_) => false,
    }
}

/// Whether a permit asks for these rules, which an older one has opened.
pub(super) fn asks_for(permit: &Permit, rules: &[Rule]) -> bool {
    let new = match permit.unresolved() {
        None => rules_of(permit),
        // Whatever the name means now, it may mean what it meant then.
        Some(_) => {
            let addresses: Vec<IpAddr> = rules.iter().filter_map(led_to).collect();
            let resolved = permit.resolved(&addresses);
            resolved.map_or_else(|_| Vec::new(), |permit| rules_of(&permit))
        }
    };
    rules
        .iter()
        .all(|old| new.iter().any(|new| leads_alike(old, new)))
}

/// Whether two rules do the same with packets; whose, is for policy to say.
fn leads_alike(old: &Rule, new: &Rule) -> bool {
    match (old, new) {
        (Rule::Accept { .. }, Rule::Accept { .. }) => true,
        (Rule::Forward(old), Rule::Forward(new)) => {
            let from = old.from;
            *old == Forward { from, ..*new }
        }
        (Rule::Accept { .. }, Rule::Forward(_)) | (Rule::Forward(_), Rule::Accept { .. }) => false,
    }
}

fn led_to(rule: &Rule) -> Option<IpAddr> {
    match rule {
        Rule::Accept { .. } => None,
        Rule::Forward(forward) => match forward.to {
            Destination::Translated { address, .. } | Destination::Untranslated { address } => {
                Some(address)
            }
            Destination::Here { .. } | Destination::Anywhere => None,
        },
    }
}

/// None of another family than the address for which it is to be open.
fn accept(from: IpNet, to: Service, at: Option<IpAddr>) -> Option<Rule> {
    match at {
        None => Some(Rule::Accept { from, to }),
        Some(address) if address.is_ipv4() != from.addr().is_ipv4() => None,
        Some(address) => Some(Rule::Forward(Forward {
            from,
            asked: Some(to),
            to: Destination::Untranslated { address },
            source: SeenSource::Own,
        })),
    }
}

fn led_from(from: IpNet, forwarding: &Forwarding) -> Vec<Rule> {
    let asked: Vec<Option<Service>> = if forwarding.is_everything {
        vec![None]
    } else {
        let asked = forwarding.asked.iter();
        asked.map(|asked| Some(*asked)).collect()
    };
    asked
        .into_iter()
        .filter_map(|asked| led(from, asked, forwarding))
        .collect()
}

fn led(from: IpNet, asked: Option<Service>, forwarding: &Forwarding) -> Option<Rule> {
    let port = forwarding.port;
    let there = |service: Service| port.map_or(service, |port| service.at_port(port));
    let mut forward = Forward {
        from,
        asked,
        to: Destination::Anywhere,
        source: forwarding.source,
    };
    match &forwarding.to {
        // The packet's source may be let in beside an address of the other family.
        ForwardTo::Inner { address, .. } if address.is_ipv4() != from.addr().is_ipv4() => {
            return None;
        }
        ForwardTo::Here { is_loopback: true } if from.addr().is_ipv6() => return None,
        ForwardTo::Here { is_loopback: true } => {
            let address = IpAddr::from([127, 0, 0, 1]);
            forward.to = Destination::Translated { address, port };
        }
        ForwardTo::Here { is_loopback: false } => match (port, asked) {
            (Some(port), Some(service)) if there(service) != service => {
                forward.to = Destination::Here { port };
            }
            // It is there already.
            (_, Some(to)) => return Some(Rule::Accept { from, to }),
            (_, None) => return None,
        },
        ForwardTo::Inner {
            address,
            is_translated: true,
        } => {
            let address = *address;
            forward.to = Destination::Translated { address, port };
        }
        ForwardTo::Inner {
            address,
            is_translated: false,
        } => {
            forward.asked = asked.map(there);
            forward.to = Destination::Untranslated { address: *address };
        }
        ForwardTo::Name(_) => return None,
        ForwardTo::Anywhere => {}
    }
    Some(Rule::Forward(forward))
}

/// The address of this host for which alone something was opened, which is in no event.
pub(super) fn opened_at(rules: &[Rule]) -> Option<IpAddr> {
    rules.iter().find_map(|rule| match rule {
        Rule::Forward(Forward {
            to: Destination::Untranslated { address },
            ..
        }) => Some(*address),
        Rule::Forward(_) | Rule::Accept { .. } => None,
    })
}

/// What the audit says of where packets are led, with the first port that was asked for in the place
/// of one that was kept; `None` for what no message names.
pub(super) fn led_to_of_text(text: &str, kept: Option<u16>) -> Option<gate::LedTo> {
    let (host, port) = match text.parse::<IpAddr>() {
        Ok(_) => (text, kept?),
        Err(_) => match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (text, kept?),
        },
    };
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let is_here = host == policy::LOCAL || host == "127.0.0.1";
    let nat = NatAccess { host, port };
    Some(if is_here {
        gate::LedTo::Here(nat)
    } else {
        gate::LedTo::Inner(nat)
    })
}
