//! `postern audit key`

use super::keys::{pinned, said_keys};
use super::proof::Source;
use crate::connection::Connection;
use crate::context::Context;
use crate::error::Result;
use crate::time::rfc3339_ms;

/// Print the key that signs the log, for whoever verifies it elsewhere
///
/// A verifier key of C2SP's signed notes: NAME+ID+KEY. The one that this profile heard first is kept, and
/// after it each that followed: the last checkpoint of a key names the next and is signed by both. Another one
/// is an error. On the controller itself: `postern-controller check` has it, and
/// `postern-controller audit rotate-key` replaces it.
///
/// JSON fields: audit_key, audit_keys (key, last_record, ended_at).
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern audit key > postern-audit.key
  postern audit key --chain")]
pub(crate) struct KeyArgs {
    /// All keys that the log ever had, the oldest first, with the last record that each has signed
    #[arg(long)]
    chain: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(context: &Context, args: KeyArgs) -> Result {
    let KeyArgs { chain, json } = args;
    let connection = Connection::open(&context.profile).await?;
    let (begin, _) = Source::ask(connection, String::new()).await?;
    let keys = pinned(context, &begin, None)?;
    let newest = keys.newest();
    if json {
        return context.ui.json(&serde_json::json!({
            "audit_key": newest.to_string(), "audit_keys": said_keys(&keys),
        }));
    }
    if chain {
        for ended in keys.successions() {
            let (key, last) = (&ended.from, &ended.checkpoint);
            let (size, at) = (last.size, rfc3339_ms(last.at_ms));
            context
                .ui
                .say(format_args!("{key}  to record {size} at {at}"))?;
        }
        return context.ui.say(format_args!("{newest}  signs"));
    }
    context.ui.say(newest)
}
