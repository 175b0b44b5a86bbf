use super::*;
use crate::report::{FloorReport, JournalReport};

const NOW_SECS: u64 = 1_800_000_000;

fn well() -> Report {
    Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        generation: 7,
        policy_not_after_secs: NOW_SECS + 7 * 86_400,
        journal_writable: true,
        journal: Some(JournalReport::default()),
        domains: vec![DomainReport {
            capabilities: Some(Vec::new()),
            ..DomainReport::new("gate".to_owned(), 7)
        }],
        captures: vec![CaptureReport {
            name: "eth0".to_owned(),
            ..CaptureReport::default()
        }],
        link: Some(LinkReport {
            is_connected: true,
            certificate_expires_secs: NOW_SECS + 20 * 3_600,
            ..LinkReport::default()
        }),
        ..Report::default()
    }
}

fn said_of(report: &Report) -> String {
    let checks = all(report, NOW_SECS);
    checks.iter().map(ToString::to_string).collect()
}

#[test]
fn a_host_that_is_well_has_nothing_to_warn_of() {
    let said = said_of(&well());

    assert!(said.lines().all(|line| line.starts_with("ok ")), "{said}");
}

#[test]
fn a_gate_that_has_powers_and_an_agent_of_one_process_are_worth_a_warning() {
    let one = Report {
        domains: Vec::new(),
        ..well()
    };
    let mut strong = well();
    strong.domains[0].capabilities = Some(vec!["CAP_NET_ADMIN".to_owned()]);

    assert!(
        said_of(&one).contains("are in one process"),
        "{}",
        said_of(&one)
    );
    assert!(
        said_of(&strong).contains("gate can do more"),
        "{}",
        said_of(&strong)
    );
}

#[test]
fn whatever_keeps_people_out_fails_and_says_what_to_do() {
    let capture = |down: Option<&str>, dropped| {
        vec![CaptureReport {
            name: "eth7".to_owned(),
            down: down.map(str::to_owned),
            dropped,
            ..CaptureReport::default()
        }]
    };
    let named = |name: &str, counts: &[(&str, u64)]| {
        let counts = counts
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count));
        vec![CaptureReport {
            name: name.to_owned(),
            counts: counts.collect(),
            ..CaptureReport::default()
        }]
    };
    let obstacle = |is_certain| FirewallReport {
        obstacles: vec![ObstacleReport {
            rule: "inet filter input: policy drop".to_owned(),
            services: vec!["tcp/22".to_owned()],
            is_certain,
            cure: vec!["hooks".to_owned()],
        }],
        ..FirewallReport::default()
    };
    let link = |is_connected, left: i64| {
        Some(LinkReport {
            is_connected,
            error: "no route".to_owned(),
            certificate_expires_secs: NOW_SECS.saturating_add_signed(left),
            ..LinkReport::default()
        })
    };
    let cases: Vec<(&str, Report)> = vec![
        (
            "fail  capture       nothing comes from eth7: gone",
            Report {
                captures: capture(Some("gone"), 0),
                ..well()
            },
        ),
        (
            "warn  capture       nothing has come from tcp 0.0.0.0:7 yet",
            Report {
                captures: named("tcp 0.0.0.0:7", &[]),
                ..well()
            },
        ),
        (
            "warn  capture       nothing has come from nflog:5 yet",
            Report {
                captures: named("nflog:5", &[]),
                ..well()
            },
        ),
        (
            "warn  capture       /x.pcap had no record where one should be",
            Report {
                captures: named("/x.pcap", &[("files_damaged", 1)]),
                ..well()
            },
        ),
        (
            "warn  capture       tcp 0.0.0.0:7: connections had to give way",
            Report {
                captures: named("tcp 0.0.0.0:7", &[("connections_crowded_out", 1)]),
                ..well()
            },
        ),
        (
            "warn  capture       eth7: 3 packets lost",
            Report {
                captures: capture(None, 3),
                ..well()
            },
        ),
        (
            "fail  obstacles     drops what is opened: inet",
            Report {
                firewall: obstacle(true),
                ..well()
            },
        ),
        (
            "warn  obstacles     may drop what is opened: inet",
            Report {
                firewall: obstacle(false),
                ..well()
            },
        ),
        (
            "warn  drift         chain gone",
            Report {
                drift: Some("chain gone".to_owned()),
                ..well()
            },
        ),
        (
            "fail  policy        this host is locked: stolen",
            Report {
                locked: Some("stolen".to_owned()),
                ..well()
            },
        ),
        (
            "fail  policy        generation 8 cannot be used",
            Report {
                rejected_generation: Some(8),
                ..well()
            },
        ),
        (
            "warn  policy        none yet",
            Report {
                generation: 0,
                ..well()
            },
        ),
        (
            "fail  policy        generation 7, in force for 0 s; it has ended",
            Report {
                policy_not_after_secs: NOW_SECS - 1,
                ..well()
            },
        ),
        (
            "warn  policy        generation 7, in force for 0 s; it ends by itself in 1 min",
            Report {
                policy_not_after_secs: NOW_SECS + 60,
                ..well()
            },
        ),
        (
            "fail  journal       takes no records: full",
            Report {
                journal_writable: false,
                journal_fault: Some("full".to_owned()),
                ..well()
            },
        ),
        (
            "warn  events        2 wait",
            Report {
                journal: Some(JournalReport {
                    unacknowledged: 2,
                    oldest_unacknowledged_secs: 301,
                    ..JournalReport::default()
                }),
                ..well()
            },
        ),
        (
            "fail  session       none with  for 0 s: no route",
            Report {
                link: link(false, 86_400),
                ..well()
            },
        ),
        (
            "warn  certificate   over in 1 min",
            Report {
                link: link(true, 60),
                ..well()
            },
        ),
        (
            "warn  certificate   over since 1 min",
            Report {
                link: link(true, -60),
                ..well()
            },
        ),
        (
            "warn  floor         older packets are refused for another 9 s: lost",
            Report {
                floor: FloorReport {
                    ends_in_secs: 9,
                    reason: "lost".to_owned(),
                    ..FloorReport::default()
                },
                ..well()
            },
        ),
    ];
    for (expected, report) in cases {
        let said = said_of(&report);
        let others = said
            .lines()
            .filter(|line| !line.starts_with("ok ") && !line.starts_with(' '));
        let others: Vec<_> = others.collect();
        assert!(
            matches!(&*others, [one] if one.starts_with(expected)),
            "{expected}: {said}"
        );
    }
}

