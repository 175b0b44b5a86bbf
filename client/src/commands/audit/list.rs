//! `postern audit list`

use fleet::export::Record;
use fleet::wire::ListEventsRequest;

use super::answer::{is_proven, open};
use super::filter::FilterArgs;
use super::follow;
use super::pages::Pages;
use super::print::{Format, Printer};
use crate::connection::Connection;
use crate::context::Context;
use crate::error::{CommandError, Result};
use crate::time::{self, Now};

/// Events listed when nobody says how many.
const LIMIT: u32 = 100;
/// Events that are there already, when the log is followed.
const LIMIT_BEFORE: u32 = 10;
/// As many as the controller holds for whoever begins to follow.
const LIMIT_BEFORE_MAX: u32 = 1_000;

/// List events, newest first; or follow the log
///
/// All filters must match; of a filter with several values, one. Users and hosts that neither the
/// fleet nor its log has ever known are an error.
///
/// A user whose name is only asserted is marked: the packet was made with a key that others hold
/// too, and whoever holds it may write any name. `(?)` stands where an older agent does not say.
///
/// JSON fields: id, host, epoch, seq, at, at_ms, kind, user, user_identity (proven, asserted,
/// unspecified), key, stanza, generation, source, opened, also_opened, ports, forwarded_to, until_ms,
/// replay_digest, grant_id, request_id, actor, clock_offset_ms, outcome, reason, count, stored_at_ms,
/// flaw, chain_version, chain, called_now (where the host has another name now), body. Times in it are
/// UTC. A host's chain is checked with seq, chain_version, chain and body, which is what was chained, in
/// base64.
#[derive(clap::Args, Debug)]
#[command(after_help = format!("{}\n\n{EXAMPLES}", time::FORMS))]
pub(crate) struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,

    /// The most events to list; 0 for all, or with --follow none [default: 100, with --follow 10]
    #[arg(long, value_name = "N", conflicts_with = "all")]
    limit: Option<u32>,

    /// List all that match
    #[arg(long, conflicts_with = "follow")]
    all: bool,

    /// Then show each event as it is stored, oldest first, until it is interrupted
    ///
    /// After a restart of the controller, or when the network was away, it goes on where it was.
    #[arg(long, short, conflicts_with = "until")]
    follow: bool,

    /// With --follow: all events after the one with this id, as another run has shown it last
    #[arg(long, value_name = "ID", requires = "follow", conflicts_with = "limit",
          value_parser = clap::value_parser!(u64).range(1..))]
    after_id: Option<u64>,

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
  postern audit list --user alice --since 7d
  postern audit list --since 'yesterday 22:00' --until 6:00 --kind refused,replay
  postern audit list --kind grant-opened --host web-1,web-2 --since 2026-11-01 --until 2026-12-01
  postern audit list --source 203.0.113.0/24 --port tcp/22 --json
  postern audit list --request 5f0c0f6e1d6a4b55a3a6f1d2c8b7e901
  postern audit list --reason 'denied' --stanza sre-ssh
  postern audit list --follow --kind refused
  postern audit list --all --since 2026-10-01 --until 2026-11-01 --format csv > october.csv";

pub(super) async fn run(context: &Context, args: ListArgs) -> Result {
    let now = Now::here(context.now_secs).map_err(CommandError::usage)?;
    let question = args.filter.question(&now)?;
    let zone = if args.utc {
        jiff::tz::TimeZone::UTC
    } else {
        now.zone()
    };
    let format = if args.json { Format::Json } else { args.format };
    let printer = Printer::new(context, format, zone);
    if args.follow {
        let limit = args.limit.unwrap_or(LIMIT_BEFORE);
        if limit > LIMIT_BEFORE_MAX {
            return Err(CommandError::usage(format!(
                "--limit {limit}: with --follow at most {LIMIT_BEFORE_MAX}; what is older is listed \
                 without it"
            )));
        }
        let question = ListEventsRequest { limit, ..question };
        return follow::run(
            context,
            question,
            args.after_id,
            args.filter.proven,
            printer,
        )
        .await;
    }
    let limit = at_most(args.all, args.limit.unwrap_or(LIMIT));
    list(context, question, limit, args.filter.proven, printer).await
}

fn at_most(all: bool, limit: u32) -> u32 {
    if all || limit == 0 { u32::MAX } else { limit }
}

async fn list(
    context: &Context,
    question: ListEventsRequest,
    limit: u32,
    proven: bool,
    mut printer: Printer<'_>,
) -> Result {
    // One more says that there are more. The log is not searched by proof: that is sifted here.
    let most = if proven {
        u32::MAX
    } else {
        limit.saturating_add(1)
    };
    let mut pages = Pages::new(question, most);
    let connection = Connection::open(&context.profile).await?;
    let mut left = limit;
    let ended = 'pages: loop {
        let (page, broke_off) = page(&connection, pages.question()).await;
        let (new, goes_on) = pages.take(page);
        for record in new {
            if proven && !is_proven(&record) {
                continue;
            }
            if left == 0 {
                context.ui.note(format_args!(
                    "these are the newest {limit}; there are more: --limit N or --all lists them"
                ));
                break 'pages Ok(());
            }
            printer.print(record)?;
            left -= 1;
        }
        if let Some(error) = broke_off {
            break Err(error);
        }
        if !goes_on {
            break Ok(());
        }
    };
    // Also what came before the answer broke off.
    printer.end()?;
    ended
}

/// An answer to its end, or until it broke off.
async fn page(
    connection: &Connection,
    question: ListEventsRequest,
) -> (Vec<Record>, Option<CommandError>) {
    let mut page = Vec::new();
    let mut stream = match open(connection, question).await {
        Ok(stream) => stream,
        Err(error) => return (page, Some(error)),
    };
    loop {
        match stream.message().await {
            Ok(Some(record)) => page.push(Record::new(record)),
            Ok(None) => return (page, None),
            Err(status) => return (page, Some(connection.refused(status))),
        }
    }
}
