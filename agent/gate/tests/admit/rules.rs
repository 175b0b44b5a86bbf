//! Grants beside the rules that the real server made.

use std::collections::BTreeSet;

use gate::{Decision, Grant};
use policy::Permitted;

/// One rule that lets somebody in: address, port as `tcp/22`, and for how many seconds.
pub(crate) type Rule = (String, String, u32);

/// Reads the rules that the real server left, as `-A FWKNOP_INPUT -s IP/32 -p tcp -m tcp --dport 22
/// -m comment --comment _exp_T+30 -j ACCEPT`.
pub(crate) fn rules_of_server(rules: &[String]) -> BTreeSet<Rule> {
    rules
        .iter()
        .map(|rule| {
            let words: Vec<_> = rule.split_whitespace().collect();
            let after = |option: &str| {
                let place = words.iter().position(|word| *word == option).unwrap();
                words[place + 1]
            };
            let address = after("-s").strip_suffix("/32").unwrap().to_owned();
            let seconds = after("--comment").strip_prefix("_exp_T+").unwrap();
            let port = format!("{}/{}", after("-p"), after("--dport"));
            (address, port, seconds.parse().unwrap())
        })
        .collect()
}

/// The same for a grant of ours.
pub(crate) fn rules_of_grant(grant: &Grant) -> BTreeSet<Rule> {
    let permit = grant.permit();
    match permit.what() {
        Permitted::Ports(ports) => ports
            .iter()
            .map(|port| {
                (
                    permit.address().to_string(),
                    port.to_string(),
                    permit.timeout_secs(),
                )
            })
            .collect(),
        Permitted::Close { .. } | Permitted::Command { .. } => BTreeSet::new(),
    }
}

/// The grant, or the end of the test with the refusal's reason.
#[track_caller]
pub(crate) fn granted(name: &str, decision: Decision) -> Grant {
    match decision {
        Decision::Grant(grant) => grant,
        Decision::Claim(pending) => panic!("{name}: {pending:?}"),
        Decision::Refused(refusal) => panic!("{name}: {}: {}", refusal.check, refusal.reason),
        Decision::Duplicate => panic!("{name}: a duplicate"),
    }
}
