//! `postern host rename`

use fleet::wire::RenameHostRequest;

use super::change::{Common, refused};
use crate::connection::{Connection, ask};
use crate::context::Context;
use crate::error::Result;

/// Give a host another name
///
/// The host goes on working with the certificate that it has, and renews it by the name that it knows. What
/// is recorded of it stays under the old name, and what comes is under the new one. Stanzas that name it
/// are said: write the new name there. What would make a hidden port public is refused unless
/// --allow-public says that it is meant. Open tokens for the old name are revoked.
///
/// JSON: as `postern host set`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern host rename web-1 www-1
  postern host rename web-1 www-1 --dry-run")]
pub(crate) struct RenameArgs {
    /// Host, as `postern host list` names it
    name: String,

    /// What it is to be called
    #[arg(value_name = "NEW")]
    new_name: String,

    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(context: &Context, args: RenameArgs) -> Result {
    let RenameArgs {
        name,
        new_name,
        common,
    } = args;
    let connection = Connection::open(&context.profile).await?;
    let request = RenameHostRequest {
        name: name.clone(),
        new_name,
        allow_public: common.allow_public,
        dry_run: common.dry_run,
    };
    let answer = connection
        .change(common.look(), async |mut operator| {
            operator.rename_host(ask(request)).await
        })
        .await
        .map_err(|status| refused(&connection, status))?
        .into_inner();
    common.tell(context, &name, &answer)
}
