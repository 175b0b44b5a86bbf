//! `postern member rotate`

use fleet::wire::{RotateMemberRequest, RotateMemberResponse};

use super::row::Row;
use super::target::Target;
use crate::connection::{Connection, ask};
use crate::context::{Context, Listing};
use crate::error::Result;

/// Ask a member to make new keys, as those that a desktop has been using for a year
///
/// Nothing stops working: `postern sync` and `postern list` say so to whoever uses the key, and she runs
/// `postern profile rotate`. A host does it by itself, as `postern-agent rotate-keys` does there. A key that may be in
/// other hands is not asked but locked or replaced (`postern member replace --lost`). Until it is done,
/// `postern member show` says since when it is asked for.
///
/// JSON fields: those of `postern member list`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern member rotate alice
  postern member rotate alice --key laptop -m 'a year old'
  postern member rotate operator/mbr
  postern member rotate host/web-1")]
pub(super) struct RotateArgs {
    #[command(flatten)]
    target: Target,

    /// Only this key of a user
    #[arg(long, value_name = "KEY", default_value = "")]
    key: String,

    /// Why, for the audit
    #[arg(short = 'm', long, value_name = "WHY", default_value = "")]
    reason: String,

    #[command(flatten)]
    listing: Listing,
}

pub(super) async fn run(context: &Context, args: RotateArgs) -> Result {
    let connection = Connection::open(&context.profile).await?;
    let (role, found) = args.target.find(&connection).await?;
    let request = RotateMemberRequest {
        role: found.role,
        name: found.name.clone(),
        key_name: args.key,
        reason: args.reason,
    };
    let RotateMemberResponse { member } = connection
        .change("postern member show NAME", async |mut operator| {
            operator.rotate_member(ask(request)).await
        })
        .await
        .map_err(|status| connection.refused(status))?
        .into_inner();
    let member = member.unwrap_or(found);
    let row = Row::from(&member);
    if args.listing.json {
        return context.ui.json(&row);
    }
    let asked = row.keys.iter().filter(|key| key.rotation_asked_ms > 0);
    let asked: Vec<&str> = asked.map(|key| key.name).collect();
    let name = &member.name;
    if asked.is_empty() {
        return context.ui.say(format_args!(
            "New keys of {role} {name} are on their way already."
        ));
    }
    context.ui.say(format_args!(
        "Asked {role} {name} for new keys in the place of: {}.",
        asked.join(", ")
    ))
}
