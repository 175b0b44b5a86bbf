//! `postern host ban`

use fleet::wire::{BanHostRequest, LockMemberRequest, Role};
use tonic::{Code, Status};

use crate::commands::member::wait::{Done, Wait};
use crate::connection::{Connection, ask};
use crate::context::Context;
use crate::error::Result;

/// Put a host out of the fleet, until it is unlocked
///
/// The older name of `postern member lock host/NAME`: the host may do nothing any more, grants nothing, and
/// is in nobody's directory. It keeps its name, which nobody else can take: `postern member unlock` gives
/// the host its rights back, `postern member replace` lets another machine take its place and name, and only
/// `postern member remove` frees the name. The host is named when it has closed what was open; if it is
/// away, the exit code is 4.
///
/// JSON: as `postern member lock`.
#[derive(clap::Args, Debug)]
pub(crate) struct BanArgs {
    /// Host, as `postern host list` names it
    name: String,

    /// Why, for the audit
    #[arg(short = 'm', long, value_name = "WHY", default_value = "")]
    reason: String,

    #[command(flatten)]
    wait: Wait,
}

pub(super) async fn run(context: &Context, args: BanArgs) -> Result {
    let BanArgs { name, reason, wait } = args;
    let connection = Connection::open(&context.profile).await?;
    connection
        .change("postern host list", async |mut operator| {
            let ban = BanHostRequest {
                name: name.clone(),
                reason: reason.clone(),
            };
            operator.ban_host(ask(ban)).await
        })
        .await
        .map_err(|status| connection.refused(status))?;
    // A lock of what is locked is not recorded again; it tells whether the host has heard.
    let request = wait.ask(LockMemberRequest {
        role: Role::Host.into(),
        name: name.clone(),
        key_name: String::new(),
        reason,
        wait_secs: wait.secs(),
    });
    let answer = connection
        .change("postern host list", async |mut operator| {
            operator.lock_member(request).await
        })
        .await;
    if answer.as_ref().is_err_and(is_older) {
        return context.ui.say(format_args!("Banned host {name}."));
    }
    let done = Done {
        act: "Banned",
        role: Role::Host.into(),
        name: &name,
        key: "",
        is_aside: false,
    };
    wait.follow(context, &connection, &done, answer).await
}

/// Whether the controller is of a version that tells of no host.
fn is_older(status: &Status) -> bool {
    status.code() == Code::Unimplemented
}
