//! What a packet filter can hold, as data: so that it can be asked before a grant is recorded, by
//! those who do not have the packet filter at hand.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use spa::Service;

use crate::rule::{Destination, Forward, Rule};

/// Which rules the host's packet filter can hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Rules for IPv6 addresses; a kernel may have none.
    pub ipv6: bool,
    /// Connections can be followed and ended one by one.
    pub connections: bool,
    /// Rules that lead packets on to another place.
    pub forward: bool,
    /// Rules for networks.
    pub networks: bool,
    /// How many ports one rule may span.
    pub ports_max: u16,
}

/// Whether the kernel forwards packets between its interfaces, as the administrator has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Forwards {
    /// Of IPv4.
    pub v4: bool,
    /// Of IPv6.
    pub v6: bool,
}

/// A rule that a packet filter cannot hold on this host, and why.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Unsupported {
    /// What was asked for.
    pub rule: Rule,
    /// What is missing.
    pub reason: Cow<'static, str>,
}

// === impl Capabilities ===

impl Capabilities {
    /// Whatever can be asked for.
    pub const ALL: Self = Self {
        ipv6: true,
        connections: true,
        forward: true,
        networks: true,
        ports_max: u16::MAX,
    };

    /// Says whether such a rule can be opened.
    ///
    /// # Errors
    ///
    /// [`Unsupported`] says what is missing, for the record and the one who asked.
    pub fn can(self, rule: &Rule) -> Result<(), Unsupported> {
        let from = rule.from();
        let is_network = from.prefix_len() != from.max_prefix_len();
        let count = match rule.asked() {
            Some(Service::Ports(range)) => range.count(),
            Some(Service::Echo) | None => 1,
        };
        let reason = match (rule, from) {
            (_, IpNet::V6(_)) if !self.ipv6 => "the packet filter of this host has no IPv6",
            (
                Rule::Forward(Forward {
                    to: Destination::Untranslated { .. },
                    ..
                }),
                _,
            ) if !self.forward => {
                "the packet filter of this host cannot open for one address of several, which `destination_rule = true` wants: switch that off, or use the nftables back end"
            }
            (Rule::Forward(_), _) if !self.forward => {
                "the packet filter of this host cannot lead packets on to another place for a time"
            }
            _ if is_network && !self.networks => {
                "the packet filter of this host opens for single addresses only"
            }
            _ if count > self.ports_max => {
                "the packet filter of this host cannot open so many ports at once"
            }
            (Rule::Accept { .. } | Rule::Forward(_), _) => return Ok(()),
        };
        Err(Unsupported {
            rule: *rule,
            reason: reason.into(),
        })
    }
}

// === impl Forwards ===

impl Forwards {
    /// Says why packets of this family reach no other host; `None` where they do.
    pub(crate) fn refusal(self, client: IpAddr) -> Option<&'static str> {
        match client {
            IpAddr::V4(_) if !self.v4 => {
                Some("the kernel of this host forwards no IPv4 packets: net.ipv4.ip_forward is off")
            }
            IpAddr::V6(_) if !self.v6 => Some(
                "the kernel of this host forwards no IPv6 packets: net.ipv6.conf.all.forwarding is off",
            ),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    }
}

impl Default for Forwards {
    fn default() -> Self {
        Self { v4: true, v6: true }
    }
}

// === impl Unsupported ===

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, reason } = self;
        write!(f, "{rule} cannot be opened here: {reason}")
    }
}

impl std::error::Error for Unsupported {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_for_ipv6_is_refused_by_name_where_there_is_none() {
        let accept = |address: &str| format!("{address} tcp/22").parse().unwrap();
        let only_v4 = Capabilities {
            ipv6: false,
            ..Capabilities::ALL
        };

        assert_eq!(only_v4.can(&accept("192.0.2.7")), Ok(()));
        assert_eq!(Capabilities::ALL.can(&accept("2001:db8::7")), Ok(()));
        let refused = only_v4.can(&accept("2001:db8::7")).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "2001:db8::7 tcp/22 cannot be opened here: the packet filter of this host has no IPv6"
        );
    }
}
