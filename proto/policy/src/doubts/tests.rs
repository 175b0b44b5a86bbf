//! What operators are warned of.

use std::collections::BTreeSet;

use super::*;
use crate::{NoIncludes, parse};

const NOW_SECS: u64 = 1_795_422_834;

fn policy(text: &str) -> Policy {
    parse("fleet.conf", text, &NoIncludes).unwrap()
}

fn host(name: &str, labels: &[(&str, &str)]) -> HostFacts {
    let owned = |(label, value): &(&str, &str)| ((*label).to_owned(), (*value).to_owned());
    let labels = labels.iter().map(owned);
    HostFacts {
        name: name.to_owned(),
        labels: labels.collect(),
    }
}

fn in_fleet(text: &str) -> Vec<String> {
    let hosts = [
        host("web-1", &[("role", "web"), ("env", "prod")]),
        host("db-1", &[("role", "db"), ("env", "stage")]),
    ];
    let users: BTreeSet<String> = ["alice", "bob"].map(str::to_owned).into();
    let fleet = Fleet {
        hosts: &hosts,
        users: &users,
    };
    let doubts = doubts(&policy(text), &fleet);
    doubts.iter().map(ToString::to_string).collect()
}

fn own(text: &str) -> Vec<String> {
    let doubts = own_doubts(&policy(text), NOW_SECS);
    doubts.iter().map(ToString::to_string).collect()
}

#[test]
fn a_user_whom_nobody_has_is_named_once_with_the_one_who_may_be_meant() {
    let text = "%group sre alcie, bob\nNAME a\nSOURCE ANY\nREQUIRE_USERNAME @sre, zed\n\
                NAME b\nSOURCE ANY\nREQUIRE_USERNAME @sre\n";

    assert_eq!(
        in_fleet(text),
        [
            "fleet.conf:2: REQUIRE_USERNAME: stanza a and 1 more: no user is called alcie yet (did you mean alice?)",
            "fleet.conf:2: REQUIRE_USERNAME: stanza a: no user is called zed yet",
        ]
    );
}

#[test]
fn a_group_that_nobody_is_in_is_named() {
    let text = "NAME a\nSOURCE ANY\nREQUIRE_USERNAME @new, bob\n%group new carol, dave\n";
    let said = in_fleet(text);

    assert!(
        said.contains(&"fleet.conf:4: %group: nobody of group @new has joined yet".to_owned()),
        "{said:?}"
    );
    assert!(own("%group new carol\n")[0].contains("uses @new"));
}

#[test]
fn hosts_lines_that_select_nothing_are_named_with_what_may_be_meant() {
    let text = "NAME a\nHOSTS role=wbe\nSOURCE ANY\nREQUIRE_USERNAME bob\n\
                NAME b\nHOSTS role=db\nHOSTS name=web1\nSOURCE ANY\nREQUIRE_USERNAME bob\n\
                NAME c\nHOSTS rloe=db env=prod\nSOURCE ANY\nREQUIRE_USERNAME bob\n\
                NAME d\nHOSTS role=db env=prod\nSOURCE ANY\nREQUIRE_USERNAME bob\n";

    assert_eq!(
        in_fleet(text),
        [
            "fleet.conf:1: HOSTS: stanza a: its HOSTS select none of the hosts that have joined (did you mean role=web?)",
            "fleet.conf:5: HOSTS: stanza b: the line `name=web1` selects none of the hosts that have joined (did you mean name=web-1?)",
            "fleet.conf:10: HOSTS: stanza c: its HOSTS select none of the hosts that have joined (did you mean role=db?)",
            "fleet.conf:14: HOSTS: stanza d: its HOSTS select none of the hosts that have joined",
        ]
    );
}

#[test]
fn an_end_within_two_weeks_is_told_and_a_later_one_is_not() {
    let ends = |at: u64| own(&format!("NAME a\nSOURCE ANY\nACCESS_EXPIRE_EPOCH {at}\n"));

    assert_eq!(ends(NOW_SECS + EXPIRY_NEAR_SECS + 1), [""; 0]);
    assert_eq!(
        ends(NOW_SECS + EXPIRY_NEAR_SECS),
        ["fleet.conf:1: ACCESS_EXPIRE: stanza a ends on 2026-12-07T08:33:54Z, in 14 days"]
    );
    assert!(ends(NOW_SECS + 1)[0].ends_with("in 1 day"));
    assert_eq!(
        own("NAME a\nSOURCE ANY\nACCESS_EXPIRE 12/01/2020\n"),
        ["fleet.conf:1: ACCESS_EXPIRE: stanza a has ended on 2020-12-01: it opens nothing"]
    );
}

const WIDE: &str = "NAME wide\nHOSTS role=web\nSOURCE 10.0.0.0/8\nREQUIRE_USERNAME alice, bob\nOPEN_PORTS tcp/1-1024\n";

fn is_shadowed(first: &str, later: &str) -> bool {
    let said = own(&format!("{first}\nNAME later\n{later}"));
    said.iter().any(|said| said.contains("never decides"))
}

#[test]
fn a_stanza_behind_a_wider_one_of_the_same_key_never_decides() {
    let narrow = "HOSTS role=web env=prod\nSOURCE 10.1.0.0/16\nREQUIRE_USERNAME bob\n\
                  OPEN_PORTS tcp/22\nFW_ACCESS_TIMEOUT 5\n";

    assert_eq!(
        own(&format!("{WIDE}\nNAME later\n{narrow}")),
        [
            "fleet.conf:7: NAME: stanza later never decides: stanza wide (fleet.conf:1) comes first and permits all that it permits (put the narrower one first, or take it out)"
        ]
    );
    for (from, to) in [
        ("HOSTS role=web env=prod", "HOSTS env=prod"),
        ("SOURCE 10.1.0.0/16", "SOURCE ANY"),
        ("REQUIRE_USERNAME bob", "REQUIRE_USERNAME bob, carol"),
        ("REQUIRE_USERNAME bob\n", ""),
        ("OPEN_PORTS tcp/22", "OPEN_PORTS udp/22"),
        (
            "OPEN_PORTS tcp/22",
            "OPEN_PORTS tcp/22\nKEY k-k-k\nHMAC_KEY h-h-h",
        ),
        (
            "OPEN_PORTS tcp/22",
            "OPEN_PORTS tcp/22\nENABLE_CMD_EXEC Y\nCMD_EXEC_USER x",
        ),
        (
            "OPEN_PORTS tcp/22",
            "OPEN_PORTS tcp/22\nSPA_SERVER_PORT 62202",
        ),
        (
            "OPEN_PORTS tcp/22",
            "OPEN_PORTS tcp/22\nDESTINATION 10.0.0.1",
        ),
        (
            "OPEN_PORTS tcp/22",
            "OPEN_PORTS tcp/22\nREQUIRE_SOURCE_ADDRESS N",
        ),
        (
            "OPEN_PORTS tcp/22",
            "OPEN_PORTS tcp/22\nFORCE_NAT 10.0.0.5 22",
        ),
    ] {
        let other = narrow.replace(from, to);
        assert!(!is_shadowed(WIDE, &other), "{other}");
    }
    assert!(!is_shadowed(
        &format!("{WIDE}ACCESS_EXPIRE 12/01/2030\n"),
        narrow
    ));
    assert!(!is_shadowed(&format!("{WIDE}MAX_FW_TIMEOUT 0\n"), narrow));
}
