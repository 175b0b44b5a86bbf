//! `postern-controller sink`: where events are sent on to.

use std::path::Path;

use clap::{Args, Subcommand};
use controller::{SinkRow, SinkSkipped, SinkTested};
use serde_json::json;

use super::data::DataArgs;
use super::error::CommandError;

// A constant and no documentation, where its brackets would be links.
const HELP: &str = r#"See and test where events are sent on to

Sinks are `[[sink]]` tables of DIR/controller.toml; `serve` reads them when it starts:

  [[sink]]
  name = "siem"
  type = "webhook"               # or syslog, otlp, file
  url = "https://siem.example/postern"
  format = "ocsf"                # or json
  secret_file = "siem.secret"    # signs: Postern-Signature
  kinds = ["grant-opened", "refused"]

  [[sink]]
  name = "log"
  type = "syslog"                # RFC 5424; over TLS unless transport = "tcp" or "udp"
  address = "log.example:6514"
  ca = "/etc/postern/log-ca.pem"

All types: name, type, kinds (all), from ("now" or "beginning"), batch (500), timeout ("30s"),
alarm_after ("5m"). webhook: url, format, body ("lines" or "array"), secret_file, token_file with
header ("Authorization: Bearer"). syslog: address, transport, format ("structured", "json" or
"ocsf"). otlp: url, token_file with header. file: path, format. With TLS: ca (otherwise the
system's), certificate and key. Paths are from DIR; nobody but owner and group may read a secret."#;

/// `sink`.
#[derive(Args, Debug)]
#[command(
    about = "See and test where events are sent on to",
    long_about = HELP,
    after_help = "\
Examples:
  postern-controller sink list --data /var/lib/postern
  postern-controller sink test siem --data /var/lib/postern
  postern-controller sink skip siem --data /var/lib/postern"
)]
pub(crate) struct SinkArgs {
    #[command(subcommand)]
    command: SinkCommand,
}

#[derive(Debug, Subcommand)]
enum SinkCommand {
    List(List),
    Test(Test),
    Skip(Skip),
}

/// List sinks, and how far each is
///
/// JSON fields: name, type, place, delivered_id, newest_id, lag_ms, delivered_at_ms, alarm_since_ms.
#[derive(Args, Debug)]
struct List {
    #[command(flatten)]
    common: Common,
}

/// Send one record that says it is a test, and show what came back
///
/// Exit code 0 when the receiver took it, 1 when it refused, 3 when it cannot be reached, 64 when a
/// file of the sink has mistakes. JSON fields: name, type, place, said, took_ms.
#[derive(Args, Debug)]
struct Test {
    /// Name of the sink
    name: String,
    #[command(flatten)]
    common: Common,
}

/// Give up the one record that a sink would send next, because its receiver refuses it for ever
///
/// What is behind it goes on within half a minute, also while the controller serves. That it was
/// skipped is an event. The record stays in the log; only this sink is not sent it. After a refusal
/// records are sent one by one, so the next one is the one that is refused; `postern sink list` says
/// why. Exit code 1 when nothing waits. JSON fields: name, id, host, epoch, seq, kind.
#[derive(Args, Debug)]
struct Skip {
    /// Name of the sink
    name: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Common {
    #[command(flatten)]
    data: DataArgs,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

// === impl SinkArgs ===

impl SinkArgs {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let (data, json) = match &self.command {
            SinkCommand::List(List { common })
            | SinkCommand::Test(Test { common, .. })
            | SinkCommand::Skip(Skip { common, .. }) => (common.data.clone().enter()?, common.json),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(CommandError::Runtime)?;
        let done = match self.command {
            SinkCommand::List(_) => runtime.block_on(list(&data, json)),
            SinkCommand::Skip(skip) => runtime.block_on(give_up(&data, &skip.name, json)),
            SinkCommand::Test(test) => runtime.block_on(send(&data, &test.name, json)),
        };
        runtime.shutdown_background();
        done
    }
}

async fn list(data: &Path, json: bool) -> Result<(), CommandError> {
    let rows = controller::list_sinks(data).await?;
    if rows.is_empty() && !json {
        program::note(format_args!(
            "There are no sinks; `postern-controller sink --help`."
        ));
    }
    let lines = rows.iter().map(|row| line(row, json) + "\n");
    Ok(program::print(lines.collect::<String>())?)
}

fn line(row: &SinkRow, json: bool) -> String {
    let SinkRow {
        name,
        type_name,
        place,
        delivered_id,
        delivered_at_ms,
        newest_id,
        lag_ms,
        alarm_since_ms,
    } = row;
    if json {
        return json!({
            "name": name, "type": type_name, "place": place, "delivered_id": delivered_id,
            "newest_id": newest_id, "lag_ms": lag_ms, "delivered_at_ms": delivered_at_ms,
            "alarm_since_ms": alarm_since_ms,
        })
        .to_string();
    }
    let lag = std::time::Duration::from_secs(lag_ms / 1000);
    let state = match (delivered_id, lag_ms) {
        (None, _) => "has not begun".to_owned(),
        (Some(_), 0) => "has everything".to_owned(),
        (Some(id), _) => {
            let behind = newest_id.saturating_sub(*id);
            let alarm = if *alarm_since_ms > 0 { "; ALARM" } else { "" };
            let lag = humantime::format_duration(lag);
            format!("{behind} records behind, the oldest {lag} old{alarm}")
        }
    };
    format!("{name}  {type_name}  {place}  {state}")
}

async fn send(data: &Path, name: &str, json: bool) -> Result<(), CommandError> {
    let tested = controller::test_sink(data, name).await?;
    let SinkTested {
        type_name,
        place,
        said,
        took_ms,
    } = tested;
    let line = if json {
        json!({
            "name": name, "type": type_name, "place": place, "said": said, "took_ms": took_ms,
        })
        .to_string()
    } else {
        format!("Sink {name} took a test record at {place} within {took_ms} ms: {said}")
    };
    Ok(program::print(line + "\n")?)
}

async fn give_up(data: &Path, name: &str, json: bool) -> Result<(), CommandError> {
    let SinkSkipped {
        id,
        host,
        epoch,
        seq,
        kind,
    } = controller::skip_record(data, name).await?;
    let line = if json {
        json!({
            "name": name, "id": id, "host": host, "epoch": epoch, "seq": seq, "kind": kind,
        })
        .to_string()
    } else {
        format!(
            "Sink {name} is not sent record {id}: {kind}, event {seq} of journal {epoch} of {host}. What \
             is behind it goes on."
        )
    };
    Ok(program::print(line + "\n")?)
}
