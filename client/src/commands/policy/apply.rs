//! `postern policy apply`

use std::path::PathBuf;

use fleet::wire::ApplyPolicyRequest;

use super::exposure::{self, Done};
use super::generation::{changed, current_generation, why};
use super::{access, test_lines};
use crate::connection::{Connection, ask};
use crate::context::Context;
use crate::error::Result;
use crate::policy_file::PolicyFile;

/// Make a policy file the policy of the fleet
///
/// The file is checked here, its includes are resolved here, and it goes to the controller over TLS
/// only. It is refused when the policy has changed since this profile last saw it, when one of its
/// `%test` lines fails, and, without --allow-public, when it would make a hidden port public on any
/// host. What is in force already makes no generation, and is exit code 0 all the same.
///
/// A file that `policy show` has printed needs no keys back: the controller puts those that were left out
/// into the stanzas of the same names, where these are otherwise as they are in force.
///
/// JSON fields: generation, changed_hosts, exposure (host, becomes_public, becomes_hidden), access (user,
/// key, host, gains, loses, changes, runs, runs_no_more), unchanged, warnings.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern policy diff access.conf && postern policy apply access.conf -m 'ssh for the new team'
  postern policy apply access.conf -m 'from git' --base 41
  POSTERN_PROFILE=/run/secrets/postern postern policy apply access.conf -m $COMMIT   # in CI")]
pub(crate) struct ApplyArgs {
    /// Policy file, or `-` for standard input
    file: PathBuf,

    /// Why, for the history
    #[arg(short = 'm', long, value_name = "WHY", value_parser = why)]
    message: String,

    /// Generation that the file is based on [default: the one this profile saw last]
    #[arg(long, value_name = "N")]
    base: Option<u64>,

    /// The controller was restored from an older copy, and this is what is to be in force now
    #[arg(long)]
    after_restore: bool,

    /// Make ports public that are hidden now, where the file does that
    #[arg(long)]
    allow_public: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(context: &Context, args: ApplyArgs) -> Result {
    let file = PolicyFile::read(&args.file)?;
    if let Some(words) = file.says_of_keys() {
        context.ui.note(words);
    }
    // The controller's answer holds the warnings of the text, and those that only it can know.
    let connection = Connection::open(&context.profile).await?;
    let base_generation = match args.base {
        Some(base) => base,
        None => base(context, &connection).await?,
    };
    let request = ApplyPolicyRequest {
        text: file.whole_text().to_string(),
        base_generation,
        message: args.message,
        file: file.name.clone(),
        allow_public: args.allow_public,
        after_restore: args.after_restore,
    };
    let applied = connection
        .change("postern policy history", async |mut operator| {
            operator.apply_policy(ask(request)).await
        })
        .await
        .map_err(|status| exposure::refused(&connection, status))?
        .into_inner();
    context.ui.warn_of(&applied.warnings);
    let tests: Vec<_> = applied.tests.iter().map(test_lines::Row::from).collect();
    test_lines::note(&context.ui, &tests);
    context.profile.saw_generation(applied.generation);
    if args.json {
        return context.ui.json(&Done {
            generation: applied.generation,
            changed_hosts: &applied.changed_hosts,
            exposure: exposure::rows(&applied.exposure),
            access: access::rows(&applied.access),
            unchanged: applied.unchanged,
            warnings: &applied.warnings,
        });
    }
    if applied.unchanged {
        return context.ui.say(format_args!(
            "Nothing to apply: {} is what is in force as generation {}.",
            file.name, applied.generation
        ));
    }
    context.ui.say_of(access::sentences(&applied.access))?;
    context.ui.say_of(exposure::sentences(&applied.exposure))?;
    context.ui.say(format_args!(
        "Applied {} as generation {}; {}.",
        file.stanzas(),
        applied.generation,
        changed(&applied.changed_hosts)
    ))
}

/// What the operator saw last, or else what is in force now.
async fn base(context: &Context, connection: &Connection) -> Result<u64> {
    let seen = context.profile.seen_generation()?;
    let why = match seen {
        // A profile that forgets what it sees would be behind for ever.
        Some(seen) if context.profile.saw_generation(seen) => return Ok(seen),
        Some(_) => "This profile is read-only and does not say what was seen last",
        None => "This profile has seen no policy yet",
    };
    let current = current_generation(connection).await?;
    context.ui.note(format_args!(
        "{why}; based on generation {current}, which is in force."
    ));
    Ok(current)
}
