//! Syslog (RFC 5424) with structured data.

use std::fmt::Write as _;

use super::fields::Field;
use super::printable::printable;
use super::record::Record;
use super::severity::Severity;
use super::time;

/// authpriv: security and authorization messages.
const FACILITY: u8 = 10;
/// The number is the one that RFC 5612 keeps for examples: we have none of our own.
const SD_ID: &str = "postern@32473";
/// RFC 5424, 6.2.4.
const HOSTNAME_BYTES_MAX: usize = 255;
/// RFC 5424, 6.2.7.
const MSGID_BYTES_MAX: usize = 32;
/// Receivers cut what is longer than they expect, 8 KiB mostly: one value must not push out the rest.
const VALUE_BYTES_MAX: usize = 1024;

/// Writes a record as one syslog message, without framing.
///
/// It is one line of UTF-8: control characters, in which a reader could see a second message, are
/// written as `#` and three octal digits, as rsyslog writes those that it receives. The time is
/// that of the event, by the host's clock. All fields that have a value are in the structured data,
/// and the sentence after it; long values are cut, which `…` shows. The body is left out.
pub fn message(record: &Record) -> String {
    let priority = FACILITY * 8 + level(Severity::of(record));
    let time = time::rfc3339_ms(record.event.at_ms);
    let mut message = format!(
        "<{priority}>1 {} {} postern - {} [{SD_ID}",
        time.as_deref().unwrap_or("-"),
        name(&record.host, HOSTNAME_BYTES_MAX),
        name(&record.kind_name(), MSGID_BYTES_MAX),
    );
    for Field { name, value } in record.fields() {
        if !value.is_empty() {
            let text = cut(printable(&value.joined(" ")));
            let _ = write!(message, " {name}=\"{}\"", escaped(&text));
        }
    }
    let _ = write!(message, "] {}", cut(printable(&record.summary())));
    message
}

/// RFC 5424, 6.2.1.
const fn level(severity: Severity) -> u8 {
    match severity {
        Severity::Error => 3,
        Severity::Warning => 4,
        Severity::Notice => 5,
        Severity::Informational => 6,
    }
}

/// A word of the header: printable ASCII without spaces; `-` for none.
fn name(text: &str, bytes_max: usize) -> String {
    let word: String = text
        .chars()
        .map(|character| {
            if character.is_ascii_graphic() {
                character
            } else {
                '?'
            }
        })
        .take(bytes_max)
        .collect();
    if word.is_empty() {
        "-".to_owned()
    } else {
        word
    }
}

fn cut(mut text: String) -> String {
    if text.len() > VALUE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(VALUE_BYTES_MAX));
        text.push('…');
    }
    text
}

/// RFC 5424, 6.3.3.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for character in value.chars() {
        if matches!(character, '"' | '\\' | ']') {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, EventKind};
    use crate::wire::AuditRecord;

    fn refused(reason: &str) -> String {
        let mut event = Event::new(EventKind::Refused, 1_795_435_730_007);
        reason.clone_into(&mut event.reason);
        message(&Record::new(AuditRecord {
            host: "web-1".to_owned(),
            event: Some(event),
            ..AuditRecord::default()
        }))
    }

    #[test]
    fn a_reason_ends_neither_its_value_nor_its_line() {
        let written = refused("a\"] b\\\n<0>1 - forged\u{85}");

        assert!(
            written.contains("reason=\"a\\\"\\] b\\\\#012<0>1 - forged#205\""),
            "{written}"
        );
        assert_eq!(written.lines().count(), 1);
        assert!(written.starts_with("<85>1 2026-11-23T12:08:50.007Z web-1 postern - refused ["));
    }

    #[test]
    fn a_long_value_is_cut_and_says_so() {
        let written = refused(&"ä".repeat(4000));

        assert!(written.len() < 4 * VALUE_BYTES_MAX, "{}", written.len());
        assert!(written.contains("ä…\" "), "{written}");
    }
}
