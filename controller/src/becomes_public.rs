//! Ports that a change of policy would make public, in words.

use std::collections::BTreeMap;
use std::fmt;

use spa::Service;

/// Hosts that an error names one by one; a change may concern a thousand.
const HOSTS_NAMED_MAX: usize = 8;
/// Ports that an error names one by one.
const PORTS_NAMED_MAX: usize = 8;

/// Ports that would become public, each with its hosts; for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BecomesPublic(pub(crate) BTreeMap<Service, Vec<String>>);

/// Names of hosts, the first ones of many.
pub(crate) struct Names<'n>(pub(crate) &'n [String]);

// === impl BecomesPublic ===

impl fmt::Display for BecomesPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(ports) = self;
        for (index, (port, hosts)) in ports.iter().take(PORTS_NAMED_MAX).enumerate() {
            let gap = if index > 0 { "; " } else { "" };
            write!(f, "{gap}{port} on {}", Names(hosts))?;
        }
        match ports.len().saturating_sub(PORTS_NAMED_MAX) {
            0 => Ok(()),
            more => write!(f, "; and {more} more ports"),
        }
    }
}

// === impl Names ===

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(names) = self;
        for (index, name) in names.iter().take(HOSTS_NAMED_MAX).enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            f.write_str(name)?;
        }
        match names.len().saturating_sub(HOSTS_NAMED_MAX) {
            0 => f.write_str(""),
            more => write!(f, " and {more} more"),
        }
    }
}
