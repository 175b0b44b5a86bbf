//! `postern audit list`

use std::ffi::OsStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, Command};
use fleet::wire::{AuditRecord, ListEventsRequest};
use fleet::{Event, EventKind, UserIdentity};
use serde::{Serialize, Serializer};
use spa::Service;

use crate::connection::{Connection, ask};
use crate::context::{Context, Listing};
use crate::error::Result;
use crate::time;

/// List events, newest first
///
/// All filters must match.
///
/// A user whose name is only asserted is marked: the packet was made with a key that others hold
/// too, and whoever holds it may write any name. `(?)` stands where an older agent does not say.
///
/// JSON fields: id, host, epoch, seq, at, at_ms, kind, user, user_identity (proven, asserted,
/// unspecified), key, stanza, generation, source, opened, also_opened, ports, forwarded_to, until_ms, replay_digest, grant_id, request_id, actor, clock_offset_ms, outcome, reason,
/// count, stored_at_ms, flaw.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern audit list --user alice --since 7d
  postern audit list --kind grant-opened --host web-1 --since 2026-11-01 --until 2026-12-01
  postern audit list --source 203.0.113.0/24 --port tcp/22 --json
  postern audit list --grant 5f0c0f6e1d6a4b55a3a6f1d2c8b7e901
  postern audit list --reason 'denied' --stanza sre-ssh")]
pub(crate) struct ListArgs {
    /// User that the packet named
    #[arg(long, value_name = "USER", default_value = "")]
    user: String,

    /// Only events whose user is proven by a key of her own
    #[arg(long)]
    proven: bool,

    /// Host where it happened, or `controller`
    #[arg(long, value_name = "HOST", default_value = "")]
    host: String,

    /// What happened; `kind-N` for a kind of a newer agent
    #[arg(long, value_name = "KIND", value_parser = KindParser)]
    kind: Option<i32>,

    /// Address or prefix of the packet or of what was opened; also an address inside an opened network
    #[arg(long, value_name = "IP", default_value = "")]
    source: String,

    /// Port that was opened, as tcp/22, alone or in a range; or icmp/echo
    #[arg(long, value_name = "PORT", value_parser = port)]
    port: Option<Service>,

    /// Stanza that the packet was judged by
    #[arg(long, value_name = "STANZA", default_value = "")]
    stanza: String,

    /// Key that the packet was made with, by its fingerprint
    #[arg(long, value_name = "FINGERPRINT", default_value = "", value_parser = hexadecimal)]
    key: String,

    /// Packet, by its replay digest
    #[arg(long, value_name = "HEX", default_value = "", value_parser = hexadecimal)]
    digest: String,

    /// Grant, by its number: how it was opened, closed and revoked
    #[arg(long, value_name = "HEX", default_value = "", value_parser = hexadecimal)]
    grant: String,

    /// Why it was refused: the whole reason, or its beginning
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,

    /// Not before: RFC 3339, a date, or how long ago (7d, 2h)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Before: RFC 3339, a date, or how long ago
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// The most events to list
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    #[command(flatten)]
    listing: Listing,
}

/// Reads a kind by its name here, or by its number when that is of a newer agent.
#[derive(Clone, Copy, Debug)]
struct KindParser;

/// An event in JSON. The names are part of the interface.
#[derive(Debug, Serialize)]
struct Row {
    id: u64,
    host: String,
    epoch: String,
    seq: u64,
    at: String,
    at_ms: u64,
    kind: String,
    user: String,
    #[serde(serialize_with = "as_its_name")]
    user_identity: UserIdentity,
    key: String,
    stanza: String,
    generation: u64,
    source: String,
    opened: String,
    /// What was opened beside it.
    also_opened: Vec<String>,
    ports: Vec<String>,
    /// Where packets were led to; empty where they stayed.
    forwarded_to: String,
    until_ms: u64,
    replay_digest: String,
    /// The same in opened, closed and revoked of one grant.
    grant_id: String,
    /// The same in all that one packet or call caused.
    request_id: String,
    actor: String,
    clock_offset_ms: Option<i64>,
    outcome: &'static str,
    reason: String,
    count: u64,
    stored_at_ms: u64,
    /// What is wrong with the record; empty for nothing.
    flaw: String,
}

