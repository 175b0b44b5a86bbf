//! What must hold, and what is said when it does not.

use std::collections::BTreeSet;

use crate::{Fleet, HostFacts, NoIncludes, Policy, TestOutcome, parse};

const NOW_SECS: u64 = 1_795_422_834;

const POLICY: &str = "\
%group sre alice, bob
NAME sre-ssh
HOSTS role=web
SOURCE 198.51.100.0/24
REQUIRE_USERNAME @sre
OPEN_PORTS tcp/22

NAME named
HOSTS name=db-1
SOURCE ANY
REQUIRE_USERNAME carol
OPEN_PORTS tcp/5432-5440
";

fn policy(tests: &str) -> Policy {
    parse("fleet.conf", &format!("{POLICY}\n{tests}\n"), &NoIncludes).unwrap()
}

fn host(name: &str, role: &str) -> HostFacts {
    HostFacts {
        name: name.to_owned(),
        labels: [("role".to_owned(), role.to_owned())].into(),
    }
}

/// `ok`, `open` or `failed`, and the words.
fn run(test: &str, has_fleet: bool) -> (&'static str, String) {
    let hosts = [
        host("web-1", "web"),
        host("web-2", "web"),
        host("db-1", "db"),
    ];
    let users: BTreeSet<String> = ["alice", "bob", "carol"].map(str::to_owned).into();
    let fleet = Fleet {
        hosts: &hosts,
        users: &users,
    };
    let policy = policy(&format!("%test {test}"));
    let fleet = has_fleet.then_some(&fleet);
    let outcome = policy.run_tests(fleet, NOW_SECS).remove(0).outcome;
    match outcome {
        TestOutcome::Passed { by } => ("ok", by),
        TestOutcome::Failed { why } => ("failed", why),
        TestOutcome::NotRun { why } => ("open", why),
    }
}

fn mistake(line: &str) -> String {
    let text = format!("{POLICY}{line}\n");
    let invalid = parse("fleet.conf", &text, &NoIncludes).unwrap_err();
    invalid.mistakes[0].to_string()
}

#[test]
fn a_test_holds_when_it_holds_on_every_host_and_for_every_user_it_names() {
    for (test, expected) in [
        ("allow alice web-1 tcp/22 from 198.51.100.7", "ok"),
        ("allow alice web-1 tcp/22", "ok"),
        ("allow @sre role=web tcp/22", "ok"),
        ("allow alice,@sre name=web-2 tcp/22", "ok"),
        ("allow alice web-1 tcp/22 from 192.0.2.1", "failed"),
        ("allow @sre ANY tcp/22", "failed"),
        ("allow carol db-1 tcp/5432-5440", "ok"),
        ("allow carol db-1 tcp/5432,tcp/22", "failed"),
        ("deny carol role=web tcp/22", "ok"),
        ("deny carol ANY ANY", "failed"),
        ("deny @sre db-1 ANY", "ok"),
        ("deny carol db-1 tcp/1-5432", "failed"),
        ("deny * role=web tcp/23-65535", "ok"),
        ("deny * role=web tcp/22", "failed"),
        ("deny * role=web tcp/22 from 192.0.2.1", "ok"),
    ] {
        assert_eq!(run(test, true).0, expected, "{test}: {:?}", run(test, true));
    }
}

#[test]
fn a_test_that_fails_says_who_where_and_by_which_line() {
    assert_eq!(
        run("allow alice web-1 tcp/22 from 192.0.2.1", true).1,
        "alice on web-1: may not open tcp/22: stanza sre-ssh (fleet.conf:2): source 192.0.2.1 is not in SOURCE"
    );
    assert_eq!(
        run("deny bob role=web ANY", true).1,
        "bob on web-1: may open tcp/22, by stanza sre-ssh (fleet.conf:2)"
    );
    assert_eq!(
        run("allow carol web-1 tcp/5432", true).1,
        "carol on web-1: may not open tcp/5432: stanza sre-ssh (fleet.conf:2): user `carol` is not in REQUIRE_USERNAME"
    );
}

