//! `postern-agent audit`: what this host's own journal says has happened.

use std::thread;
use std::time::Duration;

use fleet::event::{Event, EventKind, EventRecord};
use fleet::export::{Record, json, printable};
use fleet::wire::AuditRecord;
use program::PrintError;

use super::local::{StateArgs, parse_time, shown};
use crate::config::did_you_mean;
use crate::journal::{FILE_NAME, JournalError, JournalReader};
use crate::membership::name_in_fleet;

/// List what has happened on this host, oldest first, from its own journal
///
/// Works also when no agent runs. On a host that has joined, the journal keeps every event until the
/// controller has it, and the newest 4,096 events also after that, so that the last hours can be read
/// here while the controller is away. Standard error says how many of them it does not have yet. What
/// is not here any more, `postern audit list --host NAME` has.
///
/// Times: 2h (so long ago), 10:03 or '2026-11-25 10:03' (local time), RFC 3339.
///
/// Examples:
///   postern-agent audit --since 2h
///   postern-agent audit --kind refused --kind replay --user alice --json
///   postern-agent audit --follow
#[derive(Clone, Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct AuditArgs {
    /// Only what happened at or after this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub since: Option<u64>,
    /// Only what happened before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "follow")]
    pub until: Option<u64>,
    /// Only events of this kind, like grant-opened; may be given several times
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = parse_kind)]
    pub kind: Vec<EventKind>,
    /// Only what this user did, as the packet named her
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Only the newest so many
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Go on with what happens from now on, until interrupted
    #[arg(short, long)]
    pub follow: bool,
    /// Print the last checkpoint of the fleet's log that this host was shown, for
    /// `postern audit verify --checkpoint FILE`
    #[cfg(feature = "link")]
    #[arg(long, conflicts_with_all = ["since", "until", "kind", "user", "limit", "follow", "json"])]
    pub checkpoint: bool,
    #[command(flatten)]
    pub state: StateArgs,
    /// Print one JSON object a line, with the fields of `postern audit list --json`
    #[arg(long)]
    pub json: bool,
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum AuditFailed {
    /// There is no journal, or it cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The host has not been shown any, or has not joined.
    #[cfg(feature = "link")]
    #[error("this host keeps no checkpoint of its fleet's log yet")]
    NoCheckpoint,
    /// Standard output cannot be written.
    #[error(transparent)]
    Print(#[from] PrintError),
}

/// Events read at once.
const BATCH: u32 = 512;
/// Between two looks for what is new.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Lists.
///
/// # Errors
///
/// [`AuditFailed`] when there is no journal that can be read.
pub fn run(args: &AuditArgs) -> Result<(), AuditFailed> {
    #[cfg(feature = "link")]
    if args.checkpoint {
        let kept = crate::link::kept_log(&args.state.dir());
        if kept.checkpoint.is_empty() {
            return Err(AuditFailed::NoCheckpoint);
        }
        return Ok(program::print(kept.checkpoint)?);
    }
    let journal = args.state.dir().join(FILE_NAME);
    let mut reader = if args.follow {
        JournalReader::open(&journal)?
    } else {
        JournalReader::look(&journal)?
    };
    let mut seq = list(args, &reader)?;
    if !args.follow {
        return Ok(());
    }
    loop {
        thread::sleep(LOOK_EVERY);
        let epoch = reader.epoch().to_owned();
        reader.follow()?;
        if reader.epoch() != epoch {
            seq = 0;
        }
        let show = |record: &Record| program::print(line(record, args.json));
        seq = each(&reader, seq, args, show)?;
    }
}

/// Prints what is there, and gives the place of the last.
fn list(args: &AuditArgs, reader: &JournalReader) -> Result<u64, AuditFailed> {
    for line in notes(args, reader)? {
        program::note(line);
    }
    let Some(limit) = args.limit else {
        return each(reader, 0, args, |record| {
            program::print(line(record, args.json))
        });
    };
    let mut newest = std::collections::VecDeque::new();
    let seq = each(reader, 0, args, |record| {
        if newest.len() == limit as usize {
            newest.pop_front();
        }
        newest.push_back(line(record, args.json));
        Ok(())
    })?;
    for line in newest {
        program::print(line)?;
    }
    Ok(seq)
}

/// What the list does not have, and where that is.
fn notes(args: &AuditArgs, reader: &JournalReader) -> Result<Vec<String>, JournalError> {
    let name = name_in_fleet(reader.dir());
    let mut notes = Vec::new();
    let oldest = reader.oldest()?;
    let oldest = oldest.filter(|(_, at_ms)| args.since.is_none_or(|since| since < *at_ms));
    if let Some((seq, at_ms)) = oldest.filter(|(seq, _)| *seq > 1) {
        let of_fleet = name.as_ref().map_or_else(String::new, |name| {
            format!("; the controller has them: postern audit list --host {name}")
        });
        let at = shown(at_ms);
        notes.push(format!(
            "events before number {seq}, of {at}, are not in this journal any more{of_fleet}"
        ));
    }
    if name.is_some() {
        let acknowledged = reader.acknowledged()?;
        let waiting = reader.end()?.seq.saturating_sub(acknowledged);
        notes.push(match waiting {
            0 => format!("the controller has all events of this journal, up to number {acknowledged}"),
            waiting => format!(
                "the controller has the events of this journal up to number {acknowledged}; {waiting} \
                 wait for it"
            ),
        });
    }
    Ok(notes)
}

/// Does something with every event after `seq` that was asked for; gives the place of the last.
fn each(
    reader: &JournalReader,
    mut seq: u64,
    args: &AuditArgs,
    mut then: impl FnMut(&Record) -> Result<(), PrintError>,
) -> Result<u64, AuditFailed> {
    loop {
        let records = reader.events_after(seq, BATCH)?;
        let Some(last) = records.last() else {
            return Ok(seq);
        };
        seq = last.seq;
        for chained in records {
            let record = record(chained, reader.epoch());
            if is_wanted(&record, args) {
                then(&record)?;
            }
        }
    }
}

/// The record as the fleet's log would have it, without a place there.
fn record(chained: EventRecord, epoch: &str) -> Record {
    Record::new(AuditRecord {
        epoch: epoch.to_owned(),
        record: Some(chained),
        ..AuditRecord::default()
    })
}

fn is_wanted(record: &Record, args: &AuditArgs) -> bool {
    let at_ms = record.event.at_ms;
    args.since.is_none_or(|since| at_ms >= since)
        && args.until.is_none_or(|until| at_ms < until)
        && (args.kind.is_empty() || record.kind().is_some_and(|kind| args.kind.contains(&kind)))
        && args
            .user
            .as_ref()
            .is_none_or(|user| record.event.user == *user)
}

fn line(record: &Record, as_json: bool) -> String {
    if as_json {
        return json(record) + "\n";
    }
    let Event {
        at_ms,
        source,
        opened,
        ports,
        stanza,
        reason,
        count,
        ..
    } = &record.event;
    let mut words = vec![shown(*at_ms), format!("{:<16}", record.kind_name())];
    if !record.who().is_empty() {
        words.push(record.who().to_owned());
    }
    if !source.is_empty() {
        words.push(format!("from {source}"));
    }
    if !ports.is_empty() {
        words.push(format!("{} for {opened}", ports.join(",")));
    }
    if !stanza.is_empty() {
        words.push(format!("by {stanza}"));
    }
    if *count > 1 {
        words.push(format!("({count} times)"));
    }
    let mut text = words.join(" ").trim_end().to_owned();
    if !reason.is_empty() {
        text = format!("{text}: {reason}");
    }
    // Strangers may have written some of it.
    format!("{}\n", printable(&text))
}

fn parse_kind(text: &str) -> Result<EventKind, String> {
    text.parse().map_err(|unknown| {
        let names: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("{unknown}{}", did_you_mean(text, &names))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record_of(kind: EventKind, user: &str, at_ms: u64) -> Record {
        let event = Event {
            seq: 1,
            at_ms,
            kind: kind.into(),
            user: user.to_owned(),
            source: "192.0.2.7".to_owned(),
            reason: "too old\u{1b}[2J".to_owned(),
            ..Event::default()
        };
        Record {
            id: 0,
            host: String::new(),
            called_now: String::new(),
            epoch: String::new(),
            event,
            is_readable: true,
            stored_at_ms: 0,
            flaw: String::new(),
            chained: EventRecord::default(),
        }
    }

    fn args() -> AuditArgs {
        AuditArgs {
            #[cfg(feature = "link")]
            checkpoint: false,
            since: None,
            until: None,
            kind: Vec::new(),
            user: None,
            limit: None,
            follow: false,
            state: StateArgs::default(),
            json: false,
        }
    }

    #[test]
    fn what_is_asked_for_must_all_hold() {
        let record = record_of(EventKind::Refused, "alice", 5_000);
        let wanted = |change: &dyn Fn(&mut AuditArgs)| {
            let mut args = args();
            change(&mut args);
            is_wanted(&record, &args)
        };

        assert!(wanted(&|_| {}));
        assert!(wanted(&|args| args.since = Some(5_000)));
        assert!(!wanted(&|args| args.since = Some(5_001)));
        assert!(!wanted(&|args| args.until = Some(5_000)));
        assert!(wanted(
            &|args| args.kind = vec![EventKind::Replay, EventKind::Refused]
        ));
        assert!(!wanted(&|args| args.kind = vec![EventKind::Replay]));
        assert!(!wanted(&|args| args.user = Some("bob".to_owned())));
    }

    #[test]
    fn a_line_says_who_from_where_and_why_and_controls_no_terminal() {
        let text = line(&record_of(EventKind::Refused, "alice", 5_000), false);

        assert!(text.contains("refused"), "{text}");
        assert!(text.contains("alice from 192.0.2.7: too old"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert_eq!(text.matches('\n').count(), 1);
    }

    #[test]
    fn a_kind_that_is_not_known_is_told_with_what_may_have_been_meant() {
        let told = parse_kind("grant-open").unwrap_err();

        assert!(told.ends_with("; did you mean grant-opened?"), "{told}");
    }
}