pub(super) async fn run(context: &Context, args: ListArgs) -> Result {
    let question = question(&args, context.now_secs)?;
    let connection = Connection::open(&context.profile).await?;
    let mut stream = connection
        .audit()
        .list_events(ask(question))
        .await
        .map_err(|status| connection.refused(status))?
        .into_inner();
    let mut rows = Vec::new();
    let mut left = args.limit;
    while let Some(record) = stream
        .message()
        .await
        .map_err(|status| connection.refused(status))?
    {
        let row = Row::from(record);
        if args.proven && row.user_identity != UserIdentity::Proven {
            continue;
        }
        if args.listing.json {
            context.ui.json(&row)?;
        } else {
            rows.push(row);
        }
        left -= 1;
        if left == 0 {
            break;
        }
    }
    if args.listing.json {
        return Ok(());
    }
    table(context, &rows)
}

// === impl KindParser ===

impl TypedValueParser for KindParser {
    type Value = i32;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> std::result::Result<i32, clap::Error> {
        if let Some(number) = value.to_str().and_then(number_of) {
            return Ok(number);
        }
        PossibleValuesParser::new(EventKind::ALL.map(EventKind::as_str))
            .try_map(|name| name.parse::<EventKind>())
            .parse_ref(command, argument, value)
            .map(i32::from)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let names = EventKind::ALL.map(EventKind::as_str);
        Some(Box::new(names.into_iter().map(PossibleValue::new)))
    }
}

/// The number in `kind-N`.
fn number_of(name: &str) -> Option<i32> {
    let digits = name.strip_prefix("kind-")?;
    let number = digits.parse().ok().filter(|number| *number > 0)?;
    // As events are shown: no sign, no zeros before it.
    (digits == format!("{number}")).then_some(number)
}

/// What one packet can be for.
fn port(text: &str) -> std::result::Result<Service, String> {
    let service: Option<Service> = text.parse().ok();
    let one = |service: &Service| *service == Service::Echo || service.single().is_some();
    service
        .filter(one)
        .ok_or_else(|| "write one port, as tcp/22, or icmp/echo".to_owned())
}

/// Digits of a digest, a grant or a key, as events show them.
fn hexadecimal(text: &str) -> std::result::Result<String, String> {
    if text.chars().all(|digit| digit.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("hexadecimal digits only".to_owned())
    }
}

fn question(args: &ListArgs, now_secs: u64) -> Result<ListEventsRequest> {
    let time = |option: &str, text: &Option<String>| match text {
        None => Ok(0),
        Some(text) => time::parse(text, now_secs).map_err(|problem| {
            crate::error::CommandError::usage(format!("{option} {text}: {problem}"))
        }),
    };
    Ok(ListEventsRequest {
        user: args.user.clone(),
        host: args.host.clone(),
        kind: args.kind.unwrap_or_default(),
        source: args.source.clone(),
        since_ms: time("--since", &args.since)?,
        until_ms: time("--until", &args.until)?,
        // The log is not searched by proof, so that is sifted here.
        limit: if args.proven { u32::MAX } else { args.limit },
        port: args.port.map(|port| port.to_string()).unwrap_or_default(),
        stanza: args.stanza.clone(),
        key: args.key.clone(),
        replay_digest: args.digest.clone(),
        grant_id: args.grant.clone(),
        reason: args.reason.clone(),
        ..ListEventsRequest::default()
    })
}

fn table(context: &Context, rows: &[Row]) -> Result {
    context.ui.table(
        [
            "TIME", "HOST", "KIND", "USER", "STANZA", "SOURCE", "OPENED", "UNTIL", "REASON",
        ],
        rows.iter().map(|row| {
            [
                time::short(row.at_ms),
                row.host.clone(),
                row.kind.clone(),
                user(row),
                dash(&row.stanza),
                dash(&row.source),
                dash(&opened(row)),
                time::short(row.until_ms),
                reason(row),
            ]
        }),
    )
}

/// The user, and what stands behind the name unless that is a proof. Only packets have keys.
fn user(row: &Row) -> String {
    match row.user_identity {
        UserIdentity::Asserted => format!("{} (asserted)", row.user),
        UserIdentity::Unspecified if !row.key.is_empty() => format!("{} (?)", row.user),
        UserIdentity::Unspecified | UserIdentity::Proven => dash(&row.user),
    }
}

fn as_its_name<S: Serializer>(identity: &UserIdentity, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(identity.as_str())
}

