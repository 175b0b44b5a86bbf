//! The names that dashboards and alerts rely on, and what stands behind them.

use std::time::Duration;

use super::*;

const NOW_SECS: u64 = 1_800_000_000;

fn report() -> Report {
    let mut grant_latency = Latency::default();
    grant_latency.note(Duration::from_micros(400), 2);
    let counters = engine::Counters {
        gate: gate::Counters {
            malformed: 5,
            copies: 1,
            replayed: 2,
            denied: 3,
            grants: 4,
            not_addressed: 6,
            ..gate::Counters::default()
        },
        ..engine::Counters::default()
    };
    Report {
        version: "1.2.3".to_owned(),
        generation: 7,
        policy_not_after_secs: NOW_SECS + 60,
        grants_open: 2,
        journal_writable: true,
        captures: vec![CaptureReport {
            name: "eth0".to_owned(),
            dropped: 9,
            counts: vec![("connections_late".to_owned(), 4)],
            ..CaptureReport::default()
        }],
        counters: counters
            .named()
            .map(|(name, count)| (name.to_owned(), count))
            .collect(),
        grant_latency,
        journal: Some(JournalReport {
            bytes: 4096,
            free_bytes: 1 << 40,
            unacknowledged: 3,
            oldest_unacknowledged_secs: 12,
        }),
        link: Some(LinkReport {
            is_connected: true,
            clock_offset_ms: Some(-1_500),
            certificate_expires_secs: NOW_SECS - 30,
            claims_lost: 1,
            ..LinkReport::default()
        }),
        ..Report::default()
    }
}

fn text_of(report: &Report) -> String {
    program::metrics::text(&registry(report, NOW_SECS)).unwrap()
}

#[test]
fn every_number_is_said_under_its_name() {
    let text = text_of(&report());

    for line in [
        r#"postern_build_info{version="1.2.3"} 1"#,
        r#"postern_policy_generation{which="applied"} 7"#,
        "postern_policy_expiry_seconds 60.0",
        r#"postern_packets_total{verdict="granted"} 4"#,
        r#"postern_packets_total{verdict="refused"} 11"#,
        r#"postern_packets_total{verdict="not_for_us"} 6"#,
        r#"postern_refused_total{reason="malformed"} 5"#,
        r#"postern_refused_total{reason="denied"} 3"#,
        r#"postern_replays_total{where="here"} 3"#,
        r#"postern_replays_total{where="elsewhere"} 1"#,
        "postern_grants_open 2",
        "postern_grant_latency_seconds_sum 0.0008",
        "postern_grant_latency_seconds_count 2",
        r#"postern_grant_latency_seconds_bucket{le="0.00025"} 0"#,
        r#"postern_grant_latency_seconds_bucket{le="0.0005"} 2"#,
        r#"postern_grant_latency_seconds_bucket{le="+Inf"} 2"#,
        r#"postern_capture_dropped_total{where="eth0"} 9"#,
        r#"postern_capture_up{where="eth0"} 1"#,
        r#"postern_capture_events_total{where="eth0",what="connections_late"} 4"#,
        "postern_firewall_drift 0",
        "postern_firewall_obstacles 0",
        "postern_journal_bytes 4096",
        "postern_journal_writable 1",
        "postern_events_unacknowledged 3",
        "postern_events_oldest_unacknowledged_seconds 12.0",
        "postern_controller_connected 1",
        "postern_clock_offset_seconds -1.5",
        r#"postern_certificate_expiry_seconds{of="host"} -30.0"#,
        r#"postern_claims_total{outcome="lost"} 1"#,
    ] {
        assert!(text.lines().any(|said| said == line), "{line} in {text}");
    }
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn a_host_that_stands_alone_says_nothing_of_a_controller() {
    let text = text_of(&Report {
        link: None,
        ..report()
    });

    for name in [
        "controller",
        "clock_offset",
        "certificate",
        "unacknowledged",
        "claims",
    ] {
        assert!(!text.contains(name), "{name} in {text}");
    }
    assert!(text.contains(r#"postern_replays_total{where="here"} 3"#));
}

#[test]
fn every_counter_that_is_named_is_one_that_the_gate_or_the_engine_has() {
    let known: Vec<_> = engine::Counters::default().named().collect();
    let named = VERDICTS.iter().flat_map(|(_, names)| names.iter());

    for name in named.chain(REASONS.iter()) {
        assert!(known.iter().any(|(known, _)| known == name), "{name}");
    }
}
