//! `postern audit export`

use std::path::PathBuf;

use super::proof::{Export, Source};
use super::verify::Progress;
use crate::connection::Connection;
use crate::context::Context;
use crate::error::{CommandError, Result};
use crate::time::rfc3339_ms;

/// Write the whole log into a file, with everything that an outsider needs to verify it
///
/// A new file, one JSON object a line: a header, each record as the bytes that were chained with its
/// chain values, the signed checkpoints, and an end. It holds everything that the log says, so only
/// its owner may read it. Whoever gets it verifies it with `postern audit verify FILE --key KEY`, without
/// a controller; the key must come by another way (`postern audit key`).
///
/// JSON fields: file, records, audit_key.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern audit export 2026-q4.jsonl
  postern audit key")]
pub(crate) struct ExportArgs {
    /// File to write, which is not there yet
    file: PathBuf,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(context: &Context, args: ExportArgs) -> Result {
    let ExportArgs { file, json } = args;
    if file.as_os_str() == "-" {
        return Err(CommandError::usage(
            "an export goes into a file, which has its name when it is whole",
        )
        .with_hint("postern audit export log.jsonl"));
    }
    let connection = Connection::open(&context.profile).await?;
    let kept = context.profile.audit_checkpoint()?.unwrap_or_default();
    let (begin, mut source) = Source::ask(connection, kept).await?;
    let at = rfc3339_ms(context.now_secs * 1_000);
    let mut export = Export::create(&file, &begin, at)?;
    let mut progress = Progress::new(context, "written", begin.records);
    loop {
        let part = source.next().await?;
        progress.add(part.rows.len());
        let is_end = part.is_end;
        export.part(part)?;
        if is_end {
            break;
        }
    }
    let records = export.finish()?;
    let name = file.display().to_string();
    if json {
        return context.ui.json(&serde_json::json!({
            "file": name, "records": records, "audit_key": begin.audit_key,
        }));
    }
    context
        .ui
        .say(format_args!("{name} has {records} records"))?;
    context.ui.note(format_args!(
        "verify it anywhere: postern audit verify {name} --key {}",
        begin.audit_key
    ));
    Ok(())
}
