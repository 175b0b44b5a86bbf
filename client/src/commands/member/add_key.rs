//! `postern member add-key`

use std::time::Duration;

use fleet::Role;
use fleet::wire::CreateTokenRequest;

use super::target::Target;
use crate::commands::token::create::{TTL_DEFAULT, make, ttl};
use crate::connection::Connection;
use crate::context::{Context, Listing};
use crate::error::{CommandError, Result};

/// Make a token that gives a user who is there one more key, for a second device
///
/// The device has a key of its own, which is locked, renewed and removed by itself; what it may open is what
/// the user may. Standard output has nothing but the token.
///
/// JSON fields: those of `postern token create`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern member add-key alice --key phone
  postern member add-key alice --key work-laptop --ttl 2d")]
pub(super) struct AddKeyArgs {
    #[command(flatten)]
    target: Target,

    /// Name of the key, as phone
    #[arg(long, value_name = "KEY")]
    key: String,

    /// How long the token can be used, as 10m, 1h or 2d
    #[arg(long, value_name = "TIME", default_value = TTL_DEFAULT, value_parser = ttl)]
    ttl: Duration,

    #[command(flatten)]
    listing: Listing,
}

pub(super) async fn run(context: &Context, args: AddKeyArgs) -> Result {
    let connection = Connection::open(&context.profile).await?;
    let (role, member) = args.target.find(&connection).await?;
    if role != Role::User {
        let problem = format!(
            "{role} {} has one key: only users have several",
            member.name
        );
        return Err(CommandError::usage(problem)
            .with_hint("`postern member replace` gives a member another key"));
    }
    let request = CreateTokenRequest {
        role: member.role,
        name: member.name,
        ttl_secs: args.ttl.as_secs(),
        key_name: args.key,
        ..CreateTokenRequest::default()
    };
    make(context, &connection, (role, request), args.listing).await
}
