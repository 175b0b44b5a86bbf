//! The agent's numbers as Prometheus wants them, made of a [`Report`]: nothing is counted for them alone.
//!
//! | name | what |
//! |---|---|
//! | `postern_build_info{version}` | 1 |
//! | `postern_policy_generation{which}` | the generation in force |
//! | `postern_policy_expiry_seconds` | until the policy ends by itself, where it does |
//! | `postern_packets_total{verdict}` | what became of packets |
//! | `postern_refused_total{reason}` | by which check packets and grants were turned away |
//! | `postern_replays_total{where}` | seen before: here, or on another host |
//! | `postern_grants_open`, `postern_grant_latency_seconds` | from being read to being open |
//! | `postern_capture_dropped_total{where}`, `postern_capture_up{where}` | each capture |
//! | `postern_capture_events_total{where,what}` | connections, files that were replaced, overflows |
//! | `postern_process_up{process}` | whether each process of the agent does its work |
//! | `postern_journal_bytes`, `postern_journal_writable` | the journal |
//! | `postern_firewall_drift`, `postern_firewall_obstacles` | the packet filter |
//! | `postern_events_unacknowledged`, `postern_events_oldest_unacknowledged_seconds` | joined hosts |
//! | `postern_controller_connected`, `postern_clock_offset_seconds` | joined hosts |
//! | `postern_certificate_expiry_seconds{of}` | joined hosts |
//! | `postern_claims_total{outcome}` | joined hosts |

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::report::{
    CaptureReport, FirewallReport, JournalReport, LATENCY_BOUNDS_MICROS, Latency, LinkReport,
    Report,
};

