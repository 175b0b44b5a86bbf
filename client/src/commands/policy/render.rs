//! `postern policy render`

use fleet::wire::RenderPolicyRequest;

use crate::connection::{Connection, ask};
use crate::context::Context;
use crate::error::Result;

/// Show the policy of one host, as the controller compiles it
///
/// Keys are redacted.
#[derive(clap::Args, Debug)]
pub(crate) struct RenderArgs {
    /// Host, as `postern host list` names it
    #[arg(long, value_name = "NAME")]
    host: String,
}

pub(super) async fn run(context: &Context, args: RenderArgs) -> Result {
    let connection = Connection::open(&context.profile).await?;
    let rendered = connection
        .operator()
        .render_policy(ask(RenderPolicyRequest {
            host: args.host.clone(),
        }))
        .await
        .map_err(|status| connection.refused(status))?
        .into_inner();
    context.ui.note(format_args!(
        "Policy of host {} at generation {}.",
        args.host, rendered.generation
    ));
    context.ui.text(&rendered.text)
}
