//! Events of a host that may say anything: their bodies, their chain, and what is exported of them.
//!
//! However long the fields of an event are, its record fits; and whatever a field holds, an exported
//! record is one line without control characters, so that nobody forges a second one.

use fleet::event::BODY_BYTES_MAX;
use fleet::export::{Record, csv, json, ocsf, rfc5424};
use fleet::wire::AuditRecord;
use fleet::{Event, EventRecord};
use prost::Message as _;

pub(crate) fn check(bytes: &[u8]) {
    if let Ok(event) = Event::from_body(bytes) {
        let record = EventRecord::after(event.seq, &[7; 32], event);
        assert!(
            record.body.len() <= BODY_BYTES_MAX,
            "{} bytes",
            record.body.len()
        );
        assert_eq!(record.event().map(|event| event.seq), Ok(record.seq));
        is_one_line_each(&Record::new(AuditRecord {
            record: Some(record),
            ..AuditRecord::default()
        }));
    }
    if let Ok(record) = AuditRecord::decode(bytes) {
        is_one_line_each(&Record::new(record));
    }
    if let Ok(record) = EventRecord::decode(bytes) {
        let _ = (record.follows(&[0; 32]), record.event());
    }
}

fn is_one_line_each(record: &Record) {
    let cells = csv(record);
    let forms = [json(record), ocsf(record), rfc5424(record)];
    for text in forms.iter().chain([&cells]) {
        let line = text.strip_suffix('\n').unwrap_or(text);
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    let _ = record.summary();
}