#[test]
fn a_process_that_is_stopped_or_silent_fails_and_nothing_is_said_of_rules_that_nobody_keeps() {
    let with = |name: &str, change: &dyn Fn(&mut DomainReport)| {
        let mut domain = DomainReport::new(name.to_owned(), 8);
        change(&mut domain);
        let mut report = well();
        report.domains.push(domain);
        said_of(&report)
    };

    let silent = with("capture", &|domain| domain.answers = Some(false));
    assert!(
        silent.contains("fail  processes     capture does not answer\n"),
        "{silent}"
    );
    assert!(
        silent.contains("our rules are as they should be"),
        "{silent}"
    );
    let stopped = with("firewall", &|domain| {
        domain.state = Some("stopped".to_owned())
    });
    assert!(
        stopped.contains("fail  processes     firewall is stopped\n"),
        "{stopped}"
    );
    assert!(
        stopped.contains("fail  drift         not known"),
        "{stopped}"
    );
    for well in ["as they should be", "ok    hidden", "ok    obstacles"] {
        assert!(!stopped.contains(well), "{stopped}");
    }
}

#[test]
fn a_locked_host_is_unlocked_and_one_that_was_removed_joins_again() {
    let of = |reason: &str| {
        said_of(&Report {
            locked: Some(reason.to_owned()),
            ..well()
        })
    };

    assert!(of("stolen").contains("postern member unlock host/NAME\n"));
    let removed = of(MEMBERSHIP_ENDED);
    assert!(
        removed.contains("join --token-file FILE --force\n"),
        "{removed}"
    );
    assert!(!removed.contains("unlock"), "{removed}");
}

#[test]
fn where_an_agent_has_stopped_that_is_a_failure_and_before_its_first_start_a_warning() {
    let nobody = StatusFailed::Unreached(Unreached::NoAgent {
        path: "/x".into(),
        cause: std::io::ErrorKind::NotFound.into(),
    });

    let nobody = Err(nobody);
    let said = |has_run| agent(&nobody, has_run)[0].to_string();

    for (has_run, verdict) in [(true, "fail"), (false, "warn")] {
        let said = said(has_run);
        let words = format!("{verdict}  agent         no agent runs");
        assert!(said.starts_with(&words), "{said}");
    }
}
