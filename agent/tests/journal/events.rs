//! Events: their numbers, their chain, and when they go.

use std::fs;

use agent::journal::{FILE_NAME, FloorReason, Journal, KEPT_EVENTS, LiveGrant, Retention};
use fleet::EventKind;
use fleet::event::{BODY_BYTES_MAX, ChainVersion, Continuity};
use tempfile::TempDir;

use crate::support::{NOW_SECS, WINDOW, assert_chained, at, event, open, options, reader, seqs};

#[test]
fn events_are_numbered_without_gaps_and_chained_across_starts() {
    let dir = TempDir::new().unwrap();
    let mut start = open(dir.path());
    for n in 1..=3 {
        assert_eq!(start.journal.stage(event(EventKind::Refused, n)), n);
    }
    start.journal.commit().unwrap();
    drop(start);
    let mut again = open(dir.path());
    assert_eq!(again.journal.stage(event(EventKind::Refused, 4)), 4);
    again.journal.commit().unwrap();

    let events = reader(dir.path()).events_after(0, 100).unwrap();

    for (n, record) in (1..).zip(&events) {
        assert_eq!((record.seq, record.event().unwrap().at_ms), (n, n));
    }
    assert_eq!(events.len(), 4);
    assert_chained(&events);
}

#[test]
fn an_event_of_any_length_is_kept_at_a_length_that_every_controller_takes() {
    let dir = TempDir::new().unwrap();
    let mut start = open(dir.path());
    let mut rejected = event(EventKind::PolicyRejected, 1);
    rejected.reason = "access.conf, line 7: KEY is missing\n".repeat(500);
    start.journal.stage(rejected);
    start.journal.commit().unwrap();

    let events = reader(dir.path()).events_after(0, 100).unwrap();

    assert!(events[0].body.len() <= BODY_BYTES_MAX);
    let reason = events[0].event().unwrap().reason;
    assert!(reason.starts_with("access.conf, line 7") && reason.ends_with("bytes cut]"));
}

#[test]
fn events_are_chained_as_the_controller_understands_and_for_good_once_it_understands_more() {
    let dir = TempDir::new().unwrap();
    let mut start = open(dir.path());
    for version in [ChainVersion::V1, ChainVersion::V2, ChainVersion::V1] {
        start.journal.use_chain_version(version);
        start.journal.stage(event(EventKind::Refused, 1));
        start.journal.commit().unwrap();
    }
    drop(start);
    let mut again = open(dir.path());
    again.journal.stage(event(EventKind::Refused, 1));
    again.journal.commit().unwrap();

    let events = reader(dir.path()).events_after(0, 100).unwrap();
    let versions: Vec<u32> = events.iter().map(|record| record.chain_version).collect();
    assert_eq!(versions, [1, 2, 2, 2]);
    assert_chained(&events);
}

/// The journal lay in tests/data: postern-agent 0.1.0 wrote it.
#[test]
fn a_journal_of_the_version_before_goes_on_with_its_events_grants_and_chain() {
    let dir = TempDir::new().unwrap();
    let old = rusqlite::Connection::open(dir.path().join(FILE_NAME)).unwrap();
    old.execute_batch(include_str!("../data/journal-1.sql"))
        .unwrap();
    old.close().unwrap();
    fs::write(
        dir.path().join("journal.epoch"),
        "5cc2fae88495be6dc4acde3115cc0f59\n",
    )
    .unwrap();

    let mut start = open(dir.path());
    start.journal.stage(event(EventKind::AgentStarted, 6));
    start.journal.commit().unwrap();
    start.journal.use_chain_version(ChainVersion::V2);
    start.journal.stage(event(EventKind::AgentStarted, 7));
    start.journal.commit().unwrap();

    assert_eq!(start.floor.why, FloorReason::Known);
    let events = reader(dir.path()).events_after(0, 100).unwrap();
    assert_chained(&events);
    let versions: Vec<u32> = events.iter().map(|record| record.chain_version).collect();
    assert_eq!(versions, [1, 1, 1, 1, 1, 1, 2]);
    let found = &start.open_grants;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].opened.stanza, "sre-ssh");
    assert_eq!(
        found[0].grant,
        LiveGrant {
            id: "0123456789abcdef0123456789abcdef".parse().unwrap(),
            until_ms: 1_800_000_031_000,
            rules: vec![
                "192.0.2.7 tcp/22".parse().unwrap(),
                "192.0.2.7 udp/53".parse().unwrap()
            ],
        }
    );
}

#[test]
fn acknowledged_events_go_but_the_newest_and_the_numbering_goes_on() {
    let dir = TempDir::new().unwrap();
    let mut start = open(dir.path());
    let last = KEPT_EVENTS + 3;
    for n in 1..=last {
        start.journal.stage(event(EventKind::Refused, n));
    }
    start.journal.commit().unwrap();
    let epoch = start.journal.epoch().to_owned();

    start.journal.acknowledged("another epoch", last);
    assert!(!start.journal.has_staged());
    start.journal.acknowledged(&epoch, 2);
    start.journal.commit().unwrap();
    let reader = reader(dir.path());
    assert_eq!(reader.oldest().unwrap(), Some((3, 3)));
    start.journal.acknowledged(&epoch, last + 99);
    start.journal.commit().unwrap();

    assert_eq!(reader.acknowledged().unwrap(), last);
    let kept = reader.events_after(0, u32::MAX).unwrap();
    assert_eq!(kept.len() as u64, KEPT_EVENTS);
    assert_eq!(kept.first().map(|record| record.seq), Some(4));
    for pair in kept.windows(2) {
        let before = pair[0].chain.as_slice().try_into().unwrap();
        assert_eq!(pair[1].follows(before), Continuity::Follows);
    }
    drop(start);
    let mut again = open(dir.path());
    let next = event(EventKind::Refused, last + 1);
    assert_eq!(again.journal.stage(next), last + 1);
}

/// A controller that has lost what it acknowledged must not take what a host still shows its owner
/// for what it will be sent.
#[test]
fn events_that_are_kept_after_they_were_acknowledged_are_none_that_the_controller_may_await() {
    let dir = TempDir::new().unwrap();
    let mut start = open(dir.path());
    let reader = reader(dir.path());
    assert_eq!(reader.end().unwrap().oldest_seq, 0);
    for n in 1..=5 {
        start.journal.stage(event(EventKind::Refused, n));
    }
    start.journal.commit().unwrap();
    let epoch = start.journal.epoch().to_owned();
    for (acknowledged, oldest) in [(0, 1), (3, 4), (5, 5)] {
        start.journal.acknowledged(&epoch, acknowledged);
        start.journal.commit().unwrap();

        assert_eq!(reader.end().unwrap().oldest_seq, oldest);
        assert_eq!(seqs(&reader), [1, 2, 3, 4, 5]);
    }
}

#[test]
fn events_of_a_host_without_controller_go_after_their_days() {
    let dir = TempDir::new().unwrap();
    let day_ms = 24 * 60 * 60 * 1_000;
    let mut options = options(dir.path(), WINDOW);
    options.retention = Retention::Days(2);
    let mut start = Journal::open(&options, NOW_SECS).unwrap();
    for days in 0..5 {
        let at_ms = NOW_SECS * 1_000 - (5 - days) * day_ms;
        start.journal.stage(event(EventKind::Refused, at_ms));
    }
    start.journal.commit().unwrap();

    start.journal.tidy(at(NOW_SECS), false);
    start.journal.commit().unwrap();

    assert_eq!(seqs(&reader(dir.path())), [4, 5]);
}
