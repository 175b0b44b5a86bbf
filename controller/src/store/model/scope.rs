//! Which hosts are a member's business.

use std::collections::BTreeMap;
use std::fmt;

/// Hosts by their labels: those that have every one of these. Without any, all hosts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Scope(pub(crate) BTreeMap<String, String>);

// === impl Scope ===

impl Scope {
    /// Whether every host is meant, also one that is still to come.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a host with these labels is meant.
    pub(crate) fn covers(&self, labels: &BTreeMap<String, String>) -> bool {
        let mut own = self.0.iter();
        own.all(|(label, value)| labels.get(label) == Some(value))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_whole() {
            return f.write_str("all hosts");
        }
        for (index, (label, value)) in self.0.iter().enumerate() {
            let gap = if index > 0 { " " } else { "" };
            write!(f, "{gap}{label}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = pairs
            .iter()
            .map(|(label, value)| ((*label).to_owned(), (*value).to_owned()));
        owned.collect()
    }

    #[test]
    fn a_scope_covers_hosts_that_have_every_label_of_it_and_an_empty_one_covers_all() {
        let scope = Scope(labels(&[("env", "stage"), ("role", "web")]));

        assert!(scope.covers(&labels(&[("env", "stage"), ("role", "web"), ("rack", "7")])));
        assert!(!scope.covers(&labels(&[("env", "stage")])));
        assert!(!scope.covers(&labels(&[("env", "stage"), ("role", "db")])));
        assert!(!scope.covers(&labels(&[])));
        assert!(Scope::default().covers(&labels(&[])) && Scope::default().is_whole());
        assert_eq!(scope.to_string(), "env=stage role=web");
    }
}
