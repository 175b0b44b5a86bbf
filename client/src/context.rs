//! What every command works with.

use crate::profile::Profile;
use crate::ui::Ui;

/// See the module.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) ui: Ui,
    pub(crate) profile: Profile,
    /// Seconds since the Unix epoch, when the command began.
    pub(crate) now_secs: u64,
    /// How often `-v` was given.
    pub(crate) verbose: u8,
}

/// Whether a listing is for people or for programs.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Listing {
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}
