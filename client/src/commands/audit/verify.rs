//! `postern audit verify`

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fleet::audit::{AuditKey, Checkpoint, Fault, InvalidCheckpoint, KeyChain, Verdict, Verifier};
use fleet::wire::LogBegin;
use program::files;
use serde_json::json;

use super::keys::{chain_of_export, is_note, kept_note, pinned, said_if_not_kept, said_keys};
use super::proof::{ExportReader, Source};
use crate::connection::Connection;
use crate::context::Context;
use crate::error::{CommandError, Result};
use crate::time::rfc3339_ms;

/// Between two lines that say how far it is.
const SAID_EVERY: Duration = Duration::from_secs(5);

/// Verify that nothing in the log was changed, removed or inserted
///
/// Reads the whole log, of the controller or in an export, and checks every record: what its host has
/// chained, the chain over the whole log, what the log is searched by, what retention has removed, and the
/// checkpoints that the controller has signed. The first record that is not as it was is named.
///
/// The last checkpoint that was verified is kept in this profile, and the log must go on from there: so it is
/// found when the newest records were removed, whoever removed them. `--checkpoint` compares the log with what
/// others keep, as each host does: `postern-agent audit --checkpoint`.
///
/// An export needs no controller, and the key by another way than the file. Where the key was replaced in the
/// course of the log, any of its keys will do: each has signed the next, and the last of each is verified.
///
/// Exit code 0 when all is as it was, 1 when it is not, 2 when the export cannot be read, or a file to
/// compare it with is none. JSON fields: records, faults, first_record, first_kind, first, proven_records,
/// proven_at, checkpoints, pruned, pruned_before, flawed, audit_key, audit_keys (key, last_record, ended_at).
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern audit verify
  postern audit verify 2026-q4.jsonl --key \"$(cat postern-audit.key)\"
  postern audit verify --checkpoint web-1.note")]
pub(crate) struct VerifyArgs {
    /// Export to verify instead of the controller's log; `-` is standard input
    file: Option<PathBuf>,

    /// Key that signs the log, as `postern audit key` prints it
    #[arg(long, value_name = "KEY")]
    key: Option<AuditKey>,

    /// Checkpoint that somebody keeps, in a file; several are possible
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,

    /// The controller was put back to an older copy, and that is known: keep what the log is now
    #[arg(long, conflicts_with = "file")]
    after_restore: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Says now and then how far something is.
#[derive(Debug)]
pub(super) struct Progress<'a> {
    context: &'a Context,
    what: &'static str,
    done: u64,
    of: u64,
    said: Instant,
}

/// A log that was read to its end.
struct Read {
    verdict: Verdict,
    /// The note over most of the records that were read.
    last_note: Option<String>,
}

pub(super) async fn run(context: &Context, args: VerifyArgs) -> Result {
    let VerifyArgs {
        file,
        key,
        checkpoint,
        after_restore,
        json,
    } = args;
    let mut others = Vec::new();
    for path in &checkpoint {
        others.push((format!("{} holds", path.display()), read_note(path)?));
    }
    let (begin, mut source, keys) = match &file {
        Some(path) => {
            let (begin, reader) = ExportReader::open(path)?;
            let keys = chain_of_export(context, (path, &begin), key)?;
            (begin, Source::File(Box::new(reader)), keys)
        }
        None => {
            let kept = if after_restore {
                String::new()
            } else {
                kept_note(context)?
            };
            let connection = Connection::open(&context.profile).await?;
            let (begin, source) = Source::ask(connection, kept.clone()).await?;
            let keys = pinned(context, &begin, key)?;
            if !kept.is_empty() {
                others.push(("this profile keeps".to_owned(), kept));
            }
            (begin, source, keys)
        }
    };
    let read = read(context, (&begin, &mut source), (&keys, &others)).await?;
    let faults = read.verdict.faults_count;
    say(context, json, &read.verdict, &keys)?;
    if faults > 0 {
        return Err(CommandError::answered());
    }
    if file.is_none()
        && let Some(note) = &read.last_note
    {
        let newest = keys.newest().to_string();
        said_if_not_kept(context, context.profile.keep_audit(&newest, note));
    }
    Ok(())
}

/// No checkpoint comes near this, bytes.
const NOTE_BYTES_MAX: u64 = 64 << 10;

/// A checkpoint that somebody else keeps. A file that is none is a slip of the hand, and says nothing of the log.
fn read_note(path: &Path) -> Result<String> {
    let read = files::read_named(path, NOTE_BYTES_MAX).and_then(files::text);
    let note = read.map_err(|cause| CommandError::unreadable(path, cause).unanswered())?;
    if is_note(&note) {
        return Ok(note);
    }
    let (path, form) = (path.display(), InvalidCheckpoint::Form);
    Err(CommandError::refused(format!("{path}: {form}"))
        .with_hint("`postern-agent audit --checkpoint` on a host prints the one that it keeps")
        .unanswered())
}

