//! Whether a host's agent is older than this controller, and what it cannot do. Pure.

use std::cmp::Ordering;

use fleet::contract::CONTRACT_VERSION;
use fleet::{Capability, Contract};

/// The version of this program.
const OURS: &str = env!("CARGO_PKG_VERSION");

/// What there is to say of an agent that is older; `None` of one that is not, or that has said
/// nothing yet. `contract` is what it said that it can do.
pub(super) fn what_is_old(version: &str, contract: Option<&Contract>) -> Option<String> {
    if version.is_empty() {
        return None;
    }
    let lacks: Vec<&str> = contract
        .iter()
        .flat_map(|contract| contract.lacks())
        .filter_map(without)
        .collect();
    let is_behind = contract.is_some_and(|contract| contract.version < CONTRACT_VERSION);
    let is_older = order(version, OURS) == Some(Ordering::Less);
    if lacks.is_empty() && !is_behind && !is_older {
        return None;
    }
    let cannot = match lacks.as_slice() {
        [] => String::new(),
        lacks => format!(": {}", lacks.join("; ")),
    };
    let spoken = contract.map_or_else(String::new, |contract| {
        let spoken = contract.version;
        format!(", contract {spoken} of {CONTRACT_VERSION}")
    });
    Some(format!(
        "its agent is old (version {version}{spoken}; the controller is {OURS}){cannot}; install \
         the package of postern-agent that belongs to this controller"
    ))
}

/// What does not happen with a host whose agent cannot do this; `None` where that is no host's
/// business.
const fn without(lacking: Capability) -> Option<&'static str> {
    match lacking {
        Capability::EventRecords => Some("of its events only what both versions know arrives"),
        Capability::SessionPass => Some(
            "neither a second machine with its state directory nor one that was set back is noticed",
        ),
        Capability::TrustSet => {
            Some("it cannot follow when the fleet's certificate authority is replaced by another")
        }
        Capability::AuditSuccession => {
            Some("it cannot follow when the key that signs the log is replaced by another")
        }
        // Of those who ask for events; those who are sent more than they need have all of it; and to stay with
        // one controller is what most fleets have.
        Capability::AuditFilters | Capability::Controllers | Capability::PackedPolicy => None,
    }
}

/// The order of two versions, as semantic versioning has it for numbers; what stands after a hyphen
/// is before the same without one. `None` when one cannot be read.
fn order(one: &str, other: &str) -> Option<Ordering> {
    let (one, other) = (parse(one)?, parse(other)?);
    Some(one.cmp(&other))
}

/// Numbers, and whether it is a release.
fn parse(version: &str) -> Option<(Vec<u64>, bool)> {
    let (version, _build) = version.split_once('+').unwrap_or((version, ""));
    let (numbers, is_release) = match version.split_once('-') {
        Some((numbers, _)) => (numbers, false),
        None => (version, true),
    };
    let numbers = numbers.split('.').map(|number| number.parse().ok());
    Some((numbers.collect::<Option<_>>()?, is_release))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_of_this_version_or_a_later_one_is_not_old() {
        let ours = Contract::of_this_program();
        let later = Contract::of_header(Some(
            "postern-contract/99 (event-records session-pass audit-filters audit-succession packed-policy trust-set deltas)",
        ));

        for (version, contract) in [
            (OURS, Some(&ours)),
            ("99.0.0", Some(&later)),
            ("99.0.0-rc1", Some(&ours)),
            (OURS, None),
            ("", None),
        ] {
            assert_eq!(what_is_old(version, contract), None, "{version}");
        }
    }

    #[test]
    fn an_agent_that_speaks_an_older_contract_is_old_whatever_it_is_called_and_says_what_it_cannot()
    {
        let first = Contract::of_header(None);

        let said = what_is_old(OURS, Some(&first)).unwrap();

        assert!(said.contains("contract 1 of"), "{said}");
        for capability in Capability::ALL {
            let lack = without(capability).unwrap_or_default();
            assert!(said.contains(lack), "{said}");
        }
    }

    #[test]
    fn an_agent_of_an_older_release_is_old_with_the_same_contract() {
        let ours = Contract::of_this_program();
        for version in ["0.0.9", "0.0.99+build.7"] {
            let said = what_is_old(version, Some(&ours)).unwrap();
            assert!(said.contains(version), "{said}");
            assert!(what_is_old(version, None).is_some());
        }
    }

    #[test]
    fn versions_are_ordered_by_their_numbers_and_what_is_no_version_by_nothing() {
        for (one, other, expected) in [
            ("0.9.0", "0.10.0", Some(Ordering::Less)),
            ("1.0.0-rc1", "1.0.0", Some(Ordering::Less)),
            ("1.0.0+1", "1.0.0+2", Some(Ordering::Equal)),
            ("2.0.0", "1.9.9", Some(Ordering::Greater)),
            ("unknown", "1.0.0", None),
        ] {
            assert_eq!(order(one, other), expected, "{one} {other}");
        }
    }
}
