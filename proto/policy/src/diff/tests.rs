//! What an operator sees before applying.

use crate::{NoIncludes, Policy, diff, parse};

const OLD: &str = "\
%group sre alice
NAME ssh
SOURCE ANY
REQUIRE_USERNAME @sre
OPEN_PORTS tcp/22

NAME web
SOURCE ANY
KEY old-secret
HMAC_KEY old-hmac
OPEN_PORTS tcp/443

NAME gone
SOURCE ANY
OPEN_PORTS tcp/25
";

fn policy(text: &str) -> Policy {
    parse("fleet.conf", text, &NoIncludes).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn the_same_policy_in_another_spelling_does_not_differ() {
    let same = OLD.replace("SOURCE ANY", "SOURCE: any;");

    let diff = diff(&policy(OLD), &policy(&same));

    assert!(diff.is_empty());
    assert_eq!(diff.to_string(), "");
}

#[test]
fn changes_are_shown_stanza_by_stanza() {
    let new = OLD
        .replace("sre alice", "sre alice, bob")
        .replace("NAME gone\n", "NAME mail\n");

    let shown = diff(&policy(OLD), &policy(&new)).to_string();

    assert_eq!(
        shown,
        "- %group sre alice\n+ %group sre alice, bob\n\
         changed ssh\n  - REQUIRE_USERNAME alice\n  + REQUIRE_USERNAME alice, bob\n\
         added mail\n  + NAME mail\n  + SOURCE ANY\n  + OPEN_PORTS tcp/25\n  \
         + FW_ACCESS_TIMEOUT 30\n  + MAX_FW_TIMEOUT 300\n  + REQUIRE_SOURCE_ADDRESS Y\n\
         removed gone\n  - NAME gone\n  - SOURCE ANY\n  - OPEN_PORTS tcp/25\n  \
         - FW_ACCESS_TIMEOUT 30\n  - MAX_FW_TIMEOUT 300\n  - REQUIRE_SOURCE_ADDRESS Y\n"
    );
}

#[test]
fn a_changed_key_is_shown_by_its_fingerprint() {
    let new = OLD.replace("old-secret", "new-secret");

    let shown = diff(&policy(OLD), &policy(&new)).to_string();

    assert!(
        shown.starts_with("changed web\n  - KEY_BASE64 [redacted "),
        "{shown}"
    );
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn another_order_is_a_change() {
    let (first, rest) = OLD.split_once("NAME web").unwrap();
    let (group, ssh) = first.split_once('\n').unwrap();
    let new = format!("{group}\nNAME web{rest}{ssh}");

    let diff = diff(&policy(OLD), &policy(&new));

    assert!(diff.reordered);
    assert_eq!(diff.to_string(), "stanzas stand in another order\n");
}
