//! `postern-controller db`: where the database is.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use controller::{CopyStep, PostgresSettings};
use serde_json::json;

use super::data::DataArgs;
use super::error::CommandError;

/// Move the database to a PostgreSQL server, or back into a file
#[derive(Args, Debug)]
pub(crate) struct DbArgs {
    #[command(subcommand)]
    command: DbCommand,
}

#[derive(Debug, Subcommand)]
enum DbCommand {
    Copy(Copy),
}

/// Copy the database to another place, and have controller.toml name that
///
/// Every controller of the fleet must be stopped. The target must be empty, or half a copy of this same
/// database: killed at any moment, the same command goes on where it was, and no controller serves from
/// half a copy. At the end every table is compared on both sides and the log is verified in the copy;
/// only then is controller.toml changed. The place of before is left as it was. JSON fields: from, to,
/// tables, rows, records, resumed.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  systemctl stop postern-controller
  postern-controller db copy --to 'host=/run/postgresql user=postern dbname=postern'
  systemctl start postern-controller
And back:
  systemctl stop postern-controller
  mv /var/lib/postern/controller.db /root/controller.db.before
  postern-controller db copy --to-file
  systemctl start postern-controller")]
struct Copy {
    #[command(flatten)]
    data: DataArgs,
    /// A PostgreSQL server, in a database that is there and has nothing in it
    ///
    /// As `--database` of `init`: what libpq calls a connection string, without a password.
    #[arg(
        long,
        value_name = "URL",
        required_unless_present = "to_file",
        conflicts_with = "to_file"
    )]
    to: Option<String>,
    /// The file controller.db of the directory
    #[arg(long)]
    to_file: bool,
    /// File whose first line is the password for that server
    #[arg(long, value_name = "FILE", requires = "to")]
    database_password_file: Option<PathBuf>,
    /// File with the authorities (PEM) that the server's certificate may be of, instead of the system's
    #[arg(long, value_name = "FILE", requires = "to")]
    database_ca_file: Option<PathBuf>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

// === impl DbArgs ===

impl DbArgs {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let DbCommand::Copy(copy) = self.command;
        let data = copy.data.enter()?;
        let to = copy.to.map(|url| PostgresSettings {
            url,
            password_file: copy.database_password_file,
            ca_file: copy.database_ca_file,
        });
        let copied = controller::copy_database(&data, to.as_ref(), &mut said())?;
        program::note(format_args!(
            "{}/controller.toml names {} from now on. {} is as it was: put it away when the controller has served, \
             it holds everything.",
            data.display(),
            copied.to,
            copied.from
        ));
        let line = if copy.json {
            json!({
                "from": copied.from, "to": copied.to, "tables": copied.tables, "rows": copied.rows,
                "records": copied.records, "resumed": copied.is_resumed,
            })
            .to_string()
        } else {
            format!(
                "{} rows of {} tables are copied and compared, {} records of the log verified",
                copied.rows, copied.tables, copied.records
            )
        };
        Ok(program::print(line + "\n")?)
    }
}

/// Says every so many rows how far it is.
fn said() -> impl FnMut(&CopyStep<'_>) {
    const EVERY: u64 = 100_000;
    let mut last = (String::new(), 0);
    move |step| {
        let of = format!("{} {}", step.what, step.table);
        if last.0 != of {
            last = (of, 0);
        }
        if step.done >= last.1 + EVERY {
            last.1 = step.done;
            program::note(format_args!(
                "{}: {} of {} rows {}",
                step.table, step.done, step.all, step.what
            ));
        }
    }
}
