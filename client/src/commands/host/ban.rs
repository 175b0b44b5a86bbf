//! `postern host ban`

use fleet::wire::BanHostRequest;

use crate::connection::{Connection, ask};
use crate::context::Context;
use crate::error::Result;

/// Put a host out of the fleet, until it is unlocked
///
/// The same as `postern member lock host/NAME`: it may do nothing any more, grants nothing, and is in
/// nobody's directory. It keeps its name; `postern member unlock` takes the ban back,
/// `postern member replace` lets another machine take the name, `postern member remove` frees it.
#[derive(clap::Args, Debug)]
pub(crate) struct BanArgs {
    /// Host, as `postern host list` names it
    name: String,

    /// Why, for the audit
    #[arg(short = 'm', long, value_name = "WHY", default_value = "")]
    reason: String,
}

pub(super) async fn run(context: &Context, args: BanArgs) -> Result {
    let connection = Connection::open(&context.profile).await?;
    connection
        .operator()
        .ban_host(ask(BanHostRequest {
            name: args.name.clone(),
            reason: args.reason,
        }))
        .await
        .map_err(|status| connection.refused(status))?;
    context.ui.say(format_args!("Banned host {}.", args.name))
}
