//! `postern policy import`: a fleet policy, proposed from the access.conf of many hosts.

mod proposal;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use policy::{Dialect, NoIncludes, Policy, ReadError, Source};
use program::files;
use serde::Serialize;
use zeroize::Zeroizing;

use self::proposal::Proposal;
use crate::context::{Context, Listing};
use crate::error::{CommandError, Result};

/// Propose one fleet policy from the access.conf of many hosts
///
/// Nothing is sent. Stanzas that say the same on several hosts become one with all of their HOSTS,
/// users that occur together in several stanzas a %group, and a key that is good on several hosts
/// is told: whoever takes it from one of them has all. What is printed is a policy that `postern
/// policy check` takes; it holds the keys of the files, so --to writes it for you alone (0600).
///
/// DIR is a folder with an access.conf in it or in etc/fwknop below it, as from a backup of the
/// host, or the file itself. An absolute %include is looked for below DIR. Lines that may be meant
/// otherwise are told, and the moment that a date is: of the zone of etc/localtime below DIR, else
/// of this machine's.
///
/// JSON fields, one object a line by `type`: `warning` (message), `stanza` (name, hosts, places),
/// and last `policy` (hosts, stanzas, stanzas_before, text; no text with --to).
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern policy import web-1=/backup/web-1 web-2=/backup/web-2 db-1=./db-1/access.conf --to fleet.conf
  postern policy check fleet.conf && postern policy diff fleet.conf")]
pub(crate) struct ImportArgs {
    /// A host, by the name that it has or will have in the fleet, and where its files are
    #[arg(value_name = "HOST=DIR", required = true, value_parser = host_and_dir)]
    hosts: Vec<(String, PathBuf)>,

    /// Write the policy into this file, which must not be there yet
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,

    #[command(flatten)]
    listing: Listing,
}

/// In JSON. The names are part of the interface.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Row<'a> {
    Warning {
        message: &'a str,
    },
    Stanza {
        name: &'a str,
        hosts: &'a [String],
        places: &'a [String],
    },
    Policy {
        hosts: usize,
        stanzas: usize,
        stanzas_before: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<&'a str>,
    },
}

pub(super) fn run(context: &Context, args: &ImportArgs) -> Result {
    let policies = read_all(&args.hosts)?;
    let proposal = Proposal::of(&policies);
    let text = Zeroizing::new(proposal.text());
    // What is proposed must be one.
    policy::parse("the proposal", &text, &NoIncludes).map_err(|mistakes| {
        CommandError::invalid(format!(
            "what these files say together is no policy of a fleet\n{mistakes}"
        ))
    })?;
    if let Some(path) = &args.to {
        files::create(path, 0o600, text.as_bytes()).map_err(|cause| {
            CommandError::failed(format!("cannot write {}", path.display()), cause)
        })?;
    }
    let ui = &context.ui;
    if args.listing.json {
        for message in &proposal.warnings {
            ui.json(&Row::Warning { message })?;
        }
        for stanza in &proposal.stanzas {
            ui.json(&Row::Stanza {
                name: &stanza.name,
                hosts: &stanza.hosts,
                places: &stanza.places,
            })?;
        }
        return ui.json(&Row::Policy {
            hosts: policies.len(),
            stanzas: proposal.stanzas.len(),
            stanzas_before: proposal.before,
            text: args.to.is_none().then_some(&**text),
        });
    }
    ui.warn_of(&proposal.warnings);
    match &args.to {
        None => ui.text(&text),
        Some(path) => ui.say(format_args!(
            "{}: {} stanzas for {} hosts, of {} that they have; `postern policy check` takes it",
            path.display(),
            proposal.stanzas.len(),
            policies.len(),
            proposal.before
        )),
    }
}

fn host_and_dir(text: &str) -> std::result::Result<(String, PathBuf), String> {
    let (host, dir) = text
        .split_once('=')
        .filter(|(host, dir)| !host.is_empty() && !dir.is_empty())
        .ok_or("it is not like web-1=/backup/web-1")?;
    policy::Selector::parse(&format!("name={host}")).map_err(|cause| cause.to_string())?;
    Ok((host.to_owned(), dir.into()))
}

/// Every mistake of every host at once.
fn read_all(hosts: &[(String, PathBuf)]) -> Result<BTreeMap<String, Policy>> {
    let mut policies = BTreeMap::new();
    let mut mistakes = Vec::new();
    for (host, dir) in hosts {
        let path = access_file(dir);
        let bytes = files::read_bytes(&path, FILE_BYTES_MAX).map(Zeroizing::new);
        let bytes = bytes.map_err(|cause| CommandError::unreadable(&path, cause))?;
        let text = files::legacy_text(&bytes).map(Zeroizing::new);
        let text = text.map_err(|cause| CommandError::unreadable(&path, cause))?;
        let tree = Tree {
            root: if dir.is_dir() { Some(dir) } else { None },
        };
        let name = path.display().to_string();
        match policy::parse_as(Dialect::Alone, &name, &text, &tree) {
            Ok(policy) => {
                if policies.insert(host.clone(), policy).is_some() {
                    let message = format!("{host} is named twice");
                    return Err(CommandError::usage(message));
                }
            }
            Err(invalid) => mistakes.push(invalid.to_string()),
        }
    }
    if mistakes.is_empty() {
        return Ok(policies);
    }
    let text = mistakes.join("\n");
    Err(CommandError::invalid(format!(
        "not all of these files can be read\n{text}"
    )))
}

fn access_file(dir: &Path) -> PathBuf {
    if !dir.is_dir() {
        return dir.to_owned();
    }
    let near = dir.join("access.conf");
    let far = dir.join("etc/fwknop/access.conf");
    if !near.exists() && far.exists() {
        far
    } else {
        near
    }
}

/// As the agent reads them at most.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The files of another host: an absolute name is one below its root, never one of this machine.
struct Tree<'a> {
    root: Option<&'a Path>,
}

impl Tree<'_> {
    fn place(&self, path: &Path) -> PathBuf {
        match self.root {
            Some(root) if path.is_absolute() && !path.starts_with(root) => {
                let below: PathBuf = path.components().skip(1).collect();
                root.join(below)
            }
            Some(_) | None => path.to_owned(),
        }
    }
}

impl Source for Tree<'_> {
    fn read(&self, path: &Path) -> std::result::Result<Zeroizing<String>, ReadError> {
        let bytes = Zeroizing::new(files::read_bytes(&self.place(path), FILE_BYTES_MAX)?);
        Ok(files::legacy_text(&bytes).map(Zeroizing::new)?)
    }

    fn list_conf(&self, dir: &Path) -> std::result::Result<Vec<PathBuf>, ReadError> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.place(dir))? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "conf") {
                files.push(path);
            }
        }
        Ok(files)
    }

    /// Of the host, where its folder says which; else of this machine.
    fn time_zone(&self) -> TimeZone {
        let of_host = self.root.and_then(|root| {
            let link = fs::read_link(root.join("etc/localtime")).ok()?;
            let (_, name) = link.to_str()?.split_once("zoneinfo/")?;
            TimeZone::get(name).ok()
        });
        of_host
            .or_else(|| program::time::zone().ok())
            .unwrap_or(TimeZone::UTC)
    }
}
