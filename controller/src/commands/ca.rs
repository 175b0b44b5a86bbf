//! `postern-controller ca`: the fleet's certificate authority, and how another follows it.

use clap::{Args, Subcommand};
use controller::{AuthorityStatus, RotateStep, Rotated, Waiting};
use serde::Serialize;

use super::data::DataArgs;
use super::error::CommandError;

/// See and rotate the fleet's certificate authority
///
/// Works beside a running controller, which follows within seconds, and without one.
#[derive(Args, Debug)]
pub(crate) struct CaArgs {
    #[command(subcommand)]
    command: CaCommand,
}

#[derive(Debug, Subcommand)]
enum CaCommand {
    Status(StatusArgs),
    Rotate(RotateArgs),
}

/// Show which authorities count, and who does not know the newest yet
#[derive(Args, Debug)]
struct StatusArgs {
    #[command(flatten)]
    data: DataArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Replace the fleet's certificate authority by another, without stranding anyone
///
/// Three stages. The first call makes the next authority and tells every member of it: hosts that are
/// connected at once, others when they next renew their certificate or fetch the directory. When all know it,
/// it issues; when nobody needs the former one any more, its key is destroyed. A running controller takes both
/// steps by itself; --issue and --finish take them now. Whoever was away meanwhile is not stranded: the
/// former authority vouches for the new one, and what it signed for that is shown to everybody.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  postern-controller ca rotate
  postern-controller ca status
  postern-controller ca rotate --issue
  postern-controller ca rotate --finish
  postern-controller ca rotate --compromised")]
struct RotateArgs {
    #[command(flatten)]
    data: DataArgs,
    /// Let the next authority issue now, whoever does not know it yet
    #[arg(long, group = "step")]
    issue: bool,
    /// Destroy the key of the former authority now
    #[arg(long, group = "step")]
    finish: bool,
    /// Also where members would be stranded: with --finish those whose programs may be too old to follow,
    /// without it those who have missed six authorities
    #[arg(long, conflicts_with_all = ["issue", "compromised", "directory_key"])]
    force: bool,
    /// The key may be in other hands: believe nothing of it from now on, and say who must join anew
    #[arg(long, group = "step")]
    compromised: bool,
    /// Only have directories signed by another key
    #[arg(long, group = "step")]
    directory_key: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What a rotation came to, as JSON.
#[derive(Serialize)]
struct RotatedRow<'a> {
    done: &'a str,
    must_join: &'a [Waiting],
    #[serde(flatten)]
    status: &'a AuthorityStatus,
}

// === impl CaArgs ===

impl CaArgs {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(CommandError::Runtime)?;
        match self.command {
            CaCommand::Status(args) => {
                let data = args.data.enter()?;
                let status = runtime.block_on(controller::ca_status(&data))?;
                if args.json {
                    return print_json(&status);
                }
                Ok(program::print(text(&status))?)
            }
            CaCommand::Rotate(args) => {
                let step = args.step();
                let data = args.data.enter()?;
                let rotated = runtime.block_on(controller::rotate_ca(&data, step))?;
                say(&rotated);
                let Rotated {
                    what,
                    must_join,
                    status,
                } = &rotated;
                if args.json {
                    return print_json(&RotatedRow {
                        done: what,
                        must_join,
                        status,
                    });
                }
                Ok(program::print(text(status))?)
            }
        }
    }
}

// === impl RotateArgs ===

impl RotateArgs {
    fn step(&self) -> RotateStep {
        if self.issue {
            RotateStep::Issue
        } else if self.finish {
            RotateStep::Finish { force: self.force }
        } else if self.compromised {
            RotateStep::Compromised
        } else if self.directory_key {
            RotateStep::DirectoryKey
        } else if self.force {
            RotateStep::BeginAnyway
        } else {
            RotateStep::Begin
        }
    }
}

fn say(rotated: &Rotated) {
    program::note(format_args!("Done: {}.", rotated.what));
    if rotated.must_join.is_empty() {
        return;
    }
    program::note(format_args!(
        "{} must join anew, each with a token of its own that takes its place:",
        rotated.must_join.len()
    ));
    for line in program::few::lines(rotated.must_join.iter().flat_map(commands_of)) {
        program::note(format_args!("  {line}"));
    }
}

/// What is to be done for a member, as it is typed: here, and where the member is.
fn commands_of(it: &Waiting) -> [String; 2] {
    let Waiting {
        role, name, key, ..
    } = it;
    let of_key = match key.as_str() {
        "default" => String::new(),
        key => format!(" --key-name {key}"),
    };
    let join = match role.as_str() {
        "host" => "postern-agent join --token - --force",
        _ => "postern join - --force",
    };
    [
        format!(
            "here:      postern-controller token create --role {role} --name {name}{of_key} --replace"
        ),
        format!("at {name}: {join}"),
    ]
}

fn print_json(row: &impl Serialize) -> Result<(), CommandError> {
    let text = serde_json::to_string(row).unwrap_or_default();
    Ok(program::print(format!("{text}\n"))?)
}

fn text(status: &AuthorityStatus) -> String {
    let mut lines = vec![match status.stage {
        "none" => "No rotation is under way.".to_owned(),
        stage => format!(
            "A rotation is under way: {stage} since {}.",
            status.stage_since
        ),
    }];
    for it in &status.authorities {
        lines.push(format!(
            "{:<8} SHA-256 {}  since {}, believed until {}",
            it.state, it.sha256, it.since, it.ends
        ));
    }
    let ends = &status.server_certificate_ends;
    lines.push(format!(
        "server   certificate until {ends}, renewed by itself"
    ));
    if !status.directory_key.is_empty() {
        let since = &status.directory_key_since;
        lines.push(format!(
            "directories are signed by {} since {since}",
            status.directory_key
        ));
    }
    if status.waits_for.is_empty() {
        lines.push("Every member knows the newest authority.".to_owned());
    } else {
        lines.push(format!(
            "{} do not know the newest authority:",
            status.waits_for.len()
        ));
    }
    let waiting = status.waits_for.iter().map(|it| {
        let old = if it.may_be_too_old {
            "; its program may be too old to learn it"
        } else {
            ""
        };
        format!(
            "  {} {} (key {}), last seen {}, last renewed {}; its certificate is of {}{old}",
            it.role, it.name, it.key, it.last_seen, it.last_renewed, it.certificate_of
        )
    });
    lines.extend(program::few::lines(waiting));
    lines.join("\n") + "\n"
}
