//! Every kind of event in every format, beside files that are compared to the byte.
//!
//! `POSTERN_GOLDEN=write cargo nextest run -p fleet --all-features --test export` writes them anew.
#![cfg(feature = "export")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test that is wrong may panic"
)]

use std::path::Path;
use std::{env, fs};

use fleet::export::{self, Record};
use fleet::wire::AuditRecord;
use fleet::{Event, EventKind, EventRecord, Outcome, UserIdentity};
use serde_json::Value;

/// 2026-11-23T12:08:50.007Z, by `date -u -d @1795435730`.
const AT_MS: u64 = 1_795_435_730_007;

/// One record of every kind, and what is harder: a later kind, a body that nobody can read, a record
/// of a controller of version 1, and texts that were written to break a format.
fn records() -> Vec<Record> {
    let mut chain = [0; 32];
    let mut records = Vec::new();
    let mut events: Vec<Event> = EventKind::ALL.into_iter().map(filled).collect();
    let mut later = filled(EventKind::GrantOpened);
    later.kind = 77;
    events.push(later);
    events.push(hostile());
    for (event, id) in events.into_iter().zip(1..) {
        let record = EventRecord::after(id - 1, &chain, event);
        chain = record.chain.as_slice().try_into().unwrap();
        records.push(AuditRecord {
            id,
            host: "web-1".to_owned(),
            epoch: "0a1b2c3d".to_owned(),
            stored_at_ms: AT_MS + 1_500,
            record: Some(record),
            ..AuditRecord::default()
        });
    }
    let mut unreadable = records[0].clone();
    unreadable.id = 100;
    unreadable.flaw = "the body is not a serialized event".to_owned();
    unreadable.record.as_mut().unwrap().body = vec![0xff, 0, b'"', b'\n'];
    records.push(unreadable);
    records.push(AuditRecord {
        id: 101,
        host: "web-1".to_owned(),
        event: Some(filled(EventKind::Refused)),
        ..AuditRecord::default()
    });
    records.into_iter().map(Record::new).collect()
}

/// As such an event may be, with the fields that it usually has.
fn filled(kind: EventKind) -> Event {
    let mut event = Event::new(kind, AT_MS);
    event.generation = 7;
    event.set_outcome(Outcome::Success);
    let of_packet = matches!(
        kind,
        EventKind::GrantOpened
            | EventKind::GrantClosed
            | EventKind::GrantRevoked
            | EventKind::GrantBlocked
            | EventKind::ConnectionsCut
            | EventKind::CommandRun
            | EventKind::Refused
            | EventKind::Replay
            | EventKind::ReplayElsewhere
    );
    if of_packet {
        event.user = "alice".to_owned();
        event.set_user_identity(UserIdentity::Proven);
        event.key = "5d1c0f6e1d6a4b55".to_owned();
        event.stanza = "sre-ssh".to_owned();
        event.source = "203.0.113.7".to_owned();
        event.opened = "203.0.113.7".to_owned();
        event.ports = vec!["tcp/22".to_owned()];
        event.until_ms = AT_MS + 30_000;
        event.replay_digest = "ab".repeat(32);
        event.request_id = "ab".repeat(16);
        event.grant_id = "cd".repeat(16);
        event.clock_offset_ms = Some(-12);
    } else {
        event.actor = "operator/mbr".to_owned();
        event.request_id = "ef".repeat(16);
    }
    event.reason = match kind {
        EventKind::CommandRun => "start: /usr/bin/id -u",
        EventKind::PolicyRejected => "line 3: no such key\nline 9: no such port",
        EventKind::Noise => "packets of strangers",
        _ => "as the test wants it",
    }
    .to_owned();
    if matches!(kind, EventKind::Refused | EventKind::Replay) {
        event.set_outcome(Outcome::Denied);
    }
    if matches!(kind, EventKind::PolicyRejected | EventKind::GrantBlocked) {
        event.set_outcome(Outcome::Failure);
    }
    event
}

