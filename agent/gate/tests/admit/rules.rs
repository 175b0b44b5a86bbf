//! Grants beside the rules that the real server made.

use std::collections::BTreeSet;

use gate::{Decision, Grant};
use policy::{HostSource, NatSettings, Permitted};

/// One rule that lets somebody in: address, port as `tcp/22`, for how many seconds, and where packets
/// to it are led, as `10.0.0.5:22`.
pub(crate) type Rule = (String, String, u32, Option<String>);

/// Reads the rules that the real server left, as `-A FWKNOP_INPUT -s IP/32 -p tcp -m tcp --dport 22
/// -m comment --comment _exp_T+30 -j ACCEPT`.
pub(crate) fn rules_of_server(rules: &[String]) -> BTreeSet<Rule> {
    // What is led on is let in by another rule, for the port there.
    let is_led = |rule: &&String| rule.contains("-j DNAT");
    let leads = rules.iter().any(|rule| is_led(&rule));
    rules
        .iter()
        .filter(|rule| !leads || is_led(rule))
        .map(|rule| {
            let words: Vec<_> = rule.split_whitespace().collect();
            let after = |option: &str| {
                let place = words.iter().position(|word| *word == option).unwrap();
                words[place + 1]
            };
            let address = after("-s").strip_suffix("/32").unwrap().to_owned();
            let seconds = after("--comment").strip_prefix("_exp_T+").unwrap();
            let port = format!("{}/{}", after("-p"), after("--dport"));
            let to = leads.then(|| after("--to-destination").to_owned());
            (address, port, seconds.parse().unwrap(), to)
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
                    None,
                )
            })
            .collect(),
        Permitted::Forward(forwarding) => forwarding
            .asked_words()
            .map(|port| {
                let address = permit.address().to_string();
                (
                    address,
                    port,
                    permit.timeout_secs(),
                    Some(forwarding.to_string()),
                )
            })
            .collect(),
        Permitted::Close { .. } | Permitted::Cycle(_) | Permitted::Command { .. } => {
            BTreeSet::new()
        }
    }
}

/// A host that does about NAT what the real one did whose rules were written down.
pub(crate) const NAT_ON: NatSettings = NatSettings {
    is_possible: true,
    forward: true,
    local: true,
    names: false,
    reaches_loopback: true,
    source: HostSource {
        is_translated: false,
        v4: None,
        v6: None,
    },
    destination_rule: false,
};

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
