//! `postern policy diff`

use std::path::PathBuf;

use fleet::wire::{DiffPolicyRequest, HostChange, ShowPolicyRequest};
use serde::Serialize;
use similar::TextDiff;
use tonic::Code;

use super::exposure;
use super::generation::changed;
use crate::connection::{Connection, ask};
use crate::context::{Context, Listing};
use crate::error::Result;
use crate::policy_file::PolicyFile;

/// Show what a policy file would change: hosts, stanzas and lines
///
/// Nothing is stored. Keys are redacted; a host whose keys change is named all the same.
///
/// What strangers reach is said in words: what becomes public, and what becomes hidden.
///
/// JSON fields of a host: host, added, removed, changed (names of stanzas), becomes_public,
/// becomes_hidden (ports).
#[derive(clap::Args, Debug)]
pub(crate) struct DiffArgs {
    /// Policy file, or `-` for standard input
    file: PathBuf,

    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    host: &'a str,
    added: &'a [String],
    removed: &'a [String],
    changed: &'a [String],
    becomes_public: &'a [String],
    becomes_hidden: &'a [String],
}

pub(super) async fn run(context: &Context, args: DiffArgs) -> Result {
    let file = PolicyFile::read(&args.file)?;
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
    for warning in &plan.warnings {
        context.ui.warn(warning);
    }
    context.profile.saw_generation(plan.base_generation)?;
    let mut exposed = exposure::by_host(&plan.exposure);
    if args.listing.json {
        plan.hosts.iter().try_for_each(|change| {
            let HostChange {
                host,
                added,
                removed,
                changed,
            } = change;
            let exposure = exposed.remove(host.as_str()).unwrap_or_default();
            context.ui.json(&Row {
                host,
                added,
                removed,
                changed,
                becomes_public: exposure.becomes_public,
                becomes_hidden: exposure.becomes_hidden,
            })
        })?;
        // None is left where the controller reads the policy in force.
        return exposed.into_values().try_for_each(|left| {
            context.ui.json(&Row {
                host: left.host,
                added: &[],
                removed: &[],
                changed: &[],
                becomes_public: left.becomes_public,
                becomes_hidden: left.becomes_hidden,
            })
        });
    }
    let old = current_text(&connection, plan.base_generation).await?;
    let new = policy::redact_text(&file.whole_text());
    let base = format!("generation {}", plan.base_generation);
    let lines = TextDiff::from_lines(&old, &new)
        .unified_diff()
        .header(&base, &file.name)
        .to_string();
    context.ui.text(&lines)?;
    for change in &plan.hosts {
        context.ui.say(host_line(change))?;
    }
    for sentence in exposure::sentences(&plan.exposure) {
        context.ui.say(sentence)?;
    }
    let hosts: Vec<String> = plan.hosts.into_iter().map(|change| change.host).collect();
    context.ui.say(format_args!(
        "Against generation {}, {}.",
        plan.base_generation,
        changed(&hosts)
    ))
}

/// The policy in force as the controller shows it; nothing before the first.
async fn current_text(connection: &Connection, generation: u64) -> Result<String> {
    let shown = connection
        .operator()
        .show_policy(ask(ShowPolicyRequest { generation }))
        .await;
    match shown {
        Ok(shown) => Ok(shown.into_inner().text),
        Err(status) if status.code() == Code::NotFound => Ok(String::new()),
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
