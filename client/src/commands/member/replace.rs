//! `postern member replace`

use std::time::Duration;

use fleet::wire::{CreateTokenRequest, LockMemberRequest};

use super::target::Target;
use super::wait::{Done, Wait};
use crate::commands::token::create::{TTL_DEFAULT, make, ttl};
use crate::connection::Connection;
use crate::context::Context;
use crate::error::Result;

/// Make a token that puts its bearer in the place of a member, or of one key of a user
///
/// The name stays, with new keys: the new member is another one, and what it was can do nothing any more
/// from the moment in which the token is redeemed. A host keeps its labels. Until then nothing changes: that
/// is right for a machine that is installed anew. A laptop that was lost must not wait: with --lost it is
/// locked first, as by `postern member lock`; that, and which hosts have heard of it, is said on standard error.
/// Standard output has nothing but the token, so that it can be sent on to where it is used. Exit code 4
/// says that the token is made, and some other host has not heard of the lock yet.
///
/// JSON fields: those of `postern token create`; with --lost first those of `postern member lock`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern member replace alice --key laptop --lost -m 'left in a train'    a lost laptop
  postern member replace host/web-1 --ttl 10m                              a host that is installed anew
  postern member replace host/web-1 --lost | ssh web-1 postern-agent join --token-file -
  postern member replace alice                                             a new laptop, the old one at hand")]
pub(super) struct ReplaceArgs {
    #[command(flatten)]
    target: Target,

    /// Only this key of a user
    #[arg(long, value_name = "KEY", default_value = "")]
    key: String,

    /// How long the token can be used, as 10m, 1h or 2d
    #[arg(long, value_name = "TIME", default_value = TTL_DEFAULT, value_parser = ttl)]
    ttl: Duration,

    /// It is lost: lock it at once
    #[arg(long)]
    lost: bool,

    /// Why, for the audit
    #[arg(
        short = 'm',
        long,
        value_name = "WHY",
        default_value = "lost",
        requires = "lost"
    )]
    reason: String,

    #[command(flatten)]
    wait: Wait,
}

pub(super) async fn run(context: &Context, args: ReplaceArgs) -> Result {
    let connection = Connection::open(&context.profile).await?;
    let (role, member) = args.target.find(&connection).await?;
    let locked = if args.lost {
        let request = LockMemberRequest {
            role: member.role,
            name: member.name.clone(),
            key_name: args.key.clone(),
            reason: args.reason,
            wait_secs: args.wait.secs(),
        };
        let request = args.wait.ask(request);
        let answer = connection
            .change("postern member list", async |mut operator| {
                operator.lock_member(request).await
            })
            .await;
        let answer = Ok(answer.map_err(|status| connection.refused(status))?);
        let done = Done {
            act: "Locked",
            role: member.role,
            name: &member.name,
            key: &args.key,
            is_aside: true,
        };
        // A host that is away hears of it later; the token is needed now.
        args.wait.follow(context, &connection, &done, answer).await
    } else {
        Ok(())
    };
    let request = CreateTokenRequest {
        role: member.role,
        name: member.name,
        labels: [].into(),
        ttl_secs: args.ttl.as_secs(),
        key_name: args.key,
        replace: true,
        scope: [].into(),
    };
    make(context, &connection, (role, request), args.wait.listing).await?;
    locked
}
