//! `postern policy rollback`

use fleet::wire::RollbackPolicyRequest;

use super::generation::changed;
use crate::connection::{Connection, ask};
use crate::context::Context;
use crate::error::Result;

/// Bring back the text of an older generation, as a new one
#[derive(clap::Args, Debug)]
pub(crate) struct RollbackArgs {
    /// Generation to bring back, as `postern policy history` numbers it
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    generation: u64,

    /// Why, for the history [default: rollback to generation N]
    #[arg(short = 'm', long, value_name = "WHY")]
    message: Option<String>,
}

pub(super) async fn run(context: &Context, args: RollbackArgs) -> Result {
    let message = args
        .message
        .unwrap_or_else(|| format!("rollback to generation {}", args.generation));
    let connection = Connection::open(&context.profile).await?;
    let done = connection
        .operator()
        .rollback_policy(ask(RollbackPolicyRequest {
            generation: args.generation,
            message,
            ..RollbackPolicyRequest::default()
        }))
        .await
        .map_err(|status| connection.refused(status))?
        .into_inner();
    context.profile.saw_generation(done.generation)?;
    context.ui.say(format_args!(
        "Brought back generation {} as generation {}; {}.",
        args.generation,
        done.generation,
        changed(&done.changed_hosts)
    ))
}
