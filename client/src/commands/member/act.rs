//! `postern member lock`, `unlock` and `remove`

use fleet::wire::{LockMemberRequest, MemberEntry, RemoveMemberRequest, UnlockMemberRequest};

use super::target::Target;
use super::wait::{Done, Progress, Wait};
use crate::connection::Connection;
use crate::context::Context;
use crate::error::Result;

/// Take all rights from a member, or from one key of a user, until it is unlocked
///
/// At the controller it is in force at once: its calls are refused and its streams end, also those that
/// are open. Hosts close what a user has open, live connections too, within a second of hearing it; each
/// is named when it has acknowledged. Tokens that it made, or that were made for it, are revoked. It keeps
/// its name. What a lock does not reach is warned of: keys that stand in the policy's text, and hosts
/// that are away, which hear of it when they come back (then the exit code is 4).
///
/// JSON: one object for the member (act, role, name, key, locked, warnings), then one for each host (host,
/// acknowledged, connected) as it acknowledges, and at the end those that have not.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern member lock alice -m 'left the company'
  postern member lock alice --key laptop -m 'laptop lost'
  postern member lock operator/mbr --wait 30s")]
pub(super) struct LockArgs {
    #[command(flatten)]
    common: Common,

    /// Why, for the audit
    #[arg(short = 'm', long, value_name = "WHY", default_value = "")]
    reason: String,
}

/// Give a locked member, or a locked key, its rights back
///
/// A lock of the member and those of single keys are apart: unlocking one leaves the others.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern member unlock alice
  postern member unlock alice --key laptop")]
pub(super) struct UnlockArgs {
    #[command(flatten)]
    common: Common,
}

/// End a membership, or take one key from a user, for good
///
/// As a lock, and the name is free for somebody else. A stanza with a key in its text does not open for
/// the name of a removed user until somebody joins by it. What the audit knows stays.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern member remove alice -m 'left the company'
  postern member remove alice --key phone
  postern member remove host/web-1")]
pub(super) struct RemoveArgs {
    #[command(flatten)]
    common: Common,

    /// Why, for the audit
    #[arg(short = 'm', long, value_name = "WHY", default_value = "")]
    reason: String,
}

/// What all three take.
#[derive(clap::Args, Debug)]
struct Common {
    #[command(flatten)]
    target: Target,

    /// Only this key of a user
    #[arg(long, value_name = "KEY", default_value = "")]
    key: String,

    #[command(flatten)]
    wait: Wait,
}

pub(super) async fn lock(context: &Context, args: LockArgs) -> Result {
    let LockArgs { common, reason } = args;
    let (connection, member) = common.find(context).await?;
    let request = LockMemberRequest {
        role: member.role,
        name: member.name.clone(),
        key_name: common.key.clone(),
        reason,
        wait_secs: common.wait.secs(),
    };
    let answer = connection
        .change("postern member list", async |mut operator| {
            operator.lock_member(common.wait.ask(request)).await
        })
        .await;
    common
        .follow(context, &connection, ("Locked", &member), answer)
        .await
}

pub(super) async fn unlock(context: &Context, args: UnlockArgs) -> Result {
    let UnlockArgs { common } = args;
    let (connection, member) = common.find(context).await?;
    let request = UnlockMemberRequest {
        role: member.role,
        name: member.name.clone(),
        key_name: common.key.clone(),
        wait_secs: common.wait.secs(),
    };
    let answer = connection
        .change("postern member list", async |mut operator| {
            operator.unlock_member(common.wait.ask(request)).await
        })
        .await;
    common
        .follow(context, &connection, ("Unlocked", &member), answer)
        .await
}

pub(super) async fn remove(context: &Context, args: RemoveArgs) -> Result {
    let RemoveArgs { common, reason } = args;
    let (connection, member) = common.find(context).await?;
    let request = RemoveMemberRequest {
        role: member.role,
        name: member.name.clone(),
        key_name: common.key.clone(),
        reason,
        wait_secs: common.wait.secs(),
    };
    let answer = connection
        .change("postern member list", async |mut operator| {
            operator.remove_member(common.wait.ask(request)).await
        })
        .await;
    common
        .follow(context, &connection, ("Removed", &member), answer)
        .await
}

// === impl Common ===

impl Common {
    async fn find(&self, context: &Context) -> Result<(Connection, MemberEntry)> {
        let connection = Connection::open(&context.profile).await?;
        let (_, member) = self.target.find(&connection).await?;
        Ok((connection, member))
    }

    async fn follow(
        &self,
        context: &Context,
        connection: &Connection,
        (act, member): (&str, &MemberEntry),
        answer: Progress,
    ) -> Result {
        let done = Done {
            act,
            role: member.role,
            name: &member.name,
            key: &self.key,
            is_aside: false,
        };
        self.wait.follow(context, connection, &done, answer).await
    }
}