type Label = [(&'static str, String); 1];
type Seconds = Gauge<f64, std::sync::atomic::AtomicU64>;

/// What a packet was worth, by the counters that say so.
const VERDICTS: [(&str, &[&str]); 5] = [
    ("granted", &["granted"]),
    ("claimed", &["claims"]),
    (
        "refused",
        &[
            "malformed",
            "no_candidate",
            "over_source_budget",
            "over_total_budget",
            "not_authentic",
            "copies",
            "stale",
            "replayed",
            "denied",
        ],
    ),
    ("duplicate", &["duplicates"]),
    (
        "not_for_us",
        &[
            "not_ip",
            "damaged",
            "fragments_refused",
            "fragments_expired",
            "fragments_crowded_out",
            "impossible_source",
            "other_transport",
            "not_addressed",
        ],
    ),
];

/// Reasons to be refused, each the name of its counter.
const REASONS: [&str; 12] = [
    "malformed",
    "no_candidate",
    "over_source_budget",
    "over_total_budget",
    "not_authentic",
    "copies",
    "stale",
    "replayed",
    "denied",
    "over_limit",
    "not_recorded",
    "not_opened",
];

/// Everything that there is to say of an agent that is as `report` says, at `now_secs` (seconds since
/// the Unix epoch).
#[must_use]
pub fn registry(report: &Report, now_secs: u64) -> Registry {
    let mut registry = Registry::with_prefix("postern");
    let all = &mut registry;
    labelled(
        all,
        ("build_info", "The version that runs"),
        "version",
        [(report.version.clone(), 1)],
    );
    of_policy(all, report, now_secs);
    let elsewhere = report.link.as_ref().map(|link| link.claims_lost);
    of_packets(all, &report.counters, elsewhere);
    gauge(all, "grants_open", "Grants open now", report.grants_open);
    all.register_with_unit(
        "grant_latency",
        "From reading a packet to its hole being open, without waiting for a claim",
        Unit::Seconds,
        report.grant_latency,
    );
    of_captures(all, &report.captures);
    let up = report.domains.iter();
    let up = up.map(|domain| (domain.name.clone(), u64::from(!domain.is_silent())));
    let what = "Whether the process of the agent does its work";
    labelled(all, ("process_up", what), "process", up);
    of_firewall(all, report.drift.is_some(), &report.firewall);
    gauge(
        all,
        "journal_writable",
        "Whether the journal takes records: nothing opens without one",
        u64::from(report.journal_writable),
    );
    if let Some(journal) = &report.journal {
        of_journal(all, journal, report.link.is_some());
    }
    if let Some(link) = &report.link {
        of_link(all, link, now_secs);
    }
    registry
}

fn of_policy(all: &mut Registry, report: &Report, now_secs: u64) {
    labelled(
        all,
        ("policy_generation", "The generation in force"),
        "which",
        [("applied".to_owned(), report.generation)],
    );
    if report.policy_not_after_secs > 0 {
        seconds(
            all,
            "policy_expiry",
            "Until the policy in force ends by itself",
            until(report.policy_not_after_secs, now_secs),
        );
    }
}

/// `elsewhere` is how many were seen on other hosts, where others are asked.
fn of_packets(all: &mut Registry, counters: &[(String, u64)], elsewhere: Option<u64>) {
    let count = |wanted: &str| {
        let mut found = counters.iter().filter(|(name, _)| name == wanted);
        found.next().map_or(0, |(_, count)| *count)
    };
    let verdicts = VERDICTS.map(|(verdict, counters)| {
        let sum = counters.iter().map(|name| count(name)).sum();
        (verdict.to_owned(), sum)
    });
    counted(
        all,
        ("packets", "What became of packets"),
        "verdict",
        verdicts,
    );
    let reasons = REASONS.map(|reason| (reason.to_owned(), count(reason)));
    let what = "Packets and grants turned away, by the check that did";
    counted(all, ("refused", what), "reason", reasons);
    let here = ("here".to_owned(), count("copies") + count("replayed"));
    let elsewhere = elsewhere.map(|count| ("elsewhere".to_owned(), count));
    let what = "Messages that had been seen before";
    counted(
        all,
        ("replays", what),
        "where",
        [here].into_iter().chain(elsewhere),
    );
}

fn of_captures(all: &mut Registry, captures: &[CaptureReport]) {
    let dropped = captures.iter().map(|one| (one.name.clone(), one.dropped));
    let what = "Packets lost because the agent was too slow";
    counted(all, ("capture_dropped", what), "where", dropped);
    let up = captures
        .iter()
        .map(|one| (one.name.clone(), u64::from(one.down.is_none())));
    let what = "Whether packets come from there";
    labelled(all, ("capture_up", what), "where", up);
    let events = Family::<[(&'static str, String); 2], Counter>::default();
    for one in captures {
        for (what, count) in &one.counts {
            let labels = [("where", one.name.clone()), ("what", what.clone())];
            events.get_or_create(&labels).inc_by(*count);
        }
    }
    let help = "What else befell a capture: connections, files replaced, overflows";
    all.register("capture_events", help, events);
}

fn of_firewall(all: &mut Registry, drifts: bool, firewall: &FirewallReport) {
    gauge(
        all,
        "firewall_drift",
        "Whether our rules were found to be other than they should be",
        u64::from(drifts),
    );
    gauge(
        all,
        "firewall_obstacles",
        "Rules of the host that would drop what a grant opens",
        firewall.obstacles.len() as u64,
    );
}

fn of_journal(all: &mut Registry, journal: &JournalReport, is_joined: bool) {
    let JournalReport {
        bytes,
        free_bytes,
        unacknowledged,
        oldest_unacknowledged_secs,
    } = *journal;
    let bytes_of = |all: &mut Registry, name: &str, help: &str, value: u64| {
        all.register_with_unit(name, help, Unit::Bytes, gauge_of(value));
    };
    bytes_of(all, "journal", "The journal on disk", bytes);
    bytes_of(all, "journal_free", "Free room on its disk", free_bytes);
    if is_joined {
        gauge(
            all,
            "events_unacknowledged",
            "Events that the controller does not have yet",
            unacknowledged,
        );
        seconds(
            all,
            "events_oldest_unacknowledged",
            "For how long the oldest of them has waited",
            of_secs(oldest_unacknowledged_secs),
        );
    }
}

fn of_link(all: &mut Registry, link: &LinkReport, now_secs: u64) {
    gauge(
        all,
        "controller_connected",
        "Whether a session with the controller is open",
        u64::from(link.is_connected),
    );
    if let Some(ms) = link.clock_offset_ms {
        seconds(
            all,
            "clock_offset",
            "How far this host's clock is ahead of the controller's",
            std::time::Duration::from_millis(ms.unsigned_abs()).as_secs_f64()
                * if ms < 0 { -1.0 } else { 1.0 },
        );
    }
    if link.certificate_expires_secs > 0 {
        let expiry = Family::<Label, Seconds>::default();
        let left = until(link.certificate_expires_secs, now_secs);
        expiry.get_or_create(&[("of", "host".to_owned())]).set(left);
        all.register_with_unit(
            "certificate_expiry",
            "Until a certificate is over",
            Unit::Seconds,
            expiry,
        );
    }
    let claims = [
        ("won", link.claims_won),
        ("lost", link.claims_lost),
        ("unanswered", link.claims_unanswered),
    ];
    let claims = claims.map(|(outcome, count)| (outcome.to_owned(), count));
    counted(all, ("claims", "Claims of this host"), "outcome", claims);
}

fn gauge_of(value: u64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    gauge
}

fn gauge(all: &mut Registry, name: &str, help: &str, value: u64) {
    all.register(name, help, gauge_of(value));
}

fn seconds(all: &mut Registry, name: &str, help: &str, value: f64) {
    let gauge = Seconds::default();
    gauge.set(value);
    all.register_with_unit(name, help, Unit::Seconds, gauge);
}

fn labelled(
    all: &mut Registry,
    (name, help): (&str, &str),
    label: &'static str,
    values: impl IntoIterator<Item = (String, u64)>,
) {
    let family = Family::<Label, Gauge>::default();
    for (value, number) in values {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        family.get_or_create(&[(label, value)]).set(number);
    }
    all.register(name, help, family);
}

fn counted(
    all: &mut Registry,
    (name, help): (&str, &str),
    label: &'static str,
    values: impl IntoIterator<Item = (String, u64)>,
) {
    let family = Family::<Label, Counter>::default();
    for (value, count) in values {
        family.get_or_create(&[(label, value)]).inc_by(count);
    }
    all.register(name, help, family);
}

fn of_secs(secs: u64) -> f64 {
    std::time::Duration::from_secs(secs).as_secs_f64()
}

/// How long until then; below 0 when it is past.
fn until(then_secs: u64, now_secs: u64) -> f64 {
    of_secs(then_secs.saturating_sub(now_secs)) - of_secs(now_secs.saturating_sub(then_secs))
}

// === impl Latency ===

impl EncodeMetric for Latency {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> std::fmt::Result {
        let micros = |micros| std::time::Duration::from_micros(micros).as_secs_f64();
        let bounds = LATENCY_BOUNDS_MICROS.map(micros);
        let bounds = bounds.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(self.counts).collect();
        let (sum, count) = (micros(self.sum_micros), self.count());
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests;
