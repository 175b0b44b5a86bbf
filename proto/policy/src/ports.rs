//! Sets of ports: the values of OPEN_PORTS, RESTRICT_PORTS and PROTECT.

use std::fmt;

use spa::ProtoPort;

use crate::network::shortened;

/// Protocols and ports, sorted and each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSet(Box<[ProtoPort]>);

/// A text that names no port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPort {
    /// The list has an empty place or no entries.
    #[error("an entry of the list is empty")]
    Empty,
    /// Not `tcp/N` or `udp/N` with a port from 1 to 65535.
    #[error("`{0}` is not a port such as tcp/22 or udp/53")]
    Malformed(String),
}

// === impl PortSet ===

impl PortSet {
    /// Whether this very port is in the set.
    #[must_use]
    pub fn contains(&self, port: ProtoPort) -> bool {
        self.0.binary_search(&port).is_ok()
    }

    /// The ports, sorted.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = ProtoPort> + '_ {
        self.0.iter().copied()
    }

    /// Whether there is no port in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many ports there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Reads a list such as `tcp/22, udp/53`, separated by commas or blanks.
    ///
    /// # Errors
    ///
    /// [`InvalidPort`] names the first entry that is not a port.
    pub fn parse(text: &str) -> Result<Self, InvalidPort> {
        let mut ports = Vec::new();
        for entry in text.split(',') {
            let before = ports.len();
            for word in entry.split_whitespace() {
                let port = word
                    .to_ascii_lowercase()
                    .parse()
                    .map_err(|_| InvalidPort::Malformed(shortened(word)))?;
                ports.push(port);
            }
            if ports.len() == before {
                return Err(InvalidPort::Empty);
            }
        }
        Ok(ports.into_iter().collect())
    }
}

impl FromIterator<ProtoPort> for PortSet {
    fn from_iter<I: IntoIterator<Item = ProtoPort>>(ports: I) -> Self {
        let mut ports: Vec<_> = ports.into_iter().collect();
        ports.sort_unstable();
        ports.dedup();
        Self(ports.into_boxed_slice())
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, port) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{port}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_written_twice_is_in_the_set_once() {
        let ports = PortSet::parse("tcp/22,udp/53, tcp/22").unwrap();

        assert_eq!(ports.to_string(), "tcp/22,udp/53");
    }

    #[test]
    fn the_protocol_belongs_to_the_port() {
        let ports = PortSet::parse("tcp/53").unwrap();

        assert!(ports.contains("tcp/53".parse().unwrap()));
        assert!(!ports.contains("udp/53".parse().unwrap()));
    }

    #[test]
    fn what_is_not_a_port_is_refused() {
        for text in [
            "",
            ",",
            "tcp",
            "tcp/0",
            "tcp/65536",
            "icmp/8",
            "tcp/22,,tcp/23",
            "22",
        ] {
            assert!(PortSet::parse(text).is_err(), "{text:?}");
        }
    }
}
