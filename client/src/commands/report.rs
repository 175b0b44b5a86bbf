//! `postern report`

mod access_review;

use crate::context::Context;
use crate::error::Result;

/// Make reports for those who check
#[derive(clap::Args, Debug)]
pub(crate) struct ReportArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    AccessReview(access_review::AccessReviewArgs),
}

pub(crate) async fn run(context: &Context, args: ReportArgs) -> Result {
    match args.command {
        Command::AccessReview(args) => access_review::run(context, args).await,
    }
}
