//! `postern sync`

use crate::commands::profile::rotate;
use crate::connection::Connection;
use crate::context::Context;
use crate::directory::Directory;
use crate::error::Result;

/// Fetch the directory of the hosts that you may open
///
/// The directory is signed by the fleet's authority and kept in the profile, so that knocking needs no
/// controller. `postern knock` fetches it by itself when it does not know a host.
#[derive(clap::Args, Debug)]
pub(crate) struct SyncArgs {}

pub(crate) async fn run(context: &Context, _args: SyncArgs) -> Result {
    let connection = Connection::open(&context.profile).await?;
    let directory = Directory::sync(&context.profile, &connection).await?;
    report(context, &directory)
}

/// One sentence about the directory.
pub(crate) fn report(context: &Context, directory: &Directory) -> Result {
    let hosts = match directory.host_count() {
        1 => "1 host".to_owned(),
        count => format!("{count} hosts"),
    };
    context.ui.say(format_args!(
        "You may open {hosts}, as of policy generation {}.",
        directory.generation()
    ))?;
    rotate::say_asked(context, directory.rotation_asked_ms());
    Ok(())
}
