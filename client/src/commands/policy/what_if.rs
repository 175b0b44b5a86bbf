//! `postern policy what-if`

use std::path::PathBuf;
use std::time::Duration;

use fleet::wire::{WhatIfChange, WhatIfRequest};
use serde::Serialize;

use super::test_lines;
use crate::connection::{Connection, ask};
use crate::context::{Context, Listing};
use crate::error::{CommandError, Result};
use crate::policy_file::PolicyFile;
use crate::time;

/// Judging a month of a large fleet takes a while.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

/// Judge what happened by another text: which grants it would have refused
///
/// The grants and refusals of the audit are asked again of this file, each at its own time. A refusal
/// for a port that no stanza permitted is asked for that port; what was refused as a replay or as too
/// old would be refused by every text. Hosts are judged by the labels that they have now.
///
/// Whoever may not read the audit is told how many grants and refusals would end otherwise, and not whose.
///
/// JSON fields, one object a line by `type`: `change` (result: would-refuse or would-grant, user, host,
/// ports, source, count, last_at, last_at_ms, reason), and last `total` (judged, same, unknown, and
/// warnings).
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern policy what-if access.conf --since 30d
  postern policy what-if access.conf --since 7d --json | jq 'select(.result == \"would-refuse\")'")]
pub(crate) struct WhatIfArgs {
    /// Policy file, or `-` for standard input
    file: PathBuf,

    /// Not before: RFC 3339, a date, or how long ago
    #[arg(long, value_name = "TIME", default_value = "30d")]
    since: String,

    /// Before: RFC 3339, a date, or how long ago
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    #[command(flatten)]
    listing: Listing,
}

/// What would have ended otherwise, in JSON. The names are part of the interface.
#[derive(Debug, Serialize)]
struct Row<'a> {
    r#type: &'static str,
    result: &'static str,
    user: &'a str,
    host: &'a str,
    ports: &'a [String],
    /// Of the newest one.
    source: &'a str,
    count: u64,
    last_at: String,
    last_at_ms: u64,
    reason: &'a str,
}

/// The numbers, in JSON. The names are part of the interface.
#[derive(Debug, Serialize)]
struct Total<'a> {
    r#type: &'static str,
    judged: u64,
    same: u64,
    unknown: u64,
    warnings: &'a [String],
}

pub(super) async fn run(context: &Context, args: WhatIfArgs) -> Result {
    let point = |text: &str, option: &str| {
        time::parse(text, context.now_secs)
            .map_err(|problem| CommandError::usage(format!("{option} `{text}`: {problem}")))
    };
    let since_ms = point(&args.since, "--since")?;
    let until_ms = args.until.as_deref().map(|until| point(until, "--until"));
    let until_ms = until_ms.transpose()?.unwrap_or(0);
    let end_ms = if until_ms == 0 {
        context.now_secs.saturating_mul(1_000)
    } else {
        until_ms
    };
    if since_ms >= end_ms {
        return Err(CommandError::usage(format!(
            "--since `{}` is not before {}",
            args.since,
            args.until.as_deref().unwrap_or("now")
        )));
    }
    let file = PolicyFile::read(&args.file)?;
    if let Some(words) = file.says_of_keys() {
        context.ui.note(words);
    }
    let connection = Connection::open(&context.profile).await?;
    context
        .ui
        .note("Asking the audit; a long time takes a while.");
    let mut request = ask(WhatIfRequest {
        text: file.whole_text().to_string(),
        file: file.name.clone(),
        since_ms,
        until_ms,
    });
    request.set_timeout(ANSWER_TIMEOUT);
    let answer = connection
        .operator()
        .what_if(request)
        .await
        .map_err(|status| connection.refused_policy(status))?
        .into_inner();
    for warning in &answer.warnings {
        context.ui.note(warning);
    }
    let tests: Vec<_> = answer.tests.iter().map(test_lines::Row::from).collect();
    let rows: Vec<Row<'_>> = answer.changes.iter().map(Row::from).collect();
    if args.listing.json {
        rows.iter().try_for_each(|row| context.ui.json(row))?;
        context.ui.json(&Total {
            r#type: "total",
            judged: answer.judged,
            same: answer.same,
            unknown: answer.unknown,
            warnings: &answer.warnings,
        })?;
        return test_lines::must_hold(&file.name, &tests);
    }
    for row in &rows {
        context.ui.say(sentence(row))?;
    }
    context.ui.say(format_args!(
        "{} judged: {} would end as they did; {} do not say enough to be judged again.",
        answer.judged, answer.same, answer.unknown
    ))?;
    test_lines::note(&context.ui, &tests);
    test_lines::must_hold(&file.name, &tests)
}

/// "would refuse 12 grants of alice on web-1 (tcp/22; last 2026-11-20 10:03:11Z from 192.0.2.7): ..."
fn sentence(row: &Row<'_>) -> String {
    let Row {
        result,
        user,
        host,
        ports,
        source,
        count,
        last_at_ms,
        reason,
        ..
    } = row;
    let (done, what) = if *result == WOULD_REFUSE {
        ("would refuse", "grant")
    } else {
        ("would grant", "refusal")
    };
    let plural = if *count == 1 { "" } else { "s" };
    if user.is_empty() && host.is_empty() {
        return format!("{done} {count} {what}{plural}");
    }
    format!(
        "{done} {count} {what}{plural} of {user} on {host} ({}; last {} from {source}): {reason}",
        ports.join(", "),
        time::short(*last_at_ms)
    )
}

const WOULD_REFUSE: &str = "would-refuse";
const WOULD_GRANT: &str = "would-grant";

impl<'a> From<&'a WhatIfChange> for Row<'a> {
    fn from(change: &'a WhatIfChange) -> Self {
        let WhatIfChange {
            user,
            host,
            ports,
            source,
            count,
            last_at_ms,
            refused,
            reason,
        } = change;
        Self {
            r#type: "change",
            result: if *refused { WOULD_REFUSE } else { WOULD_GRANT },
            user,
            host,
            ports,
            source,
            count: *count,
            last_at: match last_at_ms {
                0 => String::new(),
                at_ms => time::rfc3339_ms(*at_ms),
            },
            last_at_ms: *last_at_ms,
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_have_ended_otherwise_is_said_with_user_host_and_reason() {
        let change = WhatIfChange {
            user: "alice".to_owned(),
            host: "web-1".to_owned(),
            ports: vec!["tcp/22".to_owned()],
            source: "192.0.2.7".to_owned(),
            count: 12,
            last_at_ms: 1_795_435_730_000,
            refused: true,
            reason: "stanza web: tcp/22 is not in OPEN_PORTS".to_owned(),
        };

        assert_eq!(
            sentence(&Row::from(&change)),
            "would refuse 12 grants of alice on web-1 (tcp/22; last 2026-11-23 12:08:50Z from \
             192.0.2.7): stanza web: tcp/22 is not in OPEN_PORTS"
        );
        let one = WhatIfChange {
            refused: false,
            count: 1,
            ..change
        };
        assert!(sentence(&Row::from(&one)).starts_with("would grant 1 refusal of alice"));
        let counted = WhatIfChange {
            refused: true,
            count: 3,
            ..WhatIfChange::default()
        };
        assert_eq!(sentence(&Row::from(&counted)), "would refuse 3 grants");
    }
}
