//! `postern policy diff`

use std::collections::BTreeSet;
use std::path::PathBuf;

use fleet::wire::{DiffPolicyRequest, DiffPolicyResponse, HostChange, ShowPolicyRequest};
use serde::Serialize;
use similar::TextDiff;
use tonic::Code;

use super::generation::changed;
use super::{access, exposure, test_lines};
use crate::connection::{Connection, ask};
use crate::context::{Context, Listing};
use crate::error::{CommandError, Result};
use crate::policy_file::PolicyFile;

/// Show what a policy file would change: people, hosts, stanzas and lines
///
/// Nothing is stored. Keys are redacted; a host whose keys change is named all the same.
///
/// What people gain and lose is said by their rights and not by the text: a stanza with another name
/// changes nobody's. What strangers reach is said too: what becomes public, and what becomes hidden.
/// A `%test` line of the file that fails is exit code 64.
///
/// JSON fields, one object a line by `type`: `host` (host, added, removed, changed: names of stanzas;
/// becomes_public, becomes_hidden: ports; access: what users gain and lose there), `test` (file, line,
/// text, result: passed, failed or not-run, detail), `warning` (message), and last `policy`
/// (base_generation, unchanged).
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern policy diff access.conf
  postern policy diff --exit-code access.conf      # for CI: 0 nothing to apply, 1 differs, 64 mistakes
  postern policy diff --json access.conf | jq 'select(.type == \"host\") | .access[]'")]
pub(crate) struct DiffArgs {
    /// Policy file, or `-` for standard input
    file: PathBuf,

    /// Exit with 1 when the file is not what is in force: an apply would make a generation
    #[arg(long)]
    exit_code: bool,

    #[command(flatten)]
    listing: Listing,
}

/// What changes for one host, in JSON. The names are part of the interface.
#[derive(Debug, Default, Serialize)]
struct Row<'a> {
    r#type: &'static str,
    host: &'a str,
    added: &'a [String],
    removed: &'a [String],
    changed: &'a [String],
    becomes_public: &'a [String],
    becomes_hidden: &'a [String],
    access: Vec<access::Row<'a>>,
}

#[derive(Debug, Serialize)]
struct Warning<'a> {
    r#type: &'static str,
    message: &'a str,
}

/// The policy as a whole, in JSON. The names are part of the interface.
#[derive(Debug, Serialize)]
struct Whole {
    r#type: &'static str,
    base_generation: u64,
    unchanged: bool,
}

pub(super) async fn run(context: &Context, args: DiffArgs) -> Result {
    let answers_by_code = args.exit_code;
    let done = show(context, args).await;
    if answers_by_code {
        return done.map_err(CommandError::unanswered);
    }
    done
}

async fn show(context: &Context, args: DiffArgs) -> Result {
    let file = PolicyFile::read(&args.file)?;
    if let Some(words) = file.says_of_keys() {
        context.ui.note(words);
    }
    // The controller's answer holds the warnings of the text, and those that only it can know.
    let connection = Connection::open(&context.profile).await?;
    let plan = connection
        .operator()
        .diff_policy(ask(DiffPolicyRequest {
            text: file.whole_text().to_string(),
            file: file.name.clone(),
        }))
        .await
        .map_err(|status| connection.refused_policy(status))?
        .into_inner();
    context.ui.warn_of(&plan.warnings);
    context.profile.saw_generation(plan.base_generation);
    let tests: Vec<_> = plan.tests.iter().map(test_lines::Row::from).collect();
    if args.listing.json {
        json(context, &plan, &tests)?;
    } else {
        lines(context, &connection, &file, &plan).await?;
        words(context, &plan)?;
        test_lines::note(&context.ui, &tests);
    }
    test_lines::must_hold(&file.name, &tests)?;
    if args.exit_code && !plan.unchanged {
        return Err(CommandError::answered());
    }
    Ok(())
}

