//! A record in the format of a sink.

use fleet::export::{self, Record};

use crate::settings::Format;

/// Where the structured data of a syslog message begins.
const STRUCTURED_DATA: &str = " [";

/// One line, without its end.
pub(super) fn line(record: &Record, format: Format) -> String {
    match format {
        Format::Json => export::json(record),
        Format::Ocsf => export::ocsf(record),
        Format::Structured => export::rfc5424(record),
    }
}

/// One syslog message, without framing: what is said in structured data and a sentence, or in JSON
/// behind the same header.
pub(super) fn syslog(record: &Record, format: Format) -> String {
    let structured = export::rfc5424(record);
    match format {
        Format::Structured => structured,
        Format::Json | Format::Ocsf => {
            let header = structured.split_once(STRUCTURED_DATA);
            let header = header.map_or("", |(header, _)| header);
            format!("{header} - {}", line(record, format))
        }
    }
}