fn opened(row: &Row) -> String {
    let mut words = Vec::new();
    if !row.ports.is_empty() {
        words.push(row.ports.join(","));
    }
    if !row.forwarded_to.is_empty() {
        words.push(format!("to {}", row.forwarded_to));
    }
    if !row.opened.is_empty() {
        words.push(format!("for {}", row.opened));
    }
    for also in &row.also_opened {
        words.push(format!("and {also}"));
    }
    words.join(" ")
}

fn reason(row: &Row) -> String {
    let mut text = row.reason.clone();
    if row.count > 1 {
        text = format!("{text} ({} times)", row.count);
    }
    if !row.flaw.is_empty() {
        text = format!("{text} [{}]", row.flaw);
    }
    text.trim_start().to_owned()
}

fn dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

impl From<AuditRecord> for Row {
    fn from(record: AuditRecord) -> Self {
        let AuditRecord {
            id,
            host,
            epoch,
            event,
            stored_at_ms,
            record,
            flaw,
            more: _,
        } = record;
        let seq = record.as_ref().map_or(0, |record| record.seq);
        // What cannot be read is shown all the same, with its flaw; a controller of version 1 sends
        // no record.
        let event = record
            .and_then(|record| record.event().ok())
            .or(event)
            .unwrap_or_else(|| Event {
                seq,
                at_ms: stored_at_ms,
                ..Event::default()
            });
        Self {
            id,
            host,
            epoch,
            seq: event.seq,
            at: time::rfc3339_ms(event.at_ms),
            at_ms: event.at_ms,
            kind: event.kind_name().into_owned(),
            outcome: event.outcome().as_str(),
            user_identity: event.user_identity(),
            user: event.user,
            key: event.key,
            stanza: event.stanza,
            generation: event.generation,
            source: event.source,
            opened: event.opened,
            also_opened: event.also_opened,
            ports: event.ports,
            forwarded_to: event.forwarded_to,
            until_ms: event.until_ms,
            replay_digest: event.replay_digest,
            grant_id: event.grant_id,
            request_id: event.request_id,
            actor: event.actor,
            clock_offset_ms: event.clock_offset_ms,
            reason: event.reason,
            count: event.count,
            stored_at_ms,
            flaw,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        list: ListArgs,
    }

    #[test]
    fn a_name_that_is_only_asserted_never_reads_as_one_that_is_proven() {
        let shown = |identity, key: &str| {
            let mut event = Event::new(EventKind::GrantOpened, 1);
            event.user = "alice".to_owned();
            event.key = key.to_owned();
            event.set_user_identity(identity);
            let row = Row::from(AuditRecord {
                event: Some(event),
                ..AuditRecord::default()
            });
            let json = serde_json::to_value(&row).unwrap();
            (user(&row), json["user_identity"].clone())
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

    fn kind(text: &str) -> std::result::Result<Option<i32>, clap::Error> {
        let line = Line::try_parse_from(["list", "--kind", text]);
        line.map(|line| line.list.kind)
    }

    #[test]
    fn a_kind_is_asked_for_by_its_name_or_as_events_of_a_newer_agent_show_it() {
        for known in EventKind::ALL {
            assert_eq!(kind(known.as_str()).unwrap(), Some(known.into()));
        }
        assert_eq!(kind("kind-77").unwrap(), Some(77));
        assert_eq!(EventKind::name_of(77), "kind-77");
    }

    #[test]
    fn a_packet_a_grant_a_key_a_stanza_and_a_reason_are_asked_for() {
        let line = Line::try_parse_from([
            "list", "--digest", "00FF", "--grant", "ab", "--key", "0AB1", "--stanza", "s",
            "--reason", "stale",
        ]);
        let asked = question(&line.unwrap().list, 0).unwrap();

        assert_eq!(asked.replay_digest, "00ff");
        assert_eq!(
            (asked.grant_id.as_str(), asked.key.as_str()),
            ("ab", "0ab1")
        );
        assert_eq!(
            (asked.stanza.as_str(), asked.reason.as_str()),
            ("s", "stale")
        );
        for option in ["--digest", "--grant", "--key"] {
            assert!(
                Line::try_parse_from(["list", option, "xyz"]).is_err(),
                "{option}"
            );
        }
    }

    #[test]
    fn what_is_no_kind_is_refused() {
        for text in [
            "",
            "kind-",
            "kind-0",
            "kind--1",
            "kind-+1",
            "kind-07",
            "kind-99999999999",
            "drfit",
        ] {
            let refused = kind(text).unwrap_err();
            assert_eq!(
                refused.kind(),
                clap::error::ErrorKind::InvalidValue,
                "{text}"
            );
        }
    }
}