fn json(context: &Context, plan: &DiffPolicyResponse, tests: &[test_lines::Row]) -> Result {
    let exposed = exposure::by_host(&plan.exposure);
    let stanzas = plan.hosts.iter().map(|change| change.host.as_str());
    let people = plan.access.iter().map(|change| change.host.as_str());
    let hosts: BTreeSet<&str> = stanzas
        .chain(people)
        .chain(exposed.keys().copied())
        .collect();
    for host in hosts {
        let exposure = exposed.get(host).copied().unwrap_or_default();
        let mut row = Row {
            r#type: "host",
            host,
            becomes_public: exposure.becomes_public,
            becomes_hidden: exposure.becomes_hidden,
            ..Row::default()
        };
        if let Some(change) = plan.hosts.iter().find(|change| change.host == host) {
            row.added = &change.added;
            row.removed = &change.removed;
            row.changed = &change.changed;
        }
        let here = plan.access.iter().filter(|change| change.host == host);
        row.access = here.map(access::Row::from).collect();
        context.ui.json(&row)?;
    }
    tests.iter().try_for_each(|test| context.ui.json(test))?;
    for message in &plan.warnings {
        context.ui.json(&Warning {
            r#type: "warning",
            message,
        })?;
    }
    context.ui.json(&Whole {
        r#type: "policy",
        base_generation: plan.base_generation,
        unchanged: plan.unchanged,
    })
}

/// The lines that differ.
async fn lines(
    context: &Context,
    connection: &Connection,
    file: &PolicyFile,
    plan: &DiffPolicyResponse,
) -> Result {
    let Some(old) = current_text(connection, plan.base_generation).await? else {
        context
            .ui
            .note("Who only checks policy does not see the one in force: lines are not shown.");
        return Ok(());
    };
    let new = policy::redact_text(&file.whole_text());
    let base = format!("generation {}", plan.base_generation);
    let lines = TextDiff::from_lines(&without_places(&old), &without_places(&new))
        .unified_diff()
        .header(&base, &file.name)
        .to_string();
    context.ui.text(&lines)
}

/// Where the lines of an included file stood is not what changes.
fn without_places(text: &str) -> String {
    let lines = text.split_inclusive('\n');
    lines.filter(|line| !line.starts_with("#line ")).collect()
}

fn words(context: &Context, plan: &DiffPolicyResponse) -> Result {
    for change in &plan.hosts {
        context.ui.say(host_line(change))?;
    }
    context.ui.say_of(access::sentences(&plan.access))?;
    context.ui.say_of(exposure::sentences(&plan.exposure))?;
    let hosts: Vec<String> = plan
        .hosts
        .iter()
        .map(|change| change.host.clone())
        .collect();
    context.ui.say(format_args!(
        "Against generation {}, {}.",
        plan.base_generation,
        changed(&hosts)
    ))
}

/// The policy in force as the controller shows it; nothing before the first, `None` to whoever may not
/// see it.
async fn current_text(connection: &Connection, generation: u64) -> Result<Option<String>> {
    // What is refused is an event: it is not tried in vain.
    if connection.role() == fleet::Role::Validator {
        return Ok(None);
    }
    let shown = connection
        .operator()
        .show_policy(ask(ShowPolicyRequest { generation }))
        .await;
    match shown {
        Ok(shown) => Ok(Some(shown.into_inner().text)),
        Err(status) if status.code() == Code::NotFound => Ok(Some(String::new())),
        Err(status) if status.code() == Code::PermissionDenied => Ok(None),
        Err(status) => Err(connection.refused(status)),
    }
}

fn host_line(change: &HostChange) -> String {
    let HostChange {
        host,
        added,
        removed,
        changed,
    } = change;
    let part = |sign: char, names: &[String]| {
        names
            .iter()
            .map(|name| format!(" {sign}{name}"))
            .collect::<String>()
    };
    format!(
        "{host}:{}{}{}",
        part('+', added),
        part('-', removed),
        part('~', changed)
    )
}
