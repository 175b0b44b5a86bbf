//! What strangers reach, before and after.

use crate::{Exposure, HostFacts, NoIncludes, Policy, PortSet, parse};

const OLD: &str = "\
PROTECT tcp/22

NAME web
HOSTS role=web
SOURCE ANY
OPEN_PORTS tcp/22, tcp/443
PROTECT tcp/443
";

fn policy(text: &str) -> Policy {
    parse("fleet.conf", text, &NoIncludes).unwrap_or_else(|e| panic!("{e}"))
}

fn host(role: &str) -> HostFacts {
    HostFacts {
        name: format!("{role}-1"),
        labels: [("role".to_owned(), role.to_owned())].into(),
    }
}

/// What becomes public and what becomes hidden on a host of this role.
fn change(old: &str, new: &str, role: &str) -> (String, String) {
    let hidden = |text| policy(text).hides_on(&host(role));
    let exposure = Exposure::between(&hidden(old), &hidden(new));
    let words = |ports: &PortSet| ports.to_string();
    (
        words(&exposure.becomes_public),
        words(&exposure.becomes_hidden),
    )
}

#[test]
fn a_port_that_no_protect_names_any_more_becomes_public_and_a_new_one_hidden() {
    let moved = OLD.replace("PROTECT tcp/22", "PROTECT tcp/23");

    let said = change(OLD, &moved, "web");

    assert_eq!(said, ("tcp/22".to_owned(), "tcp/23".to_owned()));
}

#[test]
fn a_port_that_moves_from_one_protect_to_another_stays_hidden() {
    let moved = "NAME ssh\nHOSTS ANY\nSOURCE ANY\nPROTECT tcp/22, tcp/443\n";

    assert_eq!(change(OLD, moved, "web"), (String::new(), String::new()));
}

#[test]
fn a_mistyped_selector_makes_public_what_its_stanza_hid() {
    let mistyped = OLD.replace("role=web", "role=wbe");

    assert_eq!(change(OLD, &mistyped, "web").0, "tcp/443");
    assert_eq!(change(OLD, &mistyped, "db").0, "");
}

#[test]
fn the_last_protect_line_and_an_empty_policy_make_public_whatever_was_hidden() {
    let last = OLD.replace("PROTECT tcp/22", "");

    assert_eq!(change(OLD, &last, "db").0, "tcp/22");
    assert_eq!(change(OLD, "", "db").0, "tcp/22");
    assert_eq!(change(OLD, "", "web").0, "tcp/22,tcp/443");
    assert_eq!(change("", OLD, "web").1, "tcp/22,tcp/443");
}

#[test]
fn a_port_is_opened_by_a_stanza_that_selects_the_host_lists_it_and_has_somebody() {
    let policy = policy(&OLD.replace("SOURCE ANY\n", "SOURCE ANY\nRESTRICT_PORTS tcp/23\n"));
    let opens = |role, is_user: bool, port: &str| {
        let opens = policy.opens_on(&host(role), |_| is_user);
        opens.contains(port.parse::<spa::Service>().unwrap())
    };

    assert!(opens("web", true, "tcp/22"));
    assert!(!opens("web", false, "tcp/22"));
    assert!(!opens("db", true, "tcp/22"));
    assert!(!opens("web", true, "tcp/23"));
}

#[test]
fn what_a_range_hid_becomes_public_as_far_as_no_other_hides_it() {
    let old = "PROTECT tcp/8000-8010,icmp/echo\n";
    let new = "PROTECT tcp/8003,tcp/8007-8020\n";

    let (public, hidden) = change(old, new, "web");

    assert_eq!(public, "tcp/8000-8002,tcp/8004-8006,icmp/echo");
    assert_eq!(hidden, "tcp/8011-8020");
}
