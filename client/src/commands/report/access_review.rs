//! `postern report access-review`

use clap::ValueEnum;
use fleet::export;
use fleet::wire::{AccessReviewRequest, AccessReviewRow, ReviewSource};
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::connection::{Connection, ask};
use crate::context::Context;
use crate::error::{CommandError, Result};
use crate::time::{self, Edge, Now};

/// Report who had what at a moment, by whose word, and when it was last used
///
/// One row for each user (or key in the text, which anybody may hold), host and stanza. Since when a
/// right is held is the first of the generations, one after the other, in which the same stanza gave
/// the same ports; approved-by is who applied that one. Uses are grants that were opened in the days
/// before the moment. What became of the user or the host since is in the last column.
///
/// JSON fields: user, key, host, stanza, ports, user_identity, since_generation, since_is_earlier,
/// approved_by, approved_message, approved_at, approved_at_ms, last_used, last_used_ms, uses,
/// expires_at, expires_at_secs, since_then; in the last line only made_from with as_of, as_of_ms,
/// made_at, made_at_ms, generation, days, newest_id, log_chain, warnings.
#[derive(clap::Args, Debug)]
#[command(after_help = format!("{}\n\n{EXAMPLES}", time::FORMS))]
pub(crate) struct AccessReviewArgs {
    /// The moment; a day is its beginning [default: now]
    #[arg(long, value_name = "TIME")]
    as_of: Option<String>,

    /// Only this user
    #[arg(long, value_name = "USER", default_value = "")]
    user: String,

    /// Only this host
    #[arg(long, value_name = "HOST", default_value = "")]
    host: String,

    /// How many days before the moment uses are looked for
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,

    /// How to print it
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    format: Format,

    /// Print one JSON object per line, as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,

    /// Show times in UTC instead of local time
    #[arg(long)]
    utc: bool,
}

const EXAMPLES: &str = "\
Examples:
  postern report access-review
  postern report access-review --as-of 2026-10-01 --format csv > q3.csv
  postern report access-review --host web-1 --days 30
  postern report access-review --json | jq -r 'select(.uses == 0) | [.user, .host, .stanza] | @tsv'";

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One object per line
    Json,
    /// With a header, safe to open in a spreadsheet; each row says what it was made from
    Csv,
}

/// A row in JSON. The names are part of the interface.
#[derive(Debug, Serialize)]
struct Row {
    user: String,
    key: String,
    host: String,
    stanza: String,
    ports: Vec<String>,
    user_identity: &'static str,
    since_generation: u64,
    since_is_earlier: bool,
    approved_by: String,
    approved_message: String,
    approved_at: String,
    approved_at_ms: u64,
    last_used: Option<String>,
    last_used_ms: u64,
    uses: u64,
    expires_at: Option<String>,
    expires_at_secs: u64,
    since_then: String,
}

/// The last line of the JSON.
#[derive(Debug, Serialize)]
struct Last<'a> {
    made_from: MadeFrom<'a>,
}

#[derive(Debug, Serialize)]
struct MadeFrom<'a> {
    as_of: String,
    as_of_ms: u64,
    made_at: String,
    made_at_ms: u64,
    generation: u64,
    days: u32,
    newest_id: u64,
    log_chain: &'a str,
    warnings: &'a [String],
}

pub(super) async fn run(context: &Context, args: AccessReviewArgs) -> Result {
    let now = Now::here(context.now_secs).map_err(CommandError::usage)?;
    let as_of_ms = match &args.as_of {
        None => 0,
        // What was so at the end of an hour that came twice.
        Some(text) => now
            .past(text, Edge::Until)
            .map_err(|problem| CommandError::usage(format!("--as-of `{text}`: {problem}")))?,
    };
    let connection = Connection::open(&context.profile).await?;
    let request = AccessReviewRequest {
        as_of_ms,
        user: args.user,
        host: args.host,
        days: args.days,
    };
    let stream = connection.audit().access_review(ask(request)).await;
    let mut stream = stream
        .map_err(|status| connection.refused(status))?
        .into_inner();
    let mut rows = Vec::new();
    let mut made_from = None;
    while let Some(row) = stream
        .message()
        .await
        .map_err(|status| connection.refused(status))?
    {
        match row.made_from {
            Some(source) => made_from = Some(source),
            None => rows.push(Row::from(row)),
        }
    }
    let made_from = made_from
        .ok_or_else(|| CommandError::unreachable("the answer broke off before its last line"))?;
    let zone = if args.utc { TimeZone::UTC } else { now.zone() };
    let format = if args.json { Format::Json } else { args.format };
    match format {
        Format::Table => table(context, &rows, &made_from, &zone),
        Format::Json => json(context, &rows, &made_from),
        Format::Csv => csv(context, &rows, &made_from),
    }
}

