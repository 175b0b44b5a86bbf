//! `postern policy rollback`

use fleet::wire::RollbackPolicyRequest;

use super::exposure::{self, Done};
use super::generation::{changed, why};
use super::{access, test_lines};
use crate::connection::{Connection, ask};
use crate::context::Context;
use crate::error::Result;

/// Bring back the text of an older generation, as a new one
///
/// It is refused when one of its `%test` lines fails, and without --allow-public when it would make a
/// hidden port public on any host.
///
/// JSON fields: those of `postern policy apply`.
#[derive(clap::Args, Debug)]
pub(crate) struct RollbackArgs {
    /// Generation to bring back, as `postern policy history` numbers it
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    generation: u64,

    /// Why, for the history [default: rollback to generation N]
    #[arg(short = 'm', long, value_name = "WHY", value_parser = why)]
    message: Option<String>,

    /// The controller was restored from an older copy, and this is what is to be in force now
    #[arg(long)]
    after_restore: bool,

    /// Make ports public that are hidden now, where the old text does that
    #[arg(long)]
    allow_public: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(context: &Context, args: RollbackArgs) -> Result {
    let message = args
        .message
        .unwrap_or_else(|| format!("rollback to generation {}", args.generation));
    let connection = Connection::open(&context.profile).await?;
    let request = RollbackPolicyRequest {
        generation: args.generation,
        message,
        allow_public: args.allow_public,
        after_restore: args.after_restore,
    };
    let done = connection
        .change("postern policy history", async |mut operator| {
            operator.rollback_policy(ask(request)).await
        })
        .await
        .map_err(|status| exposure::refused(&connection, status))?
        .into_inner();
    context.profile.saw_generation(done.generation);
    context.ui.warn_of(&done.warnings);
    let tests: Vec<_> = done.tests.iter().map(test_lines::Row::from).collect();
    test_lines::note(&context.ui, &tests);
    if args.json {
        return context.ui.json(&Done {
            generation: done.generation,
            changed_hosts: &done.changed_hosts,
            exposure: exposure::rows(&done.exposure),
            access: access::rows(&done.access),
            unchanged: done.unchanged,
            warnings: &done.warnings,
        });
    }
    if done.unchanged {
        return context.ui.say(format_args!(
            "Nothing to bring back: the text of generation {} is what is in force as generation {}.",
            args.generation, done.generation
        ));
    }
    context.ui.say_of(access::sentences(&done.access))?;
    context.ui.say_of(exposure::sentences(&done.exposure))?;
    context.ui.say(format_args!(
        "Brought back generation {} as generation {}; {}.",
        args.generation,
        done.generation,
        changed(&done.changed_hosts)
    ))
}