/// Reads the log to its end.
async fn read(
    context: &Context,
    (begin, source): (&LogBegin, &mut Source),
    (keys, others): (&KeyChain, &[(String, String)]),
) -> Result<Read> {
    let mut verifier = Verifier::with_keys(Some(keys.clone()));
    for (whose, note) in others {
        verifier.checkpoint(whose, note);
    }
    let mut progress = Progress::new(context, "verified", begin.records);
    let mut last_note = None;
    loop {
        let part = source.next().await?;
        progress.add(part.rows.len());
        let mut notes = part
            .notes
            .into_iter()
            .map(|note| (size_of(&note, keys), note))
            .peekable();
        for row in &part.rows {
            verifier.row(row);
            while let Some((_, note)) = notes.next_if(|(size, _)| *size <= row.id) {
                verifier.checkpoint("stands in the log", &note);
                last_note = Some(note);
            }
        }
        for (_, note) in notes {
            verifier.checkpoint("stands in the log", &note);
            last_note = Some(note);
        }
        if part.is_end {
            let verdict = whole(verifier.finish());
            return Ok(Read { verdict, last_note });
        }
    }
}

/// What comes after the last checkpoint is proven by nothing.
fn whole(mut verdict: Verdict) -> Verdict {
    let proven = verdict.proven.as_ref().map_or(0, |proven| proven.size);
    if verdict.faults_count == 0 && proven < verdict.records {
        verdict.unproven(proven + 1);
    }
    verdict
}

/// How many records a note covers; 0 of one that proves nothing, which is then said where it stands.
fn size_of(note: &str, keys: &KeyChain) -> u64 {
    keys.open(note).map_or(0, |checkpoint| checkpoint.size)
}

fn say(context: &Context, json: bool, verdict: &Verdict, keys: &KeyChain) -> Result {
    let first = verdict.first();
    let proven = verdict.proven.as_ref();
    if json {
        return context.ui.json(&json!({
            "records": verdict.records,
            "faults": verdict.faults_count,
            "first_record": first.map(|fault| fault.record),
            "first_kind": first.map(|fault| fault.kind.as_str()),
            "first": first.map(|fault| &fault.words),
            "proven_records": proven.map_or(0, |proven| proven.size),
            "proven_at": proven.map(|proven| rfc3339_ms(proven.at_ms)),
            "checkpoints": verdict.checkpoints,
            "pruned": verdict.pruned,
            "pruned_before": (verdict.pruned > 0).then(|| rfc3339_ms(verdict.pruned_before_ms)),
            "flawed": verdict.flawed,
            "audit_key": keys.newest().to_string(),
            "audit_keys": said_keys(keys),
        }));
    }
    if let Some(last) = keys.successions().last() {
        let (count, size) = (keys.successions().len() + 1, last.checkpoint.size);
        context.ui.say(format_args!(
            "keys       {count}, each signed by the one before; the last signs from record {size} on"
        ))?;
    }
    for line in lines(verdict) {
        context.ui.say(line)?;
    }
    Ok(())
}

/// The verdict for people, a line each.
fn lines(verdict: &Verdict) -> Vec<String> {
    let Verdict {
        records,
        faults,
        faults_count,
        proven,
        checkpoints,
        pruned,
        pruned_before_ms,
        flawed,
        ..
    } = verdict;
    let mut lines = Vec::new();
    if *pruned > 0 {
        let before = rfc3339_ms(*pruned_before_ms);
        lines.push(format!(
            "retention  {pruned} records from before {before} have no body any more, as the log says"
        ));
    }
    if *flawed > 0 {
        lines.push(format!(
            "hosts      {flawed} records came with something wrong, and say so (flaw)"
        ));
    }
    if let Some(Checkpoint { size, at_ms, .. }) = proven {
        let at = rfc3339_ms(*at_ms);
        lines.push(format!(
            "signed     up to record {size} at {at}, by {checkpoints} checkpoints"
        ));
    }
    let Some(first) = verdict.first() else {
        lines.push(format!(
            "log        {records} records, none changed, removed or inserted"
        ));
        return lines;
    };
    let (record, kind) = (first.record, first.kind.as_str());
    let s = if *faults_count == 1 { "" } else { "s" };
    lines.push(format!(
        "log        NOT as it was: {faults_count} fault{s} in {records} records; the first is record {record}, \
         {kind}"
    ));
    lines.extend(faults.iter().map(line));
    let named = faults.len() as u64;
    if *faults_count > named {
        lines.push(format!("           and {} more", faults_count - named));
    }
    lines
}

fn line(fault: &Fault) -> String {
    let Fault {
        record,
        kind,
        words,
    } = fault;
    format!("           record {record}: {}: {words}", kind.as_str())
}

// === impl Progress ===

impl<'a> Progress<'a> {
    pub(super) fn new(context: &'a Context, what: &'static str, of: u64) -> Self {
        Self {
            context,
            what,
            done: 0,
            of,
            said: crate::clock::moment(),
        }
    }

    pub(super) fn add(&mut self, records: usize) {
        self.done += records as u64;
        if self.said.elapsed() >= SAID_EVERY {
            self.said = crate::clock::moment();
            let Self { what, done, of, .. } = self;
            self.context
                .ui
                .note(format_args!("{what} {done} of {of} records"));
        }
    }
}

#[cfg(test)]
mod tests;
