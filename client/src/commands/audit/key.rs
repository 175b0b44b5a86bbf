//! `postern audit key`

use super::proof::Source;
use super::verify::pinned;
use crate::connection::Connection;
use crate::context::Context;
use crate::error::Result;

/// Print the key that signs the log, for whoever verifies it elsewhere
///
/// A verifier key of C2SP's signed notes: NAME+ID+KEY. The one that this profile heard first is kept, and
/// another one is an error. On the controller itself: `postern-controller check` has it.
///
/// JSON fields: audit_key.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern audit key > postern-audit.key")]
pub(crate) struct KeyArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(context: &Context, args: KeyArgs) -> Result {
    let connection = Connection::open(&context.profile).await?;
    let (begin, _) = Source::ask(connection, String::new()).await?;
    let key = pinned(context, &begin.audit_key, None)?.to_string();
    if args.json {
        return context.ui.json(&serde_json::json!({ "audit_key": key }));
    }
    context.ui.say(key)
}