#[test]
fn without_a_fleet_only_what_depends_on_labels_that_nobody_knows_is_left_open() {
    for (test, expected) in [
        ("allow alice role=web tcp/22", "ok"),
        ("allow alice role=db tcp/22", "failed"),
        ("allow alice web-1 tcp/22", "open"),
        ("allow alice web-1 tcp/80", "failed"),
        ("deny alice web-1 tcp/22", "open"),
        ("deny carol web-1 ANY", "ok"),
        ("allow carol db-1 tcp/5432", "ok"),
        ("deny carol role=db tcp/5432", "open"),
        ("deny carol db-1 tcp/5432", "failed"),
    ] {
        assert_eq!(
            run(test, false).0,
            expected,
            "{test}: {:?}",
            run(test, false)
        );
    }
    let (_, why) = run("allow alice web-1 tcp/22", false);
    assert!(
        why.contains("labels of stanza sre-ssh (fleet.conf:2)"),
        "{why}"
    );
}

#[test]
fn names_that_nobody_has_yet_are_judged_and_told() {
    let policy = policy("%test deny mallory web-9 tcp/23\n%test allow alcie env=prod tcp/22");
    let hosts = [host("web-1", "web")];
    let users: BTreeSet<String> = ["alice".to_owned()].into();
    let fleet = Fleet {
        hosts: &hosts,
        users: &users,
    };

    let run = policy.run_tests(Some(&fleet), NOW_SECS);

    assert!(
        matches!(run[0].outcome, TestOutcome::Passed { .. }),
        "{:?}",
        run[0]
    );
    assert_eq!(
        run[0].doubts,
        [
            "no host is called web-9 yet (did you mean web-1?)",
            "no user is called mallory yet"
        ]
    );
    assert_eq!(
        run[1].doubts,
        [
            "no host has the labels env=prod yet",
            "no user is called alcie yet (did you mean alice?)"
        ]
    );
}

#[test]
fn a_key_in_the_text_is_anybodys_who_holds_it() {
    let text = "NAME old\nSOURCE ANY\nKEY k-k-k\nHMAC_KEY h-h-h\nOPEN_PORTS tcp/22\n\
                %test deny mallory web-1 tcp/22\n";
    let policy = parse("fleet.conf", text, &NoIncludes).unwrap();

    let run = policy.run_tests(None, NOW_SECS);

    let TestOutcome::Failed { why } = &run[0].outcome else {
        panic!("{run:?}");
    };
    assert!(why.ends_with("for whoever holds its key"), "{why}");
}

#[test]
fn a_wrong_test_is_a_mistake_with_file_line_and_what_to_write() {
    for (line, expected) in [
        ("%test", "the keyword has no value"),
        (
            "%test permit alice web-1 tcp/22",
            "begins with allow or deny",
        ),
        ("%test allow alice web-1", "no port is named"),
        ("%test allow alice tcp/22", "no host is named"),
        (
            "%test allow @nobody web-1 tcp/22",
            "group `@nobody` is not defined",
        ),
        ("%test allow alice web-1 web-2 tcp/22", "is not a label"),
        ("%test allow alice web-1 tcp/99999", "is not a port"),
        (
            "%test allow alice web-1 tcp/22 from",
            "no address stands behind",
        ),
        (
            "%test allow alice web-1 tcp/22 from 10.0.0.0/8",
            "is not an address",
        ),
        ("%test allow * web-1 tcp/22", "only behind deny"),
    ] {
        let said = mistake(line);
        assert!(
            said.starts_with("fleet.conf:13: %test: ") && said.contains(expected),
            "{line}: {said}"
        );
    }
}

#[test]
fn tests_are_a_part_of_the_text_that_is_printed_and_compared() {
    let policy = policy("%test  allow alice   web-1 tcp/22");
    let text = policy.print(crate::Secrets::Show);

    assert!(
        text.contains("\n%test allow alice web-1 tcp/22\n"),
        "{text}"
    );
    assert_eq!(parse("other.conf", &text, &NoIncludes).unwrap(), policy);
    let without = parse("fleet.conf", POLICY, &NoIncludes).unwrap();
    assert!(!crate::diff(&without, &policy).is_empty());
}
