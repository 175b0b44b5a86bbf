//! Sets of addresses: the values of SOURCE and DESTINATION.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::dialect::Dialect;

/// Addresses that a rule speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Networks {
    /// Every address, IPv4 and IPv6.
    Any,
    /// The addresses of these networks, in the order of the text; never empty.
    Only(Box<[IpNet]>),
}

/// A text that names no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// The list has an empty place or no entries.
    #[error("an entry of the list is empty")]
    Empty,
    /// Neither an address nor a network.
    #[error("`{0}` is not an IPv4 or IPv6 address or network")]
    Malformed(String),
}

/// A network that is taken, and may not be what is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// A prefix of length 0: every address of its family.
    Everything {
        /// As it is written.
        written: String,
        /// An address stands in front of it, as if one were meant.
        has_address: bool,
    },
    /// Bits are set behind the prefix.
    HostBits {
        /// As it is written.
        written: String,
        /// As it is taken.
        network: IpNet,
    },
}

// === impl Doubt ===

impl Doubt {
    /// Whether it is a mistake: where an address seems to be meant, and in fwknop's dialect where
    /// fwknopd refuses the file.
    pub(crate) fn is_mistake(&self, dialect: Dialect) -> bool {
        let Self::Everything {
            written,
            has_address,
        } = self
        else {
            return false;
        };
        match dialect {
            Dialect::Alone => *has_address || !written.contains(':'),
            Dialect::Operator => *has_address,
            Dialect::Compiled => false,
        }
    }

    /// What to write in its place.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Everything { .. } => "ANY says so".to_owned(),
            Self::HostBits { network, .. } => format!("write {network}, or the address alone"),
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything { written, .. } => write!(f, "`{written}` is every address"),
            Self::HostBits { written, network } => {
                write!(f, "`{written}` is the whole network {network}")
            }
        }
    }
}

// === impl Networks ===

impl Networks {
    /// Whether `address` is among them. An IPv4-mapped IPv6 address counts as its IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Only(networks) => {
                let address = address.to_canonical();
                networks.iter().any(|network| network.contains(&address))
            }
        }
    }

    /// Reads a list separated by commas or blanks, or `ANY`.
    ///
    /// # Errors
    ///
    /// [`InvalidNetwork`] names the first entry that is neither an address nor a network.
    pub fn parse(text: &str) -> Result<Self, InvalidNetwork> {
        Self::read(text).map(|(networks, _)| networks)
    }

    /// Reads a list as [`parse`](Self::parse) does, and says what in it is doubtful.
    pub(crate) fn read(text: &str) -> Result<(Self, Vec<Doubt>), InvalidNetwork> {
        let mut networks = Vec::new();
        let mut doubts = Vec::new();
        let mut any = false;
        for entry in text.split(',') {
            let before = networks.len();
            let mut words = 0_usize;
            for word in entry.split_whitespace() {
                words += 1;
                if word.eq_ignore_ascii_case("ANY") {
                    any = true;
                } else {
                    let network = network(word)?;
                    doubts.extend(doubt(word, network));
                    networks.push(network);
                }
            }
            if words == 0 || (networks.len() == before && !any) {
                return Err(InvalidNetwork::Empty);
            }
        }
        if any {
            return Ok((Self::Any, doubts));
        }
        Ok((Self::Only(networks.into_boxed_slice()), doubts))
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("ANY"),
            Self::Only(networks) => {
                for (index, network) in networks.iter().enumerate() {
                    if index > 0 {
                        f.write_str(",")?;
                    }
                    if network.prefix_len() == network.max_prefix_len() {
                        write!(f, "{}", network.addr())?;
                    } else {
                        write!(f, "{network}")?;
                    }
                }
                Ok(())
            }
        }
    }
}

fn doubt(word: &str, network: IpNet) -> Option<Doubt> {
    let (address, _) = word.split_once('/')?;
    let written = shortened(word);
    let address: IpAddr = address.parse().ok()?;
    if network.prefix_len() == 0 {
        let has_address = !address.is_unspecified();
        return Some(Doubt::Everything {
            written,
            has_address,
        });
    }
    (address.to_canonical() != network.addr()).then_some(Doubt::HostBits { written, network })
}

/// Reads an address, a network with a prefix length, or an IPv4 network with a dotted mask.
///
/// Bits below the mask are cleared, as fwknop does.
fn network(word: &str) -> Result<IpNet, InvalidNetwork> {
    let malformed = || InvalidNetwork::Malformed(shortened(word));
    let Some((address, mask)) = word.split_once('/') else {
        let address: IpAddr = word.parse().map_err(|_| malformed())?;
        return Ok(canonical(IpNet::from(address)));
    };

    if mask.contains('.') {
        let address: Ipv4Addr = address.parse().map_err(|_| malformed())?;
        let mask: Ipv4Addr = mask.parse().map_err(|_| malformed())?;
        let network = Ipv4Net::with_netmask(address, mask).map_err(|_| malformed())?;
        return Ok(IpNet::V4(network.trunc()));
    }

    let network: IpNet = word.parse().map_err(|_| malformed())?;
    Ok(canonical(network.trunc()))
}

/// Writes an IPv4-mapped IPv6 network as the IPv4 network that it is.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else {
        return network;
    };
    let (Some(v4), Some(prefix)) = (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(96))
    else {
        return network;
    };
    Ipv4Net::new(v4, prefix).map_or(network, IpNet::V4)
}

/// At most 60 characters of what was written, for a mistake's text.
pub(crate) fn shortened(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 60;

    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(text: &str) -> Networks {
        Networks::parse(text).unwrap()
    }

    #[test]
    fn any_holds_both_families() {
        let any = networks("any");

        assert!(any.contains("192.0.2.1".parse().unwrap()));
        assert!(any.contains("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn a_list_is_separated_by_commas_or_blanks() {
        let list = networks("192.0.2.1, 10.0.0.0/8 2001:db8::/32");

        assert!(list.contains("192.0.2.1".parse().unwrap()));
        assert!(list.contains("10.255.0.1".parse().unwrap()));
        assert!(list.contains("2001:db8:ffff::1".parse().unwrap()));
        assert!(!list.contains("192.0.2.2".parse().unwrap()));
        assert!(!list.contains("2001:db9::1".parse().unwrap()));
    }

    #[test]
    fn a_dotted_mask_is_a_prefix_length() {
        assert_eq!(
            networks("192.168.10.7/255.255.255.0"),
            networks("192.168.10.0/24")
        );
    }

    #[test]
    fn a_mapped_source_matches_its_ipv4_network() {
        let list = networks("10.0.0.0/8");

        assert!(list.contains("::ffff:10.1.2.3".parse().unwrap()));
    }

    #[test]
    fn leading_zero_octets_are_refused() {
        assert!(Networks::parse("010.1.2.3").is_err());
    }

    #[test]
    fn holes_in_the_mask_and_in_the_list_are_refused() {
        for text in [
            "10.0.0.0/255.0.255.0",
            "10.0.0.1,,10.0.0.2",
            "",
            ",",
            "10.0.0.0/33",
            "ANY,",
        ] {
            assert!(Networks::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn networks_are_printed_as_they_are_read() {
        assert_eq!(
            networks("192.0.2.1, 10.1.0.0/8").to_string(),
            "192.0.2.1,10.0.0.0/8"
        );
    }
}
