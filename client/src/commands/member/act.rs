//! `postern member lock`, `unlock` and `remove`

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::wire::{
    HostProgress, LockMemberRequest, MemberEntry, MemberProgress, RemoveMemberRequest,
    UnlockMemberRequest,
};
use serde::Serialize;
use tonic::{Request, Response, Status, Streaming};

use super::target::Target;
use crate::connection::Connection;
use crate::context::{Context, Listing};
use crate::error::{CommandError, Result};

/// What the answer may take beyond the time that hosts are waited for.
const GRACE: Duration = Duration::from_secs(30);

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

    /// How long to wait for hosts to acknowledge
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    wait: Duration,

    #[command(flatten)]
    listing: Listing,
}

/// An answer that tells of hosts as they hear.
type Progress = Result<Response<Streaming<MemberProgress>>, Status>;

#[derive(Debug, Serialize)]
struct Told<'a> {
    act: &'a str,
    role: &'a str,
    name: &'a str,
    key: &'a str,
    locked: bool,
    warnings: &'a [String],
}

#[derive(Debug, Serialize)]
struct HostRow<'a> {
    host: &'a str,
    acknowledged: bool,
    connected: bool,
}

pub(super) async fn lock(context: &Context, args: LockArgs) -> Result {
    let LockArgs { common, reason } = args;
    let (connection, member) = common.find(context).await?;
    let request = LockMemberRequest {
        role: member.role,
        name: member.name.clone(),
        key_name: common.key.clone(),
        reason,
        wait_secs: common.wait_secs(),
    };
    let answer = connection.operator().lock_member(common.ask(request)).await;
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
        wait_secs: common.wait_secs(),
    };
    let answer = connection
        .operator()
        .unlock_member(common.ask(request))
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
        wait_secs: common.wait_secs(),
    };
    let answer = connection
        .operator()
        .remove_member(common.ask(request))
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

    /// At least 1: 0 is the controller's own choice.
    fn wait_secs(&self) -> u32 {
        u32::try_from(self.wait.as_secs())
            .unwrap_or(u32::MAX)
            .max(1)
    }

    fn ask<T>(&self, question: T) -> Request<T> {
        let mut request = Request::new(question);
        request.set_timeout(self.wait.saturating_add(GRACE));
        request
    }

    /// Tells what was done and each host that has heard. Ends with code 4 when some have not.
    async fn follow(
        &self,
        context: &Context,
        connection: &Connection,
        (act, member): (&str, &MemberEntry),
        answer: Progress,
    ) -> Result {
        let mut stream = answer
            .map_err(|status| connection.refused(status))?
            .into_inner();
        let first = stream.message().await;
        let first = first.map_err(|status| connection.refused(status))?;
        let MemberProgress {
            member: after,
            hosts,
            warnings,
        } = first.unwrap_or_default();
        self.tell(
            context,
            (act, member),
            &after.unwrap_or_default(),
            &warnings,
        )?;
        let mut missing = BTreeMap::new();
        self.take(context, hosts, &mut missing)?;
        loop {
            match stream.message().await {
                Ok(Some(progress)) => self.take(context, progress.hosts, &mut missing)?,
                Ok(None) => break,
                // It is done; only the rest of the story is lost.
                Err(status) => {
                    let lost = connection.refused(status);
                    context.ui.warn(program::one_line(&lost));
                    break;
                }
            }
        }
        self.finish(context, missing.into_values())
    }

    fn tell(
        &self,
        context: &Context,
        (act, before): (&str, &MemberEntry),
        after: &MemberEntry,
        warnings: &[String],
    ) -> Result {
        let role = fleet::Role::try_from(before.role).map_or("member", fleet::Role::as_str);
        if self.listing.json {
            return context.ui.json(&Told {
                act: &act.to_lowercase(),
                role,
                name: &before.name,
                key: &self.key,
                locked: after.locked,
                warnings,
            });
        }
        let name = &before.name;
        match self.key.as_str() {
            "" => context.ui.say(format_args!("{act} {role} {name}."))?,
            key => context
                .ui
                .say(format_args!("{act} key {key} of {role} {name}."))?,
        }
        for warning in warnings {
            context.ui.warn(warning);
        }
        Ok(())
    }

    /// Tells of hosts that have acknowledged, and keeps the others.
    fn take(
        &self,
        context: &Context,
        hosts: Vec<HostProgress>,
        missing: &mut BTreeMap<String, HostProgress>,
    ) -> Result {
        for host in hosts {
            if !host.acknowledged {
                missing.insert(host.host.clone(), host);
                continue;
            }
            missing.remove(&host.host);
            self.host(context, &host)?;
        }
        Ok(())
    }

    fn host(&self, context: &Context, progress: &HostProgress) -> Result {
        let HostProgress {
            host,
            acknowledged,
            connected,
        } = progress;
        if self.listing.json {
            return context.ui.json(&HostRow {
                host,
                acknowledged: *acknowledged,
                connected: *connected,
            });
        }
        let (mark, state) = match (acknowledged, connected) {
            (true, _) => ("+", "acknowledged"),
            (false, true) => ("-", "has not acknowledged yet"),
            (false, false) => ("-", "away"),
        };
        context.ui.say(format_args!("{mark} {host}  {state}"))
    }

    fn finish(
        &self,
        context: &Context,
        missing: impl ExactSizeIterator<Item = HostProgress>,
    ) -> Result {
        if missing.len() == 0 {
            return Ok(());
        }
        let mut names = Vec::new();
        for host in missing {
            self.host(context, &host)?;
            names.push(host.host);
        }
        Err(CommandError::partly(format!(
            "in force at the controller, and not yet on {}",
            names.join(", ")
        ))
        .with_hint("they get it as soon as they are connected; run this again to see"))
    }
}
