//! The directory that a command works in, and as whom.

use std::path::PathBuf;

use clap::Args;

use super::error::CommandError;

/// Where the packages have it.
const DATA_DIR: &str = "/var/lib/postern";

/// Flags of a command that works in the controller's directory.
#[derive(Args, Clone, Debug)]
pub(super) struct DataArgs {
    /// Directory of the controller; root who works in it does so as its owner
    #[arg(long, value_name = "DIR", env = "POSTERN_CONTROLLER_DATA", default_value = DATA_DIR)]
    data: PathBuf,
}

// === impl DataArgs ===

impl DataArgs {
    /// The directory. From here on this process is its owner, who is the one to serve from it.
    pub(super) fn enter(self) -> Result<PathBuf, CommandError> {
        match program::owner::become_owner_of(&self.data) {
            Ok(()) => Ok(self.data),
            Err(cause) => Err(CommandError::Owner {
                data: self.data,
                cause,
            }),
        }
    }

    /// The same; where root has it made new, it is made for this user, if this machine knows one of
    /// that name.
    pub(super) fn enter_made_for(self, user: Option<&str>) -> Result<PathBuf, CommandError> {
        if let Some(user) = user
            && let Err(cause) = program::owner::make_for(user, &self.data)
        {
            return Err(CommandError::Owner {
                data: self.data,
                cause,
            });
        }
        self.enter()
    }
}