fn table(context: &Context, rows: &[Row], made_from: &ReviewSource, zone: &TimeZone) -> Result {
    let unused = unused(made_from.days);
    context.ui.table(
        [
            "USER",
            "HOST",
            "STANZA",
            "PORTS",
            "SINCE",
            "BY",
            "LAST USED",
            "USES",
            "EXPIRES",
            "SINCE THEN",
        ],
        rows.iter().map(|row| {
            [
                row.who(),
                row.host.clone(),
                row.stanza.clone(),
                row.ports.join(","),
                row.since(zone),
                row.approved_by.clone(),
                match row.last_used_ms {
                    0 => unused.clone(),
                    ms => time::local(ms, zone),
                },
                row.uses.to_string(),
                time::local(row.expires_at_secs.saturating_mul(1000), zone),
                match row.since_then.as_str() {
                    "" => "-".to_owned(),
                    words => words.to_owned(),
                },
            ]
        }),
    )?;
    let ReviewSource {
        as_of_ms,
        made_at_ms,
        generation,
        days: _,
        newest_id,
        log_chain,
        warnings,
    } = made_from;
    context.ui.say("")?;
    context.ui.say(format_args!(
        "As of {}, generation {generation}; made {} from the log up to record {newest_id}, chain {log_chain}",
        time::local(*as_of_ms, zone),
        time::local(*made_at_ms, zone),
    ))?;
    context.ui.warn_of(warnings);
    Ok(())
}

fn json(context: &Context, rows: &[Row], made_from: &ReviewSource) -> Result {
    for row in rows {
        context.ui.json(row)?;
    }
    context.ui.json(&Last {
        made_from: MadeFrom {
            as_of: time::rfc3339_ms(made_from.as_of_ms),
            as_of_ms: made_from.as_of_ms,
            made_at: time::rfc3339_ms(made_from.made_at_ms),
            made_at_ms: made_from.made_at_ms,
            generation: made_from.generation,
            days: made_from.days,
            newest_id: made_from.newest_id,
            log_chain: &made_from.log_chain,
            warnings: &made_from.warnings,
        },
    })
}

fn csv(context: &Context, rows: &[Row], made_from: &ReviewSource) -> Result {
    context.ui.say(
        "user,key,host,stanza,ports,user_identity,since_generation,since_is_earlier,approved_by,\
         approved_message,approved_at,last_used,uses,expires_at,since_then,as_of,generation,days,\
         newest_id,log_chain",
    )?;
    let as_of = time::rfc3339_ms(made_from.as_of_ms);
    let unused = unused(made_from.days);
    for row in rows {
        let cells = [
            export::csv_cell(&row.user),
            export::csv_cell(&row.key),
            export::csv_cell(&row.host),
            export::csv_cell(&row.stanza),
            export::csv_cell(&row.ports.join(" ")),
            row.user_identity.to_owned(),
            row.since_generation.to_string(),
            row.since_is_earlier.to_string(),
            export::csv_cell(&row.approved_by),
            export::csv_cell(&row.approved_message),
            row.approved_at.clone(),
            row.last_used.clone().unwrap_or_else(|| unused.clone()),
            row.uses.to_string(),
            row.expires_at.clone().unwrap_or_else(|| "never".to_owned()),
            export::csv_cell(&row.since_then),
            as_of.clone(),
            made_from.generation.to_string(),
            made_from.days.to_string(),
            made_from.newest_id.to_string(),
            made_from.log_chain.clone(),
        ];
        context.ui.say(cells.join(","))?;
    }
    context.ui.warn_of(&made_from.warnings);
    Ok(())
}

/// What stands where no use was found: of more days than the log was asked about, nothing is known.
fn unused(days: u32) -> String {
    match days {
        0 => "not known".to_owned(),
        days => format!("never in {days} days"),
    }
}

// === impl Row ===

impl Row {
    fn who(&self) -> String {
        match (self.user.as_str(), self.user_identity) {
            ("", _) => format!("key {}", self.key),
            (user, "asserted") => format!("{user} (asserted)"),
            (user, _) => user.to_owned(),
        }
    }

    fn since(&self, zone: &TimeZone) -> String {
        let or_before = if self.since_is_earlier {
            "or before "
        } else {
            ""
        };
        format!(
            "{or_before}{} (generation {})",
            time::local(self.approved_at_ms, zone),
            self.since_generation
        )
    }
}

impl From<AccessReviewRow> for Row {
    fn from(row: AccessReviewRow) -> Self {
        let user_identity = row.user_identity().as_str();
        let AccessReviewRow {
            user,
            host,
            stanza,
            ports,
            generation: _,
            since_generation,
            approved_by,
            approved_message,
            approved_at_ms,
            last_used_ms,
            uses,
            expires_at_secs,
            user_identity: _,
            key,
            since_then,
            since_is_earlier,
            made_from: _,
        } = row;
        let some = |ms: u64| (ms != 0).then(|| time::rfc3339_ms(ms));
        Self {
            user,
            key,
            host,
            stanza,
            ports,
            user_identity,
            since_generation,
            since_is_earlier,
            approved_by,
            approved_message,
            approved_at: time::rfc3339_ms(approved_at_ms),
            approved_at_ms,
            last_used: some(last_used_ms),
            last_used_ms,
            uses,
            expires_at: some(expires_at_secs.saturating_mul(1000)),
            expires_at_secs,
            since_then,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_days_that_the_log_was_not_asked_about_nothing_is_said() {
        assert_eq!(unused(90), "never in 90 days");
        assert_eq!(unused(0), "not known");
    }
}
