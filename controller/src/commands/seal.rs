//! `postern-controller seal`: the key under which secrets are sealed.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use controller::{StartError, seal_key_from};
use serde_json::json;

use super::data::DataArgs;
use super::error::CommandError;

/// The key under which secrets are sealed in the database
#[derive(Args, Debug)]
pub(crate) struct SealArgs {
    #[command(subcommand)]
    command: SealCommand,
}

#[derive(Debug, Subcommand)]
enum SealCommand {
    Rotate(Rotate),
    Install(Install),
}

/// Seal everything in the database under a new key
///
/// For when somebody may have read `seal.key`, or as often as your rules say. The controller must be
/// stopped, and over PostgreSQL every controller of the fleet: with the old key none could read anything. Each of the
/// others is given the new one (`seal install`) before it starts again; until then it says so, and serves nobody. All is done in one transaction; killed at any moment, the next start knows which key is
/// right. What lay in the database under the old key is overwritten, and the old key goes when that is
/// on the disk. Backups of before can be read with the old key that is in them: remove those, too.
/// At a PostgreSQL server it goes with the next vacuum, and from the write-ahead log with its files. That it was done
/// is an event of the log. JSON fields: rows, key_file, others.
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

/// Put the seal key that another controller has made into this one's place
///
/// For each further controller after `seal rotate` at one. The controller must be stopped. A key that does not open
/// the database is refused, and nothing is changed. JSON fields: key_file, key.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ssh control-a cat /var/lib/postern/seal.key | postern-controller seal install -
  systemctl start postern-controller")]
struct Install {
    /// File with the key, a copy of the other controller's `seal.key`; `-` for standard input
    file: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

// === impl SealArgs ===

impl SealArgs {
    pub(super) fn run(self) -> Result<(), CommandError> {
        match self.command {
            SealCommand::Rotate(rotate) => rotate.run(),
            SealCommand::Install(install) => install.run(),
        }
    }
}

// === impl Install ===

impl Install {
    fn run(self) -> Result<(), CommandError> {
        let Self { file, data, json } = self;
        // As whoever may read it, who need not be the owner of the directory.
        let key = seal_key_from(&file).map_err(StartError::from)?;
        let (key_file, id) = controller::install_seal_key(&data.enter()?, &key)?;
        let key_file = key_file.display().to_string();
        let line = if json {
            json!({ "key_file": key_file, "key": id }).to_string()
        } else {
            format!("seal key {id} of the database is in {key_file}")
        };
        Ok(program::print(line + "\n")?)
    }
}

// === impl Rotate ===

impl Rotate {
    fn run(self) -> Result<(), CommandError> {
        let Self { data, json } = self;
        let data = data.enter()?;
        let (resealed, key_file) = controller::rotate_seal_key(&data)?;
        let (rows, others) = (resealed.rows, resealed.others);
        let key_file = key_file.display().to_string();
        let line = if json {
            json!({ "rows": rows, "key_file": key_file, "others": others }).to_string()
        } else {
            format!("{rows} rows are sealed under the new key in {key_file}")
        };
        if others > 0 {
            program::note(format_args!(
                "{others} other controllers of this fleet may have the old key: before each starts, bring it the new \
                 one, `postern-controller seal install FILE` there."
            ));
        }
        program::note(format_args!(
            "Backups of before hold the old key: make a new one, and remove those."
        ));
        Ok(program::print(line + "\n")?)
    }
}