/// Whoever holds a shared key may write this as her name.
fn hostile() -> Event {
    let mut event = filled(EventKind::GrantOpened);
    event.user = "=HYPERLINK(\"http://x\",\"y\")".to_owned();
    event.set_user_identity(UserIdentity::Asserted);
    event.source = "2001:db8::7".to_owned();
    event.also_opened = vec!["198.51.100.0/24".to_owned(), "2001:db8::/64".to_owned()];
    event.ports = vec!["tcp/22".to_owned(), "udp/5000-5010".to_owned()];
    event.forwarded_to = "[2001:db8::5]:22".to_owned();
    event.reason = "a\"] b\\\n<0>1 - - forged\u{1b}[2J,\r=1".to_owned();
    event.count = 3;
    event.at_ms = u64::MAX;
    event
}

fn golden(name: &str, written: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/export")
        .join(name);
    if env::var_os("POSTERN_GOLDEN").is_some() {
        fs::write(&path, written).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap();
    for (ours, theirs) in written.lines().zip(kept.lines()) {
        assert_eq!(ours, theirs, "{name}");
    }
    assert_eq!(written.len(), kept.len(), "{name}");
}

fn lines(of: fn(&Record) -> String) -> String {
    records().iter().map(|record| of(record) + "\n").collect()
}

#[test]
fn every_kind_is_written_as_json() {
    golden("json.jsonl", &lines(export::json));
}

#[test]
fn every_kind_is_written_as_csv() {
    golden(
        "csv.csv",
        &(export::csv_header() + "\n" + &lines(export::csv)),
    );
}

#[test]
fn every_kind_is_written_as_ocsf() {
    golden("ocsf.jsonl", &lines(export::ocsf));
}

#[test]
fn every_kind_is_written_as_syslog() {
    golden("rfc5424.log", &lines(export::rfc5424));
}

#[test]
fn json_carries_what_is_needed_to_check_the_chain() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    let mut previous = [0; 32];
    for record in records().iter().filter(|record| record.id < 100) {
        let json: Value = serde_json::from_str(&export::json(record)).unwrap();
        let chain = hex::decode(json["chain"].as_str().unwrap()).unwrap();
        let read = EventRecord {
            seq: json["seq"].as_u64().unwrap(),
            body: STANDARD.decode(json["body"].as_str().unwrap()).unwrap(),
            chain: chain.clone(),
            chain_version: json["chain_version"].as_u64().unwrap().try_into().unwrap(),
        };

        assert_eq!(read.follows(&previous), fleet::event::Continuity::Follows);
        previous = chain.try_into().unwrap();
    }
}

#[test]
fn an_ocsf_event_has_what_its_class_requires() {
    // From the schema itself, 1.3.0: classes/*, requirement "required".
    let required = |class: u64| match class {
        0 => vec![],
        1007 => vec!["actor", "device", "process"],
        2004 => vec!["finding_info"],
        3004 => vec!["entity"],
        4001 => vec!["dst_endpoint"],
        6002 => vec!["app"],
        other => panic!("class {other}"),
    };
    let always = [
        "activity_id",
        "category_uid",
        "class_uid",
        "metadata",
        "severity_id",
        "time",
        "type_uid",
    ];
    for record in records() {
        let json: Value = serde_json::from_str(&export::ocsf(&record)).unwrap();
        let class = json["class_uid"].as_u64().unwrap();
        for name in required(class).into_iter().chain(always) {
            assert!(!json[name].is_null(), "{name} of {json}");
        }
        let type_uid = class * 100 + json["activity_id"].as_u64().unwrap();
        assert_eq!(json["type_uid"], type_uid);
    }
}

#[test]
fn the_columns_of_csv_are_those_of_its_header() {
    let columns = export::csv_header().split(',').count();
    for record in records() {
        let mut reader = csv::ReaderBuilder::new();
        let line = export::csv(&record);
        let row = reader
            .has_headers(false)
            .from_reader(line.as_bytes())
            .records()
            .next();
        assert_eq!(row.unwrap().unwrap().len(), columns, "{line}");
    }
}
