//! `postern-controller seal`: the key under which secrets are sealed.

use clap::{Args, Subcommand};
use serde_json::json;

use super::data::DataArgs;
use super::error::CommandError;

/// Rotate the key under which secrets are sealed in the database
#[derive(Args, Debug)]
pub(crate) struct SealArgs {
    #[command(subcommand)]
    command: SealCommand,
}

#[derive(Debug, Subcommand)]
enum SealCommand {
    Rotate(Rotate),
}

/// Seal everything in the database under a new key
///
/// For when somebody may have read `seal.key`, or as often as your rules say. The controller must be
/// stopped. All is done in one transaction; killed at any moment, the next start knows which key is
/// right. What lay in the database under the old key is overwritten, and the old key goes when that is
/// on the disk. Backups of before can be read with the old key that is in them: remove those, too.
/// That it was done is an event of the log. JSON fields: rows, key_file.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  systemctl stop postern-controller
  postern-controller seal rotate --data /var/lib/postern
  systemctl start postern-controller")]
struct Rotate {
    #[command(flatten)]
    data: DataArgs,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

// === impl SealArgs ===

impl SealArgs {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let SealCommand::Rotate(Rotate { data, json }) = self.command;
        let data = data.enter()?;
        let (resealed, key_file) = controller::rotate_seal_key(&data)?;
        let rows = resealed.rows;
        let key_file = key_file.display().to_string();
        let line = if json {
            json!({ "rows": rows, "key_file": key_file }).to_string()
        } else {
            format!("{rows} rows are sealed under the new key in {key_file}")
        };
        program::note(format_args!(
            "Backups of before hold the old key: make a new one, and remove those."
        ));
        Ok(program::print(line + "\n")?)
    }
}
