//! `postern member replace`

use std::time::Duration;

use fleet::wire::CreateTokenRequest;

use super::target::Target;
use crate::commands::token::create::{TTL_DEFAULT, make, ttl};
use crate::connection::Connection;
use crate::context::{Context, Listing};
use crate::error::Result;

/// Make a token that puts its bearer in the place of a member, or of one key of a user
///
/// The name stays, with new keys: the new member is another one, and what it was can do nothing any more
/// from the moment in which the token is redeemed. Until then nothing changes; lock first what must not
/// wait. A host keeps its labels. Standard output has nothing but the token.
///
/// JSON fields: those of `postern token create`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern member replace alice
  postern member replace alice --key laptop
  postern member replace host/web-1 --ttl 10m")]
pub(super) struct ReplaceArgs {
    #[command(flatten)]
    target: Target,

    /// Only this key of a user
    #[arg(long, value_name = "KEY", default_value = "")]
    key: String,

    /// How long the token can be used, as 10m, 1h or 2d
    #[arg(long, value_name = "TIME", default_value = TTL_DEFAULT, value_parser = ttl)]
    ttl: Duration,

    #[command(flatten)]
    listing: Listing,
}

pub(super) async fn run(context: &Context, args: ReplaceArgs) -> Result {
    let connection = Connection::open(&context.profile).await?;
    let (role, member) = args.target.find(&connection).await?;
    let request = CreateTokenRequest {
        role: member.role,
        name: member.name,
        labels: [].into(),
        ttl_secs: args.ttl.as_secs(),
        key_name: args.key,
        replace: true,
        scope: [].into(),
    };
    make(context, &connection, (role, request), args.listing).await
}
