//! `postern-controller audit`: the key that signs the log.

use clap::{Args, Subcommand};
use controller::KeyRotated;
use serde_json::json;

use super::data::DataArgs;
use super::error::CommandError;

/// Rotate the key that signs the log
///
/// Works beside a running controller, which follows within seconds, and without one.
#[derive(Args, Debug)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    RotateKey(RotateKeyArgs),
}

/// Have another key sign the log from now on
///
/// For when somebody may have read the key, or as often as your rules say. The last checkpoint of the key
/// before names the new one and is signed by both, so hosts and auditors who keep the one before follow by
/// themselves, however long they were away; then its secret is destroyed. All is done in one transaction,
/// and is an event of the log. What the key before signs of later records is believed by nobody.
///
/// Whoever verifies exports by a key that was said to her may go on with that one. Hosts of a version
/// before this one keep what they have, and follow when they are upgraded; clients of such a version need
/// the new key said with --key. A backup of before the rotation has the key of then: make a new one.
///
/// JSON fields: audit_key, former_key, last_record.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  postern-controller audit rotate-key
  postern-controller audit rotate-key --data /var/lib/postern --json")]
struct RotateKeyArgs {
    #[command(flatten)]
    data: DataArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

// === impl AuditArgs ===

impl AuditArgs {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let AuditCommand::RotateKey(RotateKeyArgs { data, json }) = self.command;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(CommandError::Runtime)?;
        let data = data.enter()?;
        let rotated = runtime.block_on(controller::rotate_audit_key(&data))?;
        let KeyRotated {
            former_key,
            audit_key,
            last_record,
        } = rotated;
        let line = if json {
            json!({
                "audit_key": audit_key, "former_key": former_key, "last_record": last_record,
            })
            .to_string()
        } else {
            format!(
                "{audit_key} signs the log from now on; {former_key} has signed it up to record \
                 {last_record}"
            )
        };
        program::note(format_args!(
            "Backups of before hold the former key: make a new one, and remove those."
        ));
        Ok(program::print(line + "\n")?)
    }
}
