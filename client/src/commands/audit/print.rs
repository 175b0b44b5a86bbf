//! How events are printed.

use clap::ValueEnum;
use fleet::UserIdentity;
use fleet::export::{self, Record};
use jiff::tz::TimeZone;

use crate::context::Context;
use crate::error::Result;
use crate::time;

/// How events are printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Table,
    /// One object per line
    Json,
    /// With a header, safe to open in a spreadsheet
    Csv,
    /// OCSF 1.3 (Open Cybersecurity Schema Framework), one object per line
    Ocsf,
    /// Syslog messages (RFC 5424) with structured data
    Syslog,
}

/// Prints one event after the other. A table comes at the end: its columns are as wide as what stands
/// in them.
#[derive(Debug)]
pub(super) struct Printer<'a> {
    context: &'a Context,
    format: Format,
    zone: TimeZone,
    has_begun: bool,
    rows: Vec<Record>,
}

// === impl Printer ===

impl<'a> Printer<'a> {
    /// Times are those of this zone where people read them.
    pub(super) fn new(context: &'a Context, format: Format, zone: TimeZone) -> Self {
        Self {
            context,
            format,
            zone,
            has_begun: false,
            rows: Vec::new(),
        }
    }

    /// Prints an event, or keeps it for the table.
    pub(super) fn print(&mut self, record: Record) -> Result {
        match self.format {
            Format::Table => {
                self.rows.push(record);
                Ok(())
            }
            Format::Json | Format::Csv | Format::Ocsf | Format::Syslog => self.line(&record),
        }
    }

    /// Prints an event on a line of its own, whatever the format: nobody waits for a table whose end
    /// never comes.
    pub(super) fn line(&mut self, record: &Record) -> Result {
        self.begin()?;
        let line = match self.format {
            Format::Table => {
                let at = time::local(record.event.at_ms, &self.zone);
                format!("{at}  {}", export::printable(&record.summary()))
            }
            Format::Json => export::json(record),
            Format::Csv => export::csv(record),
            Format::Ocsf => export::ocsf(record),
            Format::Syslog => export::rfc5424(record),
        };
        self.context.ui.say(line)
    }

    /// Prints what was kept; of CSV the header, also where no event came.
    pub(super) fn end(mut self) -> Result {
        self.begin()?;
        match self.format {
            Format::Table => self.table(),
            Format::Json | Format::Csv | Format::Ocsf | Format::Syslog => Ok(()),
        }
    }

    /// What stands before the first event, once.
    pub(super) fn begin(&mut self) -> Result {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        match self.format {
            Format::Csv if is_first => self.context.ui.say(export::csv_header()),
            Format::Csv | Format::Table | Format::Json | Format::Ocsf | Format::Syslog => Ok(()),
        }
    }

    fn table(&self) -> Result {
        self.context.ui.table(
            [
                "TIME", "HOST", "KIND", "USER", "STANZA", "SOURCE", "OPENED", "UNTIL", "REASON",
            ],
            self.rows.iter().map(|record| {
                let event = &record.event;
                [
                    time::local(event.at_ms, &self.zone),
                    record.place().into_owned(),
                    record.kind_name().into_owned(),
                    user(record),
                    dash(&event.stanza),
                    dash(&event.source),
                    dash(&opened(record)),
                    time::local(event.until_ms, &self.zone),
                    reason(record),
                ]
            }),
        )
    }
}

/// The user, and what stands behind the name unless that is a proof; or who acted. Only packets have
/// keys.
fn user(record: &Record) -> String {
    let event = &record.event;
    match event.user_identity() {
        UserIdentity::Asserted => format!("{} (asserted)", event.user),
        UserIdentity::Unspecified if !event.key.is_empty() => format!("{} (?)", event.user),
        UserIdentity::Unspecified | UserIdentity::Proven => dash(&event.user),
    }
}

fn opened(record: &Record) -> String {
    let event = &record.event;
    let mut words = Vec::new();
    if !event.ports.is_empty() {
        words.push(event.ports.join(","));
    }
    if !event.forwarded_to.is_empty() {
        words.push(format!("to {}", event.forwarded_to));
    }
    if !event.opened.is_empty() {
        words.push(format!("for {}", event.opened));
    }
    for also in &event.also_opened {
        words.push(format!("and {also}"));
    }
    words.join(" ")
}

fn reason(record: &Record) -> String {
    let event = &record.event;
    let mut text = event.reason.clone();
    if event.count > 1 {
        text = format!("{text} ({} times)", event.count);
    }
    if !event.actor.is_empty() && event.actor != record.host {
        text = format!("{text} (by {})", event.actor);
    }
    if !record.flaw.is_empty() {
        text = format!("{text} [{}]", record.flaw);
    }
    text.trim_start().to_owned()
}

fn dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

#[cfg(test)]
mod tests {
    use fleet::wire::AuditRecord;
    use fleet::{Event, EventKind};

    use super::*;

    #[test]
    fn a_name_that_is_only_asserted_never_reads_as_one_that_is_proven() {
        let shown = |identity, key: &str| {
            let mut event = Event::new(EventKind::GrantOpened, 1);
            event.user = "alice".to_owned();
            event.key = key.to_owned();
            event.set_user_identity(identity);
            let record = Record::new(AuditRecord {
                event: Some(event),
                ..AuditRecord::default()
            });
            let json = serde_json::to_value(&record).unwrap();
            (user(&record), json["user_identity"].clone())
        };

        let proven = shown(UserIdentity::Proven, "k");
        let asserted = shown(UserIdentity::Asserted, "k");
        let older = shown(UserIdentity::Unspecified, "k");
        let operator = shown(UserIdentity::Unspecified, "");

        assert_eq!(proven, ("alice".to_owned(), "proven".into()));
        assert_eq!(asserted, ("alice (asserted)".to_owned(), "asserted".into()));
        assert_eq!(older, ("alice (?)".to_owned(), "unspecified".into()));
        assert_eq!(operator, ("alice".to_owned(), "unspecified".into()));
    }
}
