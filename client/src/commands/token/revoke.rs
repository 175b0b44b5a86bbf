//! `postern token revoke`

use fleet::wire::RevokeTokenRequest;

use super::row::Row;
use crate::connection::{Connection, ask};
use crate::context::Context;
use crate::error::Result;

/// Take back a token that has not been used
///
/// Whoever has it can join with it no more. A token that was used already made a member: lock that one.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern token revoke 3f9a")]
pub(super) struct RevokeArgs {
    /// Token, as `postern token list` names it, or the beginning of that
    id: String,
}

pub(super) async fn run(context: &Context, args: RevokeArgs) -> Result {
    let connection = Connection::open(&context.profile).await?;
    let answer = connection
        .change("postern token list", async |mut operator| {
            let revoked = RevokeTokenRequest { id: args.id };
            operator.revoke_token(ask(revoked)).await
        })
        .await
        .map_err(|status| connection.refused(status))?
        .into_inner();
    let token = answer.token.unwrap_or_default();
    let row = Row::from(&token);
    let (id, bearer) = (row.id, row.bearer());
    context
        .ui
        .say(format_args!("Revoked token {id} for {bearer}."))
}
